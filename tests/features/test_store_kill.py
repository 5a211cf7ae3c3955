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
    for _ in range(200):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "f")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdin.write(bytes(random.randrange(10)))
        process.stdin.flush()
        time.sleep(random.uniform(0.0, 0.04))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdin.close()
        process.stdout.close()
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
