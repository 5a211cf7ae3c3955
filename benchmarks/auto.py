"""What `dcbmr train --regressor auto` chooses, beside each row that it might have chosen: its regret.

    python benchmarks/auto.py rock-dev DATA -o WORK --artists 10 96 --seeds 0 1
    python benchmarks/auto.py world -o WORK --artists 10 100 1000 --seeds 1 2 3 4 5

Rows, folds and what is kept are those of real.py, whose DATA rock-dev is; every row and auto learn from the
same songs and rank the same songs. A world is synthesized anew for each seed: 1,250 artists of four songs, a
fifth of them held out. A row's lift is its mAP above that of random scores, the mean over folds and seeds;
auto's regret is the best row's lift minus its own, over that row's lift. "as they are": rows without the
mean over an artist's songs. "either way": the better of both for each row.
"""

import argparse
import json
import os
import platform
import shutil
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import real

import dcbmr
from dcbmr.datasets.world import World, WorldSettings

ROWS = [row for row in real.ROWS if row != "auto" and real.ROWS[row].loss in (None, "mse")]
N_ARTISTS, N_SONGS = 1250, 5000


class WorldData:
    """A world as real.Fold wants it; the audio goes when the features are there."""

    def __init__(self, work, seed, seconds):
        self.work, self.seconds = work, seconds
        self.als = {"n_factors": 12, "regularization": 100}  # as the demo has it
        settings = WorldSettings(
            n_artists=N_ARTISTS, n_songs=N_SONGS, n_users=3000, mean_songs=130, random_state=seed
        )
        if not (work / "songs.tsv").exists():
            World(settings).write(work / "partial")
            dcbmr.featurize(work / "partial/audio", work / "features", overwrite=True)
            for name in ("plays.parquet", "songs.tsv"):
                (work / "partial" / name).rename(work / name)
            shutil.rmtree(work / "partial")
        self.plays = dcbmr.PlayCounts.read(work / "plays.parquet")
        self.artist_of = dict(dcbmr.read_songs(work / "songs.tsv").artist_of())
        self.artists = sorted(set(self.artist_of.values()))
        self.store = dcbmr.FeatureStore.open(work / "features")
        self.songs = list(self.store["mel"].song_ids)


def measure(fold, names):
    """Return mAP and AUC of each row, as it is and by artist, of auto, and of random scores."""
    predictions = {}
    for name in names:
        predictions[name], header = fold.predict(name)
        print(f"  {name}: {header['seconds']:.0f} s", flush=True)
    ranked = fold.rank(predictions, list(names))
    return {name: (report.map_at_k, report.auc) for name, report in ranked.items()}


def regret(figures, names):
    """Return the means over folds, and auto's regret beside the best row."""
    means = {name: np.mean([found[name] for found in figures], axis=0) for name in figures[0]}
    chance = means["random"][0]
    lift = {name: found[0] - chance for name, found in means.items()}
    ways = {
        "as they are": names,
        "either way": [*names, *(f"{name} | by artist" for name in names)],
    }
    best = {way: max(rows, key=lift.__getitem__) for way, rows in ways.items()}
    return means, {way: (row, (lift[row] - lift["auto"]) / lift[row]) for way, row in best.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["rock-dev", "world"])
    parser.add_argument("data", type=Path, nargs="?", help="of rock-dev")
    parser.add_argument("-o", "--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=ROWS, help=", ".join(ROWS))
    parser.add_argument("--artists", type=int, nargs="+", required=True, help="training artists")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, default=real.N_FOLDS, help="of rock-dev; a world has one")
    parser.add_argument("--seconds", type=float, default=600, help="for auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    warnings.filterwarnings("ignore", message=".*set aside for validation.*")
    if args.what == "rock-dev":
        work = args.work / "rock-dev"
        work.mkdir(parents=True, exist_ok=True)
        data = real.Data(args.data, work, 16)
        data.seconds = args.seconds
    written = []
    for n_artists in args.artists:
        figures = []
        for seed in args.seeds:
            if args.what == "world":
                work = args.work / f"world{seed}"
                work.mkdir(parents=True, exist_ok=True)
                data = WorldData(work, seed, args.seconds)
            for number in range(args.folds if args.what == "rock-dev" else 1):
                print(f"{args.what}, {n_artists} artists, seed {seed}, fold {number}", flush=True)
                fold = real.Fold(data, seed, number, n_artists)
                figures.append(measure(fold, (*args.rows, "auto")))
        means, regrets = regret(figures, args.rows)
        print(f"\n{args.what}, {fold.n_artists} training artists, {len(figures)} fits a row\n")
        print("| row | mAP@500 | AUC | mAP by artist | AUC by artist |\n| --- | --- | --- | --- | --- |")
        for name in sorted((*args.rows, "auto", "random"), key=lambda name: -means[name][0]):
            cells = [*means[name], *means.get(f"{name} | by artist", ())]
            print(f"| {name} | {' | '.join(f'{cell:.4f}' for cell in cells)} |")
        for way, (row, value) in regrets.items():
            print(f"regret, rows {way}: {value:.1%} of the lift of {row}")
        print(flush=True)
        written.append(
            {
                "what": args.what,
                "artists": fold.n_artists,
                "means": {name: list(map(float, found)) for name, found in means.items()},
                "regret": regrets,
                "figures": figures,
            }
        )
    if args.json:
        args.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
