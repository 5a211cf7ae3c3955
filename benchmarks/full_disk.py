"""The disk fills up, at every page that a command writes: it says so, and what there is afterwards is whole.

    sudo python benchmarks/full_disk.py FOLDER [--quota] [--step 4] [--commands featurize factorize ...]

FOLDER gets the data and a file system in memory, whose size is raised by --step KiB from nothing to what a
command needs. Each size is a run that has to end with a line that names the disk and what could not be
written, and has to leave nothing that is taken for whole. Then there is room, and the same command has to end
with the bits of an undisturbed run. Temporary files lie on the same disk. Before, the disk is read-only,
which is said before any work. With --quota, it is a quota that is raised (btrfs-progs).
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

sys.path.insert(0, str(Path(__file__).parent))
from small_world import Undisturbed, make_world

ROOM_KIB = 1 << 16
EMPTY_KIB = 48  # what an empty Btrfs takes of its quota, and what it takes to change that
# The last one is said before it begins.
NAMES_IT = ("No space left on device", "Disk quota exceeded", " of disk in ")
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
    make_world(folder, n_songs=12, seconds=(0.8, 1), n_users=40)
    vectors = [f"s{song}\t{song / 7}\t{song % 5}" for song in range(12)]
    (folder / "vectors.tsv").write_text("\n".join(["song\tx\ty", *vectors]) + "\n")
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


class Disk:
    """A file system in memory, of a size that can be changed."""

    def __init__(self, place):
        self.place = place
        place.mkdir(exist_ok=True)
        call("mount", "-t", "tmpfs", "-o", f"size={ROOM_KIB}k", "tmpfs", place)

    def empty(self):
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def resize(self, kib):
        call("mount", "-o", f"remount,size={kib}k", self.place)

    def set_writable(self, is_writable):
        call("mount", "-o", "remount,rw" if is_writable else "remount,ro", self.place)

    def close(self):
        call("umount", self.place)


class Quota(Disk):
    """A file system with a quota that can be changed, and that holds for root, too: Btrfs."""

    def __init__(self, place):
        self.place = place
        place.mkdir(exist_ok=True)
        image = place.with_suffix(".img")
        image.write_bytes(b"")
        os.truncate(image, 256 << 20)
        call("mkfs.btrfs", "-q", image)
        call("mount", "-o", "loop", image, place)
        call("btrfs", "quota", "enable", place)

    def resize(self, kib):
        call("btrfs", "filesystem", "sync", self.place)  # what was deleted counts until then
        call("btrfs", "qgroup", "limit", f"{kib + EMPTY_KIB}k", "0/5", self.place)


def call(*words):
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)


def try_read_only(words, disk):
    """Run a command where nothing can be written; return what is wrong with what it says."""
    disk.empty()
    disk.set_writable(False)
    status, said = run(words, disk.place)
    disk.set_writable(True)
    is_said = status == 2 and said.splitlines()[-1].startswith("dcbmr: out cannot be written: ")
    return [] if is_said else [f"read-only: status {status}, {said[-300:]}"]


def try_sizes(words, disk, step):
    """Run a command on disks of growing sizes; yield what came of each size."""

    def write():
        disk.empty()
        status, said = run(words, disk.place)
        assert status == 0, said
        return disk.place / "out"

    wanted = Undisturbed(write)
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
        last = said.splitlines()[-1]
        if not any(name in last for name in NAMES_IT):
            faults.append("does not name the disk")
        if "out" not in last and "temporary file" not in last:
            faults.append("does not name what could not be written")
        status, said_again = run(words, disk.place)
        if status:
            faults.append(f"not to be gone on with: {said_again[-300:]}")
        elif differs := wanted.differs(disk.place / "out"):
            faults.append(f"differs: {differs[:5]}")
        left = sorted(path.name for path in disk.place.iterdir() if path.name != "out")
        if left:
            faults.append(f"left behind: {left}")
        yield {"kib": size, "faults": faults, "said": said[-1500:] if faults else last}
        size += step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--quota", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    make_data(folder)
    disk = Quota(folder / "quota") if options.quota else Disk(folder / "disk")
    n_faults = 0
    try:
        with (folder / "sizes.jsonl").open("a") as log:
            for name in options.commands:
                found, n_sizes = Counter(try_read_only(COMMANDS[name], disk)), 0
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
