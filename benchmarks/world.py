"""The demo's world: what the CNN gains over linear regression, over seeds and over the share.

Every run is `dcbmr demo` of the default size with the rows linear and cnn-mse alone. "over linear" is
(mAP_cnn - mAP_random) / (mAP_linear - mAP_random), with the expectation of mAP_random.

    python benchmarks/world.py --seeds 1 2 3 4 5            # the spread over fresh worlds
    python benchmarks/world.py --shares 0 0.25 0.5 0.75 1   # the curve over the share

To choose the demo's networks, without a look at the songs held out: the mAP on validation songs.

    python benchmarks/world.py --seeds 101 102 --validation --set channels=32,64 --set epochs=20
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

from dcbmr.contract import registry
from dcbmr.contract.params import parse_settings
from dcbmr.experiment.demo import demo_config, run_demo


def run(share, seed, size, names, changes):
    config = demo_config(size, share=share, random_state=seed)
    rows = [row for row in config.rows if row.name in names]
    rows = [replace(row, params={**row.params, **changes}) if row.regressor == "cnn" else row for row in rows]
    directory = Path(tempfile.mkdtemp(prefix="dcbmr-world-")) / "demo"
    try:
        return config.world, run_demo(directory, replace(config, rows=tuple(rows)))
    finally:
        shutil.rmtree(directory.parent)


def measure(share, seed, size, changes):
    world, experiment = run(share, seed, size, ("linear", "cnn-mse"), changes)
    rows = {row["model"]: row for row in experiment.results["rows"]}
    figure = experiment.config.figure
    return {
        "share": world.share,
        "seed": seed,
        "random": rows["random (in theory)"][figure],
        "linear": rows["linear"][figure],
        "cnn": rows["cnn-mse"][figure],
        "upper bound": rows["upper-bound"][figure],
        "AUC linear": rows["linear"]["auc"],
        "AUC cnn": rows["cnn-mse"]["auc"],
        "over linear": rows["cnn-mse"]["over_linear"],
        "seconds": sum(experiment.results["seconds"].values()),
    }


def validate(share, seed, size, changes):
    world, experiment = run(share, seed, size, ("linear", "cnn-mse", "cnn-wpe"), changes)
    row = {
        "share": world.share,
        "seed": seed,
        "linear": max(experiment.results["validation_map_by_n_words"].values()),
    }
    for name in ("cnn-mse", "cnn-wpe"):
        row[name] = max(entry.get("validation_map", 0) for entry in experiment.curves[name])
        row[f"s, {name}"] = experiment.results["seconds"][name]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--shares", type=float, nargs="+", default=[None], help="default: the demo's")
    parser.add_argument("--size", choices=["small", "default"], default="default")
    parser.add_argument("--validation", action="store_true", help="figures of validation songs alone")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the networks")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    changes = parse_settings(registry.resolve(registry.find_regressor("cnn")), args.set)
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    rows = []
    for share in args.shares:
        for seed in args.seeds:
            rows.append((validate if args.validation else measure)(share, seed, args.size, changes))
            if len(rows) == 1:
                print("  ".join(f"{name:>11}" for name in rows[0]))
            print("  ".join(f"{value:>11.4g}" for value in rows[-1].values()), flush=True)
    if len(args.seeds) > 1 and not args.validation:
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
