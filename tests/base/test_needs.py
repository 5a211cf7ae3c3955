"""What commands need, as estimated, beside what they take."""

import runpy
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.sparse import csr_array

from dcbmr import InputError, PlayCounts
from dcbmr.base import needs
from dcbmr.base.needs import GIB, Need, Sizes, check_need
from dcbmr.factorization.factors import sizes_of
from dcbmr.features.featurize import featurize

NEEDS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/needs.py"))
N_USERS, N_SONGS, N_FACTORS = 80_000, 10_000, 256
RUN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak(*words):
    """Return the memory that a command took, in bytes."""
    command = [sys.executable, "-c", RUN, sys.executable, "-m", "dcbmr", *map(str, words)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux alone")
def test_estimates_of_memory_are_near_what_commands_take(tmp_path):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(N_USERS), 5)
    songs = rng.integers(0, N_SONGS, len(users))
    counts = csr_array((np.ones(len(users), np.float32), (users, songs)), shape=(N_USERS, N_SONGS))
    plays = PlayCounts.from_matrix(counts)
    plays.write_parquet(tmp_path / "plays.parquet")
    cg = ("--solver", "cg", "--cg-steps", 1, "--iterations", 1, "--factors", N_FACTORS)
    factors, lists, vectors = (tmp_path / name for name in ("factors", "lists", "vectors"))
    peaks = {
        "factorize": peak("factorize", tmp_path / "plays.parquet", "-o", factors, *cg),
        "lists": peak("recommend", factors, "--all-users", "-k", 1, "-o", lists),
        "export": peak("export", factors, "-o", vectors),
    }
    sizes = sizes_of(factors)
    assert sizes.n_users == N_USERS
    estimates = {
        "factorize": needs.of_factorize(sizes),
        "lists": needs.of_lists(sizes, 1),
        "export": needs.of_export(sizes),
    }
    for name, estimate in estimates.items():
        assert peaks[name] / 1.5 < estimate.memory < 1.5 * peaks[name], (name, peaks[name], estimate)
    for name, folder, n_kept in (("factorize", factors, 3), ("export", vectors, 1)):
        assert 0.6 < estimates[name].disk / (n_kept * size_of(folder)) < 1.7, name


@pytest.fixture(scope="module")
def random_world(tmp_path_factory):
    world = tmp_path_factory.mktemp("needs") / "world"
    NEEDS["make_world"](world, 800, n_users=4000, n_pairs=80_000, n_frames=50)
    return world


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its /proc says what a process has")
@pytest.mark.parametrize("command", NEEDS["COMMANDS"])
def test_a_command_takes_no_more_than_it_says_and_not_much_less(random_world, command):
    found = NEEDS["take"](random_world, command)
    # Looked at now and then, a peak that is short is seen lower than it is.
    assert found["peak"] <= found["estimate"] <= 1.8 * found["peak"]


@pytest.mark.parametrize("kinds", [["mel"], ["mel", "mfcc"]])
def test_estimates_of_disk_are_near_what_features_take(tmp_path, kinds, monkeypatch):
    for number in range(20):
        samples = 0.1 * np.random.default_rng(number).standard_normal(22050 * (1 + number % 3))
        soundfile.write(tmp_path / f"song{number}.wav", samples, 22050)
    asked = []
    monkeypatch.setattr("dcbmr.features.featurize.check_need", lambda need, *_, **__: asked.append(need.disk))
    featurize(tmp_path, tmp_path / "features", kinds=kinds)
    written = sum(file.stat().st_size for file in (tmp_path / "features").rglob("*.bin"))
    assert written / 1.2 < asked[0] < 1.2 * written


def test_what_does_not_fit_is_refused_unless_forced(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "available_memory", lambda: 4 * GIB)
    usage = namedtuple("usage", "free")(2 * GIB)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage)
    check_need(Need(4 * GIB, 2 * GIB), tmp_path / "a" / "b", force=False)
    with pytest.raises(InputError, match="about 4.5 GiB of memory, and 4.0 GiB are free; --force tries"):
        check_need(Need(4.5 * GIB, 0), tmp_path, force=False)
    with pytest.raises(InputError, match=f"about 3.0 GiB of disk in {tmp_path}, and 2.0 GiB are free"):
        check_need(Need(0, 3 * GIB), tmp_path / "a" / "b", force=False)
    usage = namedtuple("usage", "free")(600)
    with pytest.raises(InputError, match=f"about 2.5 MiB of disk in {tmp_path}, and 0.6 KiB are free"):
        check_need(Need(0, 2.5 * 2**20), tmp_path, force=False)
    with pytest.warns(UserWarning, match="about 4.5 GiB of memory"):
        check_need(Need(4.5 * GIB, 0), tmp_path, force=True)
    monkeypatch.setattr(needs, "available_memory", lambda: None)
    check_need(Need(99 * GIB, 0), tmp_path, force=False)


def test_the_paper_in_full_needs_what_a_large_machine_has():
    need = needs.of_factorize(Sizes(1_000_000, 382_410, 48_400_000, 400))
    assert 5 * GIB < need.memory < 12 * GIB


def test_available_memory_is_some_of_the_machine():
    there = needs.available_memory()
    assert there is None or 1 << 20 < there < 1 << 50
