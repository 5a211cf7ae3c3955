"""Real listeners: the paper's rows and others on rock-dev, its artists held out whole.

    python benchmarks/real.py DATA -o WORK --rows all --seeds 0 1 2 3 4
    python benchmarks/real.py DATA -o WORK --rows linear kernel_ridge --artists 15 30 60 96    # curves

DATA holds load.py, plays.tsv and songs.tsv (its README says what they are). A seed deals the artists into
five folds; every row of a fold predicts the same songs and ranks them for the same users. What was predicted
is kept in WORK, so that a run that was stopped goes on, and another row costs nothing but itself. "by
artist": each song has the mean of what was predicted for the songs of its artist, as with `dcbmr train
--artist-weight 1`. Intervals are 95 %, over users and artists.
"""

import argparse
import importlib.util
import io
import json
import os
import platform
import time
import warnings
import zlib
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np

import dcbmr
from dcbmr.evaluation.figures import play_figures
from dcbmr.evaluation.scoring import score
from dcbmr.features.extraction import Extracted
from dcbmr.features.features_writer import FeaturesWriter, create_features
from dcbmr.features.recipe import Recipe
from dcbmr.features.sources import SourceFile
from dcbmr.features.writer import encoded

N_FOLDS, N_WORDS = 5, 1000


@dataclass(frozen=True)
class Row:
    regressor: str
    kind: str
    loss: str | None = None
    standardize: bool = True  # the frames, before k-means
    params: dict = field(default_factory=dict)


# Those of the code before codebooks were standardized, and what there is since; the cheap ones first.
ROWS = {
    "linear, raw words": Row("linear", "bow_pca", standardize=False),
    "linear": Row("linear", "bow_pca"),
    "linear, stats": Row("linear", "stats"),
    "kernel_ridge": Row("kernel_ridge", "stats"),
    "kernel_ridge, patterns": Row("kernel_ridge", "patterns"),
    "linear, patterns": Row("linear", "patterns"),
    "kernel_ridge, words": Row("kernel_ridge", "bow_pca"),
    "mlp, raw words": Row("mlp", "bow_pca", standardize=False),
    "mlp": Row("mlp", "bow_pca"),
    "mlp, stats": Row("mlp", "stats"),
    "mlp, patterns": Row("mlp", "patterns"),
    "mlr, raw words": Row("mlr", "bow_pca", standardize=False),
    "mlr": Row("mlr", "bow_pca"),
    "cnn, mse": Row("cnn", "mel", "mse"),
    "cnn, wpe": Row("cnn", "mel", "wpe"),
    "cnn, softmax": Row("cnn", "mel", "softmax"),
    "cnn, small": Row("cnn", "mel", "mse", params={"channels": (16, 32), "learning_rate": 3e-3}),
    "linear, joined": Row("linear", "stats+bow_pca"),
    "kernel_ridge, joined": Row("kernel_ridge", "stats+bow_pca"),
    "auto": Row("auto", ""),  # benchmarks/auto.py
}
MEANS = {
    "kernel_ridge + linear + kernel_ridge, words": ("kernel_ridge", "linear", "kernel_ridge, words"),
    "kernel_ridge, patterns + linear": ("kernel_ridge, patterns", "linear"),
}
SHUFFLED = "kernel_ridge"


