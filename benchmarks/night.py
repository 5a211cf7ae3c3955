"""A cold night and a warm one, by examples/every-night/night.py: seconds of each step, sweeps, objective.

    python benchmarks/night.py DIRECTORY [--users 200000 --songs 60000 --pairs 7300000 --clips 3000]

Today has a twentieth more plays than yesterday, new users and songs among them, and a thirtieth more clips.
"cold" begins with nothing; "warm" goes on from yesterday and trains again; "between" goes on from yesterday
with the model that is there. Plays are by power laws (als.py), clips five seconds of tones. Yesterday is made
once in DIRECTORY (--prepare stops after it); the nights measured start from copies of it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from als import power_law
from scipy.sparse import csr_array

import dcbmr

NIGHT = Path(__file__).parents[1] / "examples" / "every-night" / "night.py"
SETTINGS = [
    "--factorize", "--factors 50 --regularization 100 --iterations 60 --tolerance 1e-4",
    "--train", "--regressor linear --words 500", "--recommend", "-k 20", "--json",
]  # fmt: skip


def make_plays(folder, n_users, n_songs, n_pairs):
    """Write plays of yesterday and of today."""
    counts = power_law(n_users, n_songs, n_pairs).tocoo()
    rng = np.random.default_rng(1)
    new_user, new_song = (rng.random(n) < 0.01 for n in (n_users, n_songs))
    is_new = new_user[counts.row] | new_song[counts.col]
    is_new |= rng.random(counts.nnz) < (0.05 - is_new.mean()) / (1 - is_new.mean())
    users, songs = ([f"{what}{i}" for i in range(n)] for what, n in (("user", n_users), ("song", n_songs)))
    for day, kept in (("yesterday", ~is_new), ("today", np.ones(counts.nnz, bool))):
        part = csr_array((counts.data[kept], (counts.row[kept], counts.col[kept])), shape=counts.shape)
        dcbmr.PlayCounts(users, songs, part).write_parquet(folder / f"{day}.parquet")


def make_clips(folder, n_clips, n_songs, first=0):
    """Write clips of songs spread over all, a tenth of which nobody has played."""
    folder.mkdir(exist_ok=True)
    time = np.arange(5 * 22050) / 22050
    for clip in range(first, n_clips):
        rng = np.random.default_rng(clip)
        song = f"song{clip * 13 % n_songs}" if clip % 10 else f"unheard{clip}"
        pitches = 110 * 2 ** (rng.integers(0, 48, 6) / 12)
        beat = np.exp(-3 * (time % rng.uniform(0.2, 1)))
        sound = beat * sum(np.sin(2 * np.pi * pitch * time) for pitch in pitches)
        soundfile.write(folder / f"{song}.flac", (0.1 * sound).astype(np.float32), 22050)


def night(work, plays, audio, *more):
    """Return the seconds of each step, and of the processors in all of them."""
    command = [sys.executable, NIGHT, work, "--plays", plays, "--audio", audio, *SETTINGS, *more]
    log = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True).stdout.splitlines()
    lines = [json.loads(line) for line in log]
    assert lines[-1]["event"] == "ended", lines[-2]
    steps = [line for line in lines if "seconds" in line]
    total, of_processors = (round(sum(line[n] for line in steps), 1) for n in ("seconds", "cpu_seconds"))
    return {line["step"]: line["seconds"] for line in steps} | {"total": total, "cpu": of_processors}


def objective(work):
    """Return the objective after each sweep of the factors that count."""
    state = json.loads((work / "state.json").read_text())
    factors = dcbmr.Factors.load(work / state["trained"] / "factors")
    return [terms["total"] for terms in factors.config["objective"]]


def clips_before(n_clips):
    """Return how many clips there were yesterday."""
    return n_clips * 29 // 30


def prepare(root, sizes):
    """Make the plays of both days, and yesterday's night, unless they are there."""
    made = root / "made.json"
    if made.exists():
        assert json.loads(made.read_text()) == sizes, f"{root} holds yesterday in other sizes"
        return
    root.mkdir(parents=True)
    make_plays(root, sizes["users"], sizes["songs"], sizes["pairs"])
    make_clips(root / "audio", clips_before(sizes["clips"]), sizes["songs"])
    night(root / "yesterday", root / "yesterday.parquet", root / "audio")
    made.write_text(json.dumps(sizes))


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("directory", type=Path)
    for name, default in (("users", 200_000), ("songs", 60_000), ("pairs", 7_300_000), ("clips", 3_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prepare", action="store_true", help="make yesterday, and stop")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root, audio = options.directory, options.directory / "audio"
    sizes = {name: getattr(options, name) for name in ("users", "songs", "pairs", "clips")}
    prepare(root, sizes)
    if options.prepare:
        return
    make_clips(audio, options.clips, options.songs, first=clips_before(options.clips))
    rows = []
    for name, every in (("cold", 1), ("warm", 1), ("between", 7)):
        shutil.rmtree(root / name, ignore_errors=True)
        if name != "cold":
            shutil.copytree(root / "yesterday", root / name)
        before = os.getloadavg()[0]
        seconds = night(root / name, root / "today.parquet", audio, "--train-every", every)
        row = {"night": name, **seconds, "load": (round(before, 1), round(os.getloadavg()[0], 1))}
        if every == 1:
            totals = objective(root / name)
            row |= {"sweeps": len(totals), "objective": totals[-1]}
        rows.append(row)
        print(row, flush=True)
    cold, warm = (row["objective"] for row in rows[:2])
    assert warm < 1.001 * cold, "the warm night is not where the cold one is"
    print(f"objective, warm / cold - 1: {warm / cold - 1:.2e}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
