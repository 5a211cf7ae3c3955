"""The disk fills up, at every page that a command writes: it says so, and what there is afterwards is whole.

    sudo python benchmarks/full_disk.py FOLDER [--step 4] [--commands featurize factorize ...]

FOLDER gets the data and a file system in memory, whose size is raised by --step KiB from nothing to what a
command needs. Each size is a run that has to end with a line that names the disk, and has to leave nothing
that is taken for whole. Then there is room, and the same command has to end with the bits of an undisturbed
run. Temporary files lie on the same disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

ROOM_KIB = 1 << 16
NAMES_IT = ("No space left on device", "the disk is full", " of disk in ")  # the last before it begins
COMMANDS = {
    "split": ["split", "../plays.tsv", "-o", "out", "--songs", "../songs.tsv"],
    "factorize": ["factorize", "../plays.tsv", "-o", "out", "--factors", "4", "--resume"],
    "featurize": ["featurize", "../music", "-o", "out", "--threads", "1", "--resume"],
    "codebook": ["codebook", "../features", "-o", "out", "--words", "8"],
    "train": [
        *["train", "--regressor", "linear", "--kind", "stats", "--factors", "../factors"],
        *["--features", "../features", "-o", "out", "--resume"],
    ],
    "predict": ["predict", "../model", "../music/s1.wav", "-o", "out"],
    "export": ["export", "../model", "--features", "../features", "-o", "out"],
    "vectors": ["featurize", "--vectors", "../vectors.tsv", "--kind", "tags", "-o", "out"],
    "experiment": ["experiment", "../experiment.toml", "-o", "out"],
}  # fmt: skip
EXPERIMENT = """
[data]
plays = "plays.tsv"
songs = "songs.tsv"
audio = "music"
[split]
by = "artist"
[factorization]
n_factors = 4
n_iterations = 2
[features]
n_words = [8]
[evaluation]
report = false
[[rows]]
name = "linear"
regressor = "linear"
"""


def make_data(folder):
    if (folder / "model").exists():
        return
    (folder / "music").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    plays, songs, vectors = [], ["song\tartist\ttitle"], ["song\tx\ty"]
    for song in range(12):
        soundfile.write(folder / "music" / f"s{song}.wav", 0.1 * rng.standard_normal(20_000), 22050)
        songs.append(f"s{song}\ta{song // 2}\tTitle")
        vectors.append(f"s{song}\t{rng.random()}\t{rng.random()}")
    for user in range(40):
        plays += [f"u{user}\ts{song}\t{rng.integers(1, 9)}" for song in rng.permutation(12)[:5]]
    for name, lines in (("plays", plays), ("songs", songs), ("vectors", vectors)):
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "experiment.toml").write_text(EXPERIMENT)
    for line in (
        "factorize plays.tsv -o factors --factors 4 --overwrite",
        "featurize music -o features --overwrite",
        "train --regressor linear --kind stats --factors factors --features features -o model",
    ):
        status, said = run(line.split(), folder)
        assert status == 0, said


def run(words, at):
    """Run a command in a child of this process, where everything is imported; return its status and words."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.chdir(at)
            os.environ["TMPDIR"] = str(at)
            _end(words)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, said.read().decode(errors="replace")


def _end(words):
    """Run a command, and end this process as it ends."""
    from dcbmr.cli import main as dcbmr

    status = 120
    try:
        dcbmr(words)
    except SystemExit as done:
        status = done.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def contents(directory):
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


class Disk:
    """A file system in memory, of a size that can be changed."""

    def __init__(self, place):
        self.place = place
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM_KIB}k", "tmpfs", place], check=True)

    def empty(self):
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def resize(self, kib):
        subprocess.run(["mount", "-o", f"remount,size={kib}k", self.place], check=True)

    def close(self):
        subprocess.run(["umount", self.place], check=True)


def try_sizes(words, disk, step):
    """Run a command on disks of growing sizes; yield what came of each size."""
    unbroken = []
    for _ in range(2):
        disk.empty()
        status, said = run(words, disk.place)
        assert status == 0, said
        unbroken.append(contents(disk.place / "out"))
    varies = {name for name in unbroken[0] if unbroken[0][name] != unbroken[1].get(name)}
    size = step
    while True:
        disk.empty()
        disk.resize(size)
        status, said = run(words, disk.place)
        disk.resize(ROOM_KIB)
        if status == 0:
            return
        faults = []
        if status not in (1, 2) or "Traceback" in said:
            faults.append(f"status {status}")
        if not any(name in said.splitlines()[-1] for name in NAMES_IT):
            faults.append("does not name the disk")
        status, said_again = run(words, disk.place)
        if status:
            faults.append(f"not to be gone on with: {said_again[-300:]}")
        else:
            found = contents(disk.place / "out")
            differs = sorted(
                name for name in {*found, *unbroken[0]} - varies if found.get(name) != unbroken[0].get(name)
            )
            if differs:
                faults.append(f"differs: {differs[:5]}")
        left = sorted(path.name for path in disk.place.iterdir() if path.name != "out")
        if left:
            faults.append(f"left behind: {left}")
        yield {"kib": size, "faults": faults, "said": said[-1500:] if faults else said.splitlines()[-1]}
        size += step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    options = parser.parse_args()
    folder = options.folder.resolve()
    make_data(folder)
    disk = Disk(folder / "disk")
    n_faults = 0
    try:
        with (folder / "sizes.jsonl").open("a") as log:
            for name in options.commands:
                found = Counter()
                n_sizes = 0
                for record in try_sizes(COMMANDS[name], disk, options.step):
                    n_sizes += 1
                    found.update(fault[:80] for fault in record["faults"])
                    log.write(json.dumps({"command": name, **record}) + "\n")
                    log.flush()
                n_faults += found.total()
                print(f"{name}\t{n_sizes} sizes\t{dict(found)}", flush=True)
    finally:
        disk.close()
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    import dcbmr.cli
    import dcbmr.experiment.experiment
    import dcbmr.features.featurize
    import dcbmr.models.training
    import dcbmr.recommendation.recommender  # noqa: F401

    main()
