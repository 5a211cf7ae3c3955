"""The experiment of the paper's Table 2 at its size, end to end: what each stage takes.

Songs and listeners are of the embedded world, in the numbers of examples/nips2013-subset.toml: 9,330 songs,
20,000 users and about a million pairs. Clips last 10 s; a song that ends sooner begins again. WORK takes
about 4 GB; files and experiment go on where they were stopped, and the time of a stage leaves interruptions
out.

    python benchmarks/subset.py WORK
    python benchmarks/subset.py WORK --songs 400 --users 500    # all stages within minutes
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np

from dcbmr.cli._common import show_progress
from dcbmr.datasets.world import SR, World, WorldSettings

CONFIG = Path(__file__).parents[1] / "examples" / "nips2013-subset.toml"
CLIP_S = 10
COLUMNS = {"wall-clock s": "seconds", "processor s": "processor_seconds", "peak MiB": "memory_mib"}


class Clips(World):
    """The embedded world in clips of one length."""

    def synthesize(self, song):
        return np.resize(super().synthesize(song), CLIP_S * SR)


def print_stages(results):
    print(f"{'stage':<20}" + "".join(f"{name:>14}" for name in COLUMNS))
    for stage in results["seconds"]:
        print(f"{stage:<20}" + "".join(f"{results[of][stage]:>14,.1f}" for of in COLUMNS.values()))
    seconds, processor = (sum(results[of].values()) for of in ("seconds", "processor_seconds"))
    print(f"{'all':<20}{seconds:>14,.1f}{processor:>14,.1f}{results['peak_memory_mib']:>14,}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="directory for the files and the experiment")
    parser.add_argument("--songs", type=int, default=9_330)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="results.json of the experiment is copied there")
    args = parser.parse_args()
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    settings = WorldSettings(
        n_songs=args.songs, n_artists=min(2_500, args.songs), n_users=args.users, mean_songs=55
    )
    with show_progress() as bars:
        Clips(settings).write(args.work, progress=bars)
    config = Path(shutil.copy(CONFIG, args.work))
    out = args.work / "experiments"
    subprocess.run([sys.executable, "-m", "dcbmr", "experiment", config, "-o", out], check=True)
    results = out / config.stem / "results.json"
    print_stages(json.loads(results.read_text("utf-8")))
    if args.json:
        shutil.copy(results, args.json)


if __name__ == "__main__":
    main()
