"""A decoder's library that crashes costs one file: the processes are real, and so is the signal."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import dcbmr

# Found before the library itself, which it becomes but for a file that no library survives.
CRASHING = """
import ctypes, os, sys
here = sys.path.pop(0)
del sys.modules["soundfile"]
import soundfile as real
sys.path.insert(0, here)
whole = real.SoundFile
def opened(file, *args, **options):
    if b"crash" in file and (b"once" not in file or not os.path.exists("tried")):
        open("tried", "w").close()
        ctypes.string_at(0)
    if b"slow" in file:
        open("begun", "w").close()
        ctypes.CDLL(None).sleep(60)
    return whole(file, *args, **options)
real.SoundFile = opened
# Another thread that imports it meanwhile may get this module.
globals().update({name: value for name, value in vars(real).items() if not name.startswith("__")})
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "first" / "x").mkdir(parents=True)
    (tmp_path / "first" / "soundfile.py").write_text(CRASHING)
    (tmp_path / "music").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    return tmp_path


def write_songs(folder, *names):
    for seed, name in enumerate(names):
        sound = 0.1 * np.random.default_rng(seed).standard_normal(12_000)
        soundfile.write(folder / "music" / f"{name}.wav", sound, 22050)


def start(folder, *words):
    words = [sys.executable, "-P", "-m", "dcbmr", *words]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder, *words):
    with start(folder, *words) as process:
        out, said = process.communicate(timeout=120)
    return process.returncode, out, said


def failed(folder):
    with (folder / "f" / "failed.tsv").open() as lines:
        return {row["song"]: row["reason"] for row in csv.DictReader(lines, delimiter="\t")}


def test_a_crash_costs_one_file(folder):
    write_songs(folder, "a", "b", "crash", "d", "e", "crash2", "g")
    status, out, said = run(folder, "featurize", "music", "-o", "f", "--threads", "2")
    assert status == 0, said
    assert "2 failed" in out
    warning = "dcbmr: warning: music/{}.wav was being read when a library crashed (SIGSEGV); it is left out"
    assert [line for line in said.splitlines() if "warning" in line] == [
        warning.format("crash"),
        warning.format("crash2"),
    ]
    assert failed(folder) == dict.fromkeys(
        ["crash", "crash2"], "was being read when a library crashed: SIGSEGV"
    )
    # The rest has the bits of a run without them.
    for name in ("crash", "crash2"):
        (folder / "music" / f"{name}.wav").unlink()
    dcbmr.featurize(folder / "music", folder / "without")
    for kind in ("mel", "mfcc"):
        for file in ("songs.tsv", "00000.bin"):
            assert (folder / "f" / kind / file).read_bytes() == (
                folder / "without" / kind / file
            ).read_bytes()


def test_a_crash_that_no_trial_repeats_ends_nothing(folder):
    write_songs(folder, "a", "crash once", "d")
    status, _, said = run(folder, "featurize", "music", "-o", "f", "--threads", "1")
    assert status == 0, said
    assert list(failed(folder)) == ["crash once"]
    assert run(folder, "featurize", "music", "-o", "f", "--resume")[0] == 0
    assert len(dcbmr.FeatureStore.open(folder / "f")["mel"]) == 3


def test_a_codebook_does_without_the_file(folder):
    write_songs(folder, "a", "b", "crash", "d")
    status, _, said = run(folder, "codebook", "music", "-o", "c", "--words", "5")
    assert status == 0, said
    assert dcbmr.Codebook.load(folder / "c").seen(["a", "b", "crash", "d"]) == ["a", "b", "d"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_who_works(folder, number):
    write_songs(folder, "slow")
    with start(folder, "featurize", "music", "-o", "f") as process:
        wait_for(folder / "begun")
        process.send_signal(number)
        # The library does not listen; a second signal ends the process.
        time.sleep(1)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number


def test_a_killed_command_leaves_nobody_at_work(folder):
    write_songs(folder, "slow")
    with start(folder, "featurize", "music", "-o", "f") as process:
        wait_for(folder / "begun")
        (child,) = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_child_is_told_of(folder):
    write_songs(folder, "slow")
    with start(folder, "featurize", "music", "-o", "f") as process:
        wait_for(folder / "begun")
        (child,) = children(process.pid)
        os.kill(child, signal.SIGKILL)
        assert process.communicate(timeout=60)[1] == "dcbmr: killed by SIGKILL\n"
    assert process.returncode == 137


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def children(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as numbers:
        return [int(number) for number in numbers.read().split()]
