"""The demo's world: what the CNN gains over linear regression, over seeds and over the share.

Every run is `dcbmr demo` of the default size with the rows linear and cnn-mse alone. "over linear" is
(mAP_cnn - mAP_random) / (mAP_linear - mAP_random), with the expectation of mAP_random.

    python benchmarks/world.py --seeds 1 2 3 4 5            # the spread over fresh worlds
    python benchmarks/world.py --shares 0 0.25 0.5 0.75 1   # the curve over the share
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

from dcbmr.experiment.experiment import demo_settings, run_demo

ROWS = ("linear", "cnn-mse")


def measure(share, seed, size):
    world, settings = demo_settings(size, share=share, random_state=seed)
    settings = replace(settings, rows=tuple(row for row in settings.rows if row.name in ROWS))
    directory = Path(tempfile.mkdtemp(prefix="dcbmr-world-")) / "demo"
    try:
        results = run_demo(directory, world, settings)
    finally:
        shutil.rmtree(directory.parent)
    rows = {row["model"]: row for row in results["rows"]}
    return {
        "share": world.share,
        "seed": seed,
        "random": rows["random (in theory)"]["map_at_500"],
        "linear": rows["linear"]["map_at_500"],
        "cnn": rows["cnn-mse"]["map_at_500"],
        "upper bound": rows["upper-bound"]["map_at_500"],
        "AUC linear": rows["linear"]["auc"],
        "AUC cnn": rows["cnn-mse"]["auc"],
        "over linear": rows["cnn-mse"]["over_linear"],
        "seconds": sum(results["seconds"].values()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--shares", type=float, nargs="+", default=[None], help="default: the demo's")
    parser.add_argument("--size", choices=["small", "default"], default="default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    rows = []
    for share in args.shares:
        for seed in args.seeds:
            rows.append(measure(share, seed, args.size))
            if len(rows) == 1:
                print("  ".join(f"{name:>11}" for name in rows[0]))
            print("  ".join(f"{value:>11.4g}" for value in rows[-1].values()), flush=True)
    if len(args.seeds) > 1:
        for share in dict.fromkeys(row["share"] for row in rows):
            gains = [row["over linear"] for row in rows if row["share"] == share]
            print(
                f"share {share}: over linear, mean {statistics.mean(gains):.2f}, "
                f"{min(gains):.2f} to {max(gains):.2f}, standard deviation {statistics.stdev(gains):.2f}"
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