def featurize(data, directory):
    """Store what DATA has of each song, as featurize would have."""
    spec = importlib.util.spec_from_file_location("load", data / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    configs = Recipe(["mel", "mfcc"]).configs
    create_features(directory, configs, {}, overwrite=True)
    with FeaturesWriter(directory, configs) as writer:
        list(writer.lines())
        for song, mel, mfcc in module.load(data):
            rows = {"mel": mel, "mfcc": mfcc}
            coded = {c.kind: encoded(np.ascontiguousarray(rows[c.kind]), c.dtype) for c in configs}
            lengths = {kind: len(frames) for kind, frames in rows.items()}
            sums = {kind: zlib.crc32(bytes_) for kind, bytes_ in coded.items()}
            files = {kind: io.BytesIO(bytes_) for kind, bytes_ in coded.items()}
            writer.append(Extracted(SourceFile(song), 29.0, lengths, sums, files))
        writer.finish()


class Data:
    seconds = 600  # for auto

    def __init__(self, directory, work, n_factors):
        self.work, self.als = work, {"n_factors": n_factors}
        self.plays = dcbmr.PlayCounts.read(directory / "plays.tsv")
        self.artist_of = dict(dcbmr.read_songs(directory / "songs.tsv").artist_of())
        self.artists = sorted(set(self.artist_of.values()))
        if not (work / "features").exists():
            featurize(directory, work / "features")
        self.store = dcbmr.FeatureStore.open(work / "features")
        self.songs = list(self.store["mel"].song_ids)


class Fold:
    """A fifth of the artists held out; of the others, ``n_artists`` may be learned from, all if None."""

    def __init__(self, data, seed, number, n_artists):
        self.data, self.seed, self.number = data, seed, number
        order = np.random.default_rng(seed).permutation(len(data.artists))
        held = {data.artists[i] for i in order[number::N_FOLDS]}
        learned = [data.artists[i] for i in order if data.artists[i] not in held][:n_artists]
        self.n_artists = len(learned)
        self.songs = [song for song in data.songs if data.artist_of[song] in held]
        self.artist = [data.artist_of[song] for song in self.songs]
        self.training = [song for song in data.songs if data.artist_of[song] in learned]
        out = np.isin(data.plays.song_ids.astype(str), self.songs)
        train, heldout = data.plays.keep_songs(~out), data.plays.keep_songs(out)
        self.split = dcbmr.Split(train, heldout, self.songs, data.artist_of)
        self.whole = data.work / f"seed{seed}-fold{number}"
        self.directory = self.whole / f"artists{self.n_artists}"

    @property
    def factors(self):
        return self._kept("factors", dcbmr.Factors, self._factorize)

    def _factorize(self):
        return dcbmr.WeightedALS(**self.data.als, random_state=self.seed).fit(self.split).factors_

    def _kept(self, name, kind, make):
        if not (self.whole / name).exists():
            self.whole.mkdir(parents=True, exist_ok=True)
            make().save(self.whole / name)
        return kind.load(self.whole / name)

    def _pipeline(self, row):
        """What makes the features of a row; words, slow to learn, are shared by the rows that count them."""
        if "+" in row.kind:
            return dcbmr.JoinedPipeline([self._pipeline(replace(row, kind=k)) for k in row.kind.split("+")])
        if row.kind != "bow_pca":
            return dcbmr.pipeline_to(row.kind)

        def learn():
            pipeline = dcbmr.FeaturePipeline(
                row.kind,
                n_words=N_WORDS,
                weighting="sqrt",
                standardize=row.standardize,
                random_state=self.seed,
            )
            pipeline.learn(self.data.store, self.training)
            return pipeline

        name = f"words-{'standardized' if row.standardize else 'raw'}-{self.n_artists}"
        return self._kept(name, dcbmr.FeaturePipeline, learn)

    def predict(self, name):
        """What a row predicts of the songs held out, and its own users if it has any."""
        file = name.replace(", ", "-").replace(" ", "-")
        if not (self.directory / f"{file}.json").exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter(), time.process_time()
            tensors = self._train(ROWS[name])
            header = {"row": asdict(ROWS[name]), "seconds": time.perf_counter() - began[0]}
            header["processor_seconds"] = time.process_time() - began[1]
            dcbmr.save_tensors(self.directory, tensors, header, name=file, format_version=1)
        header, tensors = dcbmr.load_tensors(self.directory, name=file, format_version=1)
        return tensors, header

    @property
    def heard(self):
        """The factors, where songs that there is no audio of have names that no audio has."""
        heard = set(self.training)
        names = [song if song in heard else f"unheard {song}" for song in self.factors.song_ids]
        return replace(self.factors, song_ids=np.array(names, object), artists=self.data.artist_of)

    def _train(self, row):
        model = self._choose() if row.regressor == "auto" else self._train_by(row)
        tensors = {"songs": model.predict_store(self.data.store, self.songs)}
        return tensors if model.own_user_factors is None else {**tensors, "users": model.own_user_factors}

    def _train_by(self, row):
        return dcbmr.train(
            self.heard,
            self.data.store,
            regressor=row.regressor,
            loss=row.loss,
            params=row.params,
            pipeline=self._pipeline(row),
            random_state=self.seed,
        )

    def _choose(self):
        """Choose anew, or where the last choice was stopped, and keep what was tried."""
        trials = self.directory / "trials"
        model = dcbmr.train_auto(
            self.heard,
            self.data.store,
            seconds=self.data.seconds,
            checkpoint=trials,
            resume=trials.exists(),
            random_state=self.seed,
        )
        (self.directory / "choice.json").write_text(json.dumps(model.config["choice"], indent=2) + "\n")
        print(model.config["choice"]["why"], flush=True)
        return model

    def rank(self, predictions, rows):
        """Reports of all rows, each as it is and by artist."""
        factors = self.factors
        rng = np.random.default_rng(self.seed * N_FOLDS + self.number)
        shape = len(self.songs), factors.user_factors.shape[1]
        noise = {
            "songs": rng.standard_normal(shape),
            "users": rng.standard_normal(factors.user_factors.shape),
        }
        every = {"random": noise} | {row: predictions[row] for row in rows if row in predictions}
        for row in rows:
            if row in MEANS:
                every[row] = {"songs": np.mean([predictions[part]["songs"] for part in MEANS[row]], axis=0)}
        if SHUFFLED in every:
            dealt = predictions[SHUFFLED]["songs"][rng.permutation(len(self.songs))]
            every[f"{SHUFFLED}, shuffled audio"] = {"songs": dealt}
        reports = {}
        for row, tensors in every.items():
            reports[row] = self._report(factors, tensors, tensors["songs"])
            reports[f"{row} | by artist"] = self._report(factors, tensors, self._by_artist(tensors["songs"]))
        return reports

    def _by_artist(self, predicted):
        of_artist = np.unique(self.artist, return_inverse=True)[1]
        sums = np.zeros((of_artist.max() + 1, predicted.shape[1]))
        np.add.at(sums, of_artist, predicted)
        return (sums / np.bincount(of_artist)[:, None])[of_artist]

    def _report(self, factors, tensors, predicted):
        has_plays = np.diff(factors.counts.indptr) > 0
        users = np.where(has_plays[:, None], tensors.get("users", factors.user_factors), 0).astype(np.float32)
        return score(
            factors.user_ids, users, self.songs, predicted.astype(np.float32), self.split.heldout, k=500
        )


def table(folds, rows, reference, n_resamples):
    """The figures of rows on all folds given, and how far each lies above ``reference``."""
    data = folds[0].data
    user_of = {user: i for i, user in enumerate(data.plays.user_ids)}
    song_of = {song: i for i, song in enumerate(data.songs)}
    found, seconds = {}, {}
    reports = []
    for fold in folds:
        needed = {part for row in (*rows, reference) for part in MEANS.get(row, (row,)) if part in ROWS}
        kept = {row: fold.predict(row) for row in needed}
        for row, (_, header) in kept.items():
            seconds.setdefault(row, []).append(header["processor_seconds"])
        reports.append(fold.rank({row: tensors for row, (tensors, _) in kept.items()}, (*rows, reference)))
    for metric in ("map_at_k", "auc"):
        tables = {}
        for fold, ranked in zip(folds, reports, strict=True):
            tables[f"{fold.seed}-{fold.number}"] = play_figures(
                ranked,
                metric,
                users=np.array([user_of[user] for user in fold.split.heldout.user_ids]),
                songs=np.array([song_of[song] for song in fold.songs]),
                artists=np.array([data.artists.index(artist) for artist in fold.artist]),
            )
        sure = dcbmr.bootstrap(dcbmr.pool_folds(tables), n_resamples=n_resamples)
        pairs = {}
        for pair in sure.comparisons:
            pairs[pair.first, pair.second] = (
                pair.difference.estimate,
                pair.difference.low,
                pair.difference.high,
            )
            pairs[pair.second, pair.first] = tuple(-pairs[pair.first, pair.second][i] for i in (0, 2, 1))
        for row, of in sure.intervals.items():
            entry = found.setdefault(row, {"row": row, "folds": len(folds)})
            entry[metric] = of.estimate, of.low, of.high
            entry[f"{metric} above {reference}"] = pairs.get((row, reference))
    for row, entry in found.items():
        entry["lift"] = entry["map_at_k"][0] - found["random"]["map_at_k"][0]
        entry["processor_seconds"] = float(np.mean(seconds[row])) if row in seconds else None
    return sorted(found.values(), key=lambda entry: -entry["auc"][0])


def shown(value):
    return "" if value is None else f"{value[0]:.4f} ({value[1]:.4f} to {value[2]:.4f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=["all"], help=", ".join((*ROWS, *MEANS)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--artists", type=int, nargs="+", default=[None], help="training artists; default: all"
    )
    parser.add_argument("--factors", type=int, default=16)
    parser.add_argument("--reference", default="linear, raw words", help="the row to compare with")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [*ROWS, *MEANS] if args.rows == ["all"] else args.rows
    for row in (*rows, args.reference):
        if row not in ROWS and row not in MEANS:
            parser.error(f"unknown row {row!r}; there are {', '.join((*ROWS, *MEANS))}")
    args.work.mkdir(parents=True, exist_ok=True)
    print(f"{date.today()}  {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    warnings.filterwarnings("ignore", message=".*set aside for validation.*")
    data = Data(args.data, args.work, args.factors)
    written = []
    for n_artists in args.artists:
        fold = cache(lambda seed, number, n=n_artists: Fold(data, seed, number, n))
        folds = [fold(seed, number) for seed in args.seeds for number in range(N_FOLDS)]
        trained = dict.fromkeys(part for row in rows for part in MEANS.get(row, (row,)))
        for row in (*trained, args.reference):
            for one in folds:
                header = one.predict(row)[1]
                print(f"{row}, seed {one.seed}, fold {one.number}: {header['seconds']:.1f} s", flush=True)
        found = table(folds, rows, args.reference, args.resamples)
        print(f"\n{folds[0].n_artists} training artists, {len(args.seeds)} x {N_FOLDS} folds\n")
        print(f"| row | mAP@500 | AUC | mAP above {args.reference} | AUC above it | s of processor |")
        print("| --- | --- | --- | --- | --- | --- |")
        for entry in found:
            cells = [entry["map_at_k"], entry["auc"]]
            cells += [entry[f"{metric} above {args.reference}"] for metric in ("map_at_k", "auc")]
            cost = entry["processor_seconds"]
            tail = "" if cost is None else f"{cost:.1f}"
            print(f"| {entry['row']} | {' | '.join(map(shown, cells))} | {tail} |")
            written.append({"artists": folds[0].n_artists, "seeds": args.seeds, **entry})
        print(flush=True)
    if args.json:
        args.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
