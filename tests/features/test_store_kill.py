"""Killed at random moments and started again, featurize ends with the store of an unbroken run."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import dcbmr
from dcbmr.features import featurize as extraction

SCRIPT = """
import sys
from dcbmr.features import featurize as extraction, features_writer
features_writer._COMMIT_S = 0.0
print("ready", flush=True)
# A byte lets one file pass, so that a fast machine is not through before it can be killed.
let_pass = lambda *progress: sys.stdin.buffer.read(1)
extraction.featurize(sys.argv[1], sys.argv[2], n_threads=2, resume=True, progress=let_pass)
"""


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_readable_while_another_process_writes(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(12):
        soundfile.write(folder / f"{i:02}.wav", np.full(20_000, 0.01 * i, np.float32), 22050)
    extraction.featurize(folder, tmp_path / "unbroken")
    whole = dcbmr.FeatureStore.open(tmp_path / "unbroken")["mel"]
    words = [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "f")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        opened = []
        for n_songs in range(2, 12, 3):
            process.stdin.write(bytes(3))
            process.stdin.flush()
            deadline = time.monotonic() + 30
            while not opened or len(opened[-1]) < n_songs:
                assert time.monotonic() < deadline
                if (tmp_path / "f").exists():
                    opened.append(dcbmr.FeatureStore.open(tmp_path / "f", unfinished=True)["mel"])
        process.stdin.close()
        # Also what was opened while less was there, and is read only now.
        for store in opened:
            assert list(store) == list(whole)[: len(store)]
            for song in store:
                np.testing.assert_array_equal(store[song], whole[song])
    assert process.returncode == 0
    assert contents(tmp_path / "f") == contents(tmp_path / "unbroken")


def resumed_and_killed(folder, directory, attempt):
    """Let a few files pass, and return whether it was killed before it was through.

    It is given more and more time, so that a busy machine gets somewhere, too.
    """
    words = [sys.executable, "-c", SCRIPT, str(folder), str(directory)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.write(bytes(random.randrange(10)))
        process.stdin.flush()
        time.sleep(random.uniform(0.0, min(2.0, 0.04 * 1.1**attempt)))
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        samples = 0.1 * rng.standard_normal((rng.integers(20_000, 300_000), 2))
        soundfile.write(folder / f"{i:03}.wav", samples.astype(np.float32), 44100)
    (folder / "bad.wav").touch()
    extraction.featurize(folder, tmp_path / "unbroken", n_threads=1)

    random.seed(0)
    killed = at_work = 0
    seen = set()
    for attempt in range(200):
        killed += resumed_and_killed(folder, tmp_path / "f", attempt)
        if not (tmp_path / "f").exists():
            continue
        store = dcbmr.FeatureStore.open(tmp_path / "f", unfinished=True)["mel"]
        assert store.check() == []
        assert seen <= set(store) or len(seen - set(store)) <= 1  # one kind may be ahead by a song
        seen = set(store)
        at_work += 0 < len(store) < 60
        if len(store) == 60:
            break
    assert killed >= 3
    assert at_work >= 2
    extraction.featurize(folder, tmp_path / "f", resume=True)
    assert contents(tmp_path / "f") == contents(tmp_path / "unbroken")
    leftovers = [name for name in os.listdir(tmp_path) if name.endswith(".old")]
    assert not leftovers


@pytest.mark.slow
def test_kill_while_changed_files_are_read_again(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def put(songs):
        for i in songs:
            samples = 0.1 * rng.standard_normal(rng.integers(20_000, 200_000))
            soundfile.write(folder / f"{i:03}.wav", samples.astype(np.float32), 22050)

    put(range(30))
    extraction.featurize(folder, tmp_path / "f")
    before = dcbmr.FeatureStore.open(tmp_path / "f")["mel"]
    old = dict(before)
    put(range(0, 30, 2))
    for i in range(1, 30, 6):
        (folder / f"{i:03}.wav").unlink()
    extraction.featurize(folder, tmp_path / "unbroken")
    new = dict(dcbmr.FeatureStore.open(tmp_path / "unbroken")["mel"])

    random.seed(1)
    n_killed = n_between = 0
    for attempt in range(100):
        n_killed += resumed_and_killed(folder, tmp_path / "f", attempt)
        store = dcbmr.FeatureStore.open(tmp_path / "f", unfinished=True)["mel"]
        assert store.check() == []
        assert set(new) <= set(store) <= set(old)
        n_new = sum(np.array_equal(store[song], new[song]) for song in new)
        assert all(any(np.array_equal(store[song], f.get(song)) for f in (old, new)) for song in store)
        n_between += 10 < n_new < len(new)
        if n_new == len(new) or n_between == 5:
            break
    assert n_killed >= 3
    assert n_between >= 1
    extraction.featurize(folder, tmp_path / "f", resume=True)
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert store.check() == {"mel": [], "mfcc": []}
    assert set(store["mfcc"]) == set(store["mel"]) == set(new)
    for song, frames in new.items():
        np.testing.assert_array_equal(store["mel"][song], frames)
    # What was opened before all of it is as it was.
    for song, frames in old.items():
        np.testing.assert_array_equal(before[song], frames)
