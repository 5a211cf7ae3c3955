"""What `dcbmr train --regressor auto` chooses, beside each row that it might have chosen: its regret.

    python benchmarks/auto.py rock-dev DATA -o WORK --artists 10 96 --seeds 0 1
    python benchmarks/auto.py rock-dev DATA -o WORK --artists 97 --by-rows --reference "linear, raw words"
    python benchmarks/auto.py world -o WORK --artists 10 100 1000 --seeds 1 2 3 4 5
    python benchmarks/auto.py world -o WORK --artists 400 --songs 6 --seeds 11 12 13 --rows linear "cnn, mse"

Rows, folds and what is kept are those of real.py, whose DATA rock-dev is; every row and auto learn from
the same songs and rank the same songs. A world is synthesized anew for each seed: artists of --songs
songs, a fifth of them held out; 500 artists of six are as many as the demo has. --by-rows lets auto
choose for a fold by what the rows predicted of the four other folds of its deal, in the place of trials
of its own, which take five times as long; raw words, which dcbmr does not try, are not among these
rows. --reference adds by how much auto is above a row, paired over users and artists (rock-dev only,
where seeds share them). A row's lift is its mAP above that of random scores, the mean over folds and
seeds; auto's regret is the best row's lift minus its own, over that row's lift. "as they are": rows
without the mean over an artist's songs. "either way": the better of both for each row.
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
from dcbmr.models.candidates import Candidate
from dcbmr.models.model import with_artist_mean
from dcbmr.models.trials import Score, Trial, choose

ROWS = [row for row in real.ROWS if row != "auto" and real.ROWS[row].loss in (None, "mse")]
BY_ROWS = "auto, by the other folds"
real.ROWS[BY_ROWS] = real.Row("auto", "")


class WorldData:
    """A world as real.Fold wants it; the audio goes when the features are there."""

    def __init__(self, work, seed, n_artists, n_songs, seconds):
        self.work, self.seconds = work, seconds
        self.als = {"n_factors": 12, "regularization": 100}  # as the demo has it
        settings = WorldSettings(  # a user plays as large a share of the songs as in the demo
            n_artists=n_artists,
            n_songs=n_songs,
            n_users=3000,
            mean_songs=max(10, n_songs // 40),
            random_state=seed,
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


class Judged:
    """A fold of which every row's prediction is known, as dcbmr chooses by it."""

    def __init__(self, fold):
        self.fold = fold
        self.artists, self.groups = np.unique(
            [fold.data.artists.index(artist) for artist in fold.artist], return_inverse=True
        )

    def judge(self, predicted, artist_weight=0.0):
        songs = with_artist_mean(predicted["songs"], self.groups, artist_weight)
        report = self.fold._report(self.fold.factors, predicted, songs)
        of = self.groups[report.ranks.songs]
        gains = np.bincount(of, report.of_plays("map_at_k"), minlength=len(self.artists))
        return Score(self.artists, gains / report.n_users, report.auc)


def choose_by_rows(fold, others, names):
    """Keep what dcbmr's rule chooses for a fold by the other folds of its deal."""
    names = [name for name in names if real.ROWS[name].standardize]
    judges = [Judged(other) for other in others]
    trials = []
    for place, name in enumerate(names):
        predicted = [other.predict(name)[0] for other in others]
        scores = [judge.judge(one) for judge, one in zip(judges, predicted, strict=True)]
        trials.append(Trial(place, Candidate(name, ()), scores, predicted))
    chosen, _ = choose(trials, judges, by_artist=True)
    members = [names[trial.place] for trial in chosen.trials]
    tensors = dict(fold.predict(members[0])[0])
    tensors["songs"] = with_artist_mean(
        np.mean([fold.predict(name)[0]["songs"] for name in members], axis=0, dtype=np.float32),
        Judged(fold).groups,
        chosen.artist_weight,
    )
    header = {"seconds": 0.0, "processor_seconds": 0.0, "chosen": [*members, chosen.artist_weight]}
    print(f"  seed {fold.seed}, fold {fold.number}: {header['chosen']}", flush=True)
    file = BY_ROWS.replace(", ", "-").replace(" ", "-")
    dcbmr.save_tensors(fold.directory, tensors, header, name=file, format_version=1)


