"""What commands take at their peak, beside what they say before they begin; on Linux.

    python benchmarks/needs.py DIRECTORY [--songs 2000 20000] [--only linear codebook ...] [--json FILE]

Plays and features are random. Each command runs in a process of its own, which keeps what it asked the
machine for (`check_need`) and the most memory that it had; iterations are cut short, which changes no peak.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

import dcbmr
from dcbmr.features.features_writer import create_features
from dcbmr.features.recipe import Recipe
from dcbmr.features.writer import StoreWriter

# Runs a command, then writes what it asked for and its peak, in bytes: what it has for itself alone, and its
# libraries, but not pages of features on the disk, which the system drops when it is short of memory.
RUN = r"""
import json, re, sys, threading, time
from pathlib import Path
from dcbmr.base import needs

asked, most = [0], [0]
check = needs.check_need

def keep(need, *output, force):
    asked[0] = need.memory
    check(need, *output, force=force)

def watch():
    while True:
        found = re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())
        most[0] = max(most[0], int(found[1]))
        time.sleep(0.002)

needs.check_need = keep
threading.Thread(target=watch, daemon=True).start()
from dcbmr.cli import cli
cli(sys.argv[2:], standalone_mode=False)
of_code = r"/(?:\S*\.so\S*|\S*python\S*)\n(?:.*\n){3}Rss:\s*(\d+)"
libraries = sum(map(int, re.findall(of_code, Path("/proc/self/smaps").read_text())))
taken = {"estimate": asked[0], "peak": 1024 * (most[0] + libraries)}
Path(sys.argv[1]).write_text(json.dumps(taken))
"""
N_DIMS = 400  # of the vectors
_FEATURES = ["--features", "vectors"]
_VECTORS = [*_FEATURES, "--kind", "brought"]
_FRAMES = ["--features", "frames"]
_SHORT = ["--set", "epochs=1"]
_TRAIN = ["train", "--factors", "factors", "--regressor"]
COMMANDS = {
    "codebook": ["codebook", "frames", "--words", "500", "--iterations", "1"],
    "linear": [*_TRAIN, "linear", *_VECTORS],
    "linear on words": [*_TRAIN, "linear", *_FRAMES, "--words", "1000"],
    "linear, wpe": [*_TRAIN, "linear", *_VECTORS, "--loss", "wpe"],
    "kernel_ridge": [*_TRAIN, "kernel_ridge", *_VECTORS, "--set", "n_landmarks=1000", "--set", "width=20"],
    "mlr": [*_TRAIN, "mlr", *_VECTORS, "--set", "max_iterations=4"],
    "mlp": [*_TRAIN, "mlp", *_VECTORS, *_SHORT],
    "mlp, wpe": [*_TRAIN, "mlp", *_VECTORS, "--loss", "wpe", *_SHORT],
    "cnn": [*_TRAIN, "cnn", *_FRAMES, *_SHORT],
    "cnn, spotify2014": [*_TRAIN, "cnn", *_FRAMES, *_SHORT, "--set", "architecture=spotify2014"],
    "auto": [*_TRAIN, "auto", "--features", "vectors", "--seconds", "20"],
    "predict, linear": ["predict", "linear", *_FEATURES],
    "predict, mlp": ["predict", "mlp", *_FEATURES],
    "evaluate, linear": ["evaluate", "linear", "--split", "split", *_FEATURES],
    "evaluate, both": ["evaluate", "linear", "mlp", "--split", "split", *_FEATURES],
    "evaluate, factors": ["evaluate", "warm-factors", "--split", "warm"],
    "split": ["split", "plays.parquet", "--by", "play"],
    "tune": ["tune", "plays.parquet", "--trials", "2", "--range", "n_factors=50:100"],
    "tune, mlp": ["tune", "factors", "--regressor", "mlp", *_VECTORS, "--trials", "1", *_SHORT],
    "report, factors": ["report", "factors"],
    "report, linear": ["report", "linear", *_FEATURES],
}


def take(world, name):
    """Run a command in the directory of a world; return what it asked for and what it took, in bytes."""
    with tempfile.NamedTemporaryFile("r") as said:
        made = Path(world, f"made-by-{COMMANDS[name][0]}")
        shutil.rmtree(made, ignore_errors=True)
        made.unlink(missing_ok=True)
        words = [*COMMANDS[name], "-o", made.name, "--force"]
        command = [sys.executable, "-c", RUN, said.name, *words]
        done = subprocess.run(command, cwd=world, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(said.read())


def make_world(directory, n_songs, *, n_users, n_pairs, n_frames):
    """Write random factors and plays, vectors, and frames of mel and MFCC, of so many songs, and models."""
    directory.mkdir(parents=True)
    factors = make_factors(directory / "factors", n_users, n_songs, n_pairs)
    mel_and_mfcc = Recipe(("mel", "mfcc")).configs
    make_features(directory / "frames", mel_and_mfcc, n_songs, n_frames)
    brought = dcbmr.FeatureConfig(
        kind="brought", shape="vectors", dtype="<f4", n_dims=N_DIMS, settings={"file": "random"}
    )
    make_features(directory / "vectors", [brought], n_songs, 1)
    plays = dcbmr.PlayCounts(factors.user_ids, factors.song_ids, factors.counts)
    plays.write_parquet(directory / "plays.parquet")
    als = dcbmr.WeightedALS(n_factors=50, n_iterations=1, solver="cg")
    for by, name in (("play", "warm"), ("song", "split")):
        split = dcbmr.split_plays(plays, by=by)
        split.save(directory / name)
        als.fit(split).factors_.save(directory / f"{name}-factors")
    store = dcbmr.FeatureStore.open(directory / "vectors")
    for regressor, params in (("linear", {}), ("mlp", {"epochs": 1})):
        model = dcbmr.train(als.factors_, store, regressor=regressor, kind="brought", params=params)
        model.save(directory / regressor)


def make_factors(directory, n_users, n_songs, n_pairs, n_factors=50):
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, n_users * n_songs, n_pairs))
    counts = csr_array(
        (np.ones(len(keys), np.float32), (keys // n_songs, keys % n_songs)), shape=(n_users, n_songs)
    )
    users, songs = (rng.standard_normal((n, n_factors)) for n in (n_users, n_songs))
    songs[np.bincount(counts.indices, minlength=n_songs) == 0] = 0
    ids = {"user_ids": [f"user{i}" for i in range(n_users)], "song_ids": [f"song{i}" for i in range(n_songs)]}
    factors = dcbmr.Factors(user_factors=users, song_factors=songs, counts=counts, regularization=1.0, **ids)
    factors.save(directory)
    return factors


def make_features(directory, configs, n_songs, n_frames):
    rng = np.random.default_rng(0)
    create_features(directory, configs, {"kinds": [config.kind for config in configs]}, overwrite=False)
    (directory / "unfinished.json").unlink()
    for config in configs:
        writer = StoreWriter(directory / config.kind, config)
        list(writer.index())
        writer.cut()
        for song in range(n_songs):
            rows = rng.standard_normal((n_frames, config.n_dims), np.float32)
            writer.append_rows(f"song{song}", rows)
        writer.commit()
        writer.close()


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--songs", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--only", nargs="+", default=list(COMMANDS), choices=COMMANDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for n_songs in options.songs:
        world = options.directory / str(n_songs)
        if not world.exists():
            make_world(world, n_songs, n_users=5 * n_songs, n_pairs=100 * n_songs, n_frames=100)
        for name in options.only:
            row = {"command": name, "songs": n_songs, **take(world, name)}
            rows.append(row)
            told, taken = (round(row[key] / 2**20) for key in ("estimate", "peak"))
            print(f"{name:20} {n_songs:7} {told:6} {taken:6} MiB {told / taken:5.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