def measure(fold, names):
    """Return mAP and AUC of each row, as it is and by artist, of auto, and of random scores."""
    predictions = {}
    for name in names:
        predictions[name], header = fold.predict(name)
        print(f"  {name}: {header['seconds']:.0f} s", flush=True)
    ranked = fold.rank(predictions, list(names))
    return {name: (report.map_at_k, report.auc) for name, report in ranked.items()}


def regret(figures, names, auto):
    """Return the means over folds, and auto's regret beside the best row."""
    means = {name: np.mean([found[name] for found in figures], axis=0) for name in figures[0]}
    chance = means["random"][0]
    lift = {name: found[0] - chance for name, found in means.items()}
    ways = {
        "as they are": names,
        "either way": [*names, *(f"{name} | by artist" for name in names)],
    }
    best = {way: max(rows, key=lift.__getitem__) for way, rows in ways.items()}
    return means, {way: (row, (lift[row] - lift[auto]) / lift[row]) for way, row in best.items()}


def show_above(folds, means, auto, reference):
    """Print auto's lift in lifts of a row, and by how much it is above that row: 95 % intervals."""
    lift = {name: found[0] - means["random"][0] for name, found in means.items()}
    for name in (reference, f"{reference} | by artist"):
        print(f"{auto}: {lift[auto] / lift[name]:.2f} times the lift of {name}")
    found = {entry["row"]: entry for entry in real.table(folds, (auto,), reference, 1000)}[auto]
    above = [real.shown(found[f"{metric} above {reference}"]) for metric in ("map_at_k", "auc")]
    print(f"above {reference} by {above[0]} in mAP, by {above[1]} in AUC, plays of all folds pooled")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["rock-dev", "world"])
    parser.add_argument("data", type=Path, nargs="?", help="of rock-dev")
    parser.add_argument("-o", "--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=ROWS, help=", ".join(ROWS))
    parser.add_argument("--artists", type=int, nargs="+", required=True, help="training artists")
    parser.add_argument("--songs", type=int, default=4, help="of an artist of a world")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, default=real.N_FOLDS, help="of rock-dev; of a world the first")
    parser.add_argument("--seconds", type=float, default=600, help="for auto")
    parser.add_argument("--by-rows", action="store_true", help="choose by the rows' other folds")
    parser.add_argument("--reference", help="a row of --rows to compare auto with, of rock-dev")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.reference and (args.what == "world" or args.reference not in args.rows):
        parser.error("--reference is one of --rows, of rock-dev: the worlds of two seeds share no artists")
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    warnings.filterwarnings("ignore", message=".*set aside for validation.*")
    if args.what == "rock-dev":
        work = args.work / "rock-dev"
        work.mkdir(parents=True, exist_ok=True)
        data = real.Data(args.data, work, 16)
        data.seconds = args.seconds
    auto = BY_ROWS if args.by_rows else "auto"
    written = []
    for n_artists in args.artists:
        figures, of_all = [], []
        for seed in args.seeds:
            if args.what == "world":
                n_all = max(args.artists) * 5 // 4
                work = args.work / f"world{seed}-{n_all}x{args.songs}"
                work.mkdir(parents=True, exist_ok=True)
                data = WorldData(work, seed, n_all, n_all * args.songs, args.seconds)
            n_folds = args.folds if args.what == "rock-dev" or args.by_rows else 1
            folds = [real.Fold(data, seed, number, n_artists) for number in range(n_folds)]
            of_all += folds
            for fold in folds:
                print(f"{args.what}, {n_artists} artists, seed {seed}, fold {fold.number}", flush=True)
                if args.by_rows:
                    choose_by_rows(fold, [other for other in folds if other is not fold], args.rows)
                figures.append(measure(fold, (*args.rows, auto)))
        means, regrets = regret(figures, args.rows, auto)
        print(f"\n{args.what}, {fold.n_artists} training artists, {len(figures)} fits a row\n")
        print("| row | mAP@500 | AUC | mAP by artist | AUC by artist |\n| --- | --- | --- | --- | --- |")
        for name in sorted((*args.rows, auto, "random"), key=lambda name: -means[name][0]):
            cells = [*means[name], *means.get(f"{name} | by artist", ())]
            print(f"| {name} | {' | '.join(f'{cell:.4f}' for cell in cells)} |")
        for way, (row, value) in regrets.items():
            print(f"regret, rows {way}: {value:.1%} of the lift of {row}")
        if args.reference:
            show_above(of_all, means, auto, args.reference)
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
