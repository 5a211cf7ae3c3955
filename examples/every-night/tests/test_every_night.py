"""Three nights with growing data, one of them killed in the middle, twice; and what goes wrong at night."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

SCRIPT = Path(__file__).parents[1] / "night.py"
OPTIONS = [
    "--factorize", "--factors 6 --iterations 30 --tolerance 1e-4 --regularization 1",
    "--train", "--regressor linear --kind bow --words 8 --no-standardize", "--recommend", "-k 5",
    "--train-every", "2", "--json",
]  # fmt: skip


class World:
    """Songs of a pitch for each artist, and users who like a range of pitches; both grow."""

    def __init__(self, root):
        self.root, self.rng = root, np.random.default_rng(5)
        self.plays, self.audio, self.work = root / "plays.tsv", root / "audio", root / "work"
        self.n_users = self.n_songs = 0
        self.lines = []
        self.audio.mkdir()

    def grow(self, n_users, n_songs, unheard=2):
        time = np.arange(22050) / 22050
        for song in range(self.n_songs, self.n_songs + n_songs):
            sound = 0.3 * np.sin(2 * np.pi * 220 * 1.2 ** (song % 8) * time)
            noise = 0.01 * self.rng.standard_normal(len(time))
            soundfile.write(self.audio / f"song{song:02}.wav", sound + noise, 22050)
        self.n_users, self.n_songs = self.n_users + n_users, self.n_songs + n_songs
        for user in range(self.n_users):
            for song in range(self.n_songs - unheard):
                if self.rng.random() < 0.6 * np.exp(-((song % 8 - user % 8) ** 2) / 4):
                    self.lines.append(f"user{user:02}\tsong{song:02}\t1\n")
        self.plays.write_text("".join(self.lines))

    def begin(self, *more):
        command = [sys.executable, str(SCRIPT), str(self.work), "--plays", str(self.plays)]
        return subprocess.Popen(
            [*command, "--audio", str(self.audio), *OPTIONS, *more], stdout=subprocess.PIPE, text=True
        )

    def night(self, *more):
        """Return the exit code of a night, and its log."""
        process = self.begin(*more)
        said, _ = process.communicate(timeout=600)
        return process.returncode, [json.loads(line) for line in said.splitlines()]

    def stop_at(self, step, how):
        """Stop a night once a step has begun; return its exit code."""
        process = self.begin()
        for line in process.stdout:
            found = json.loads(line)
            if (found["step"], found["event"]) == (step, "begins"):
                process.send_signal(how)
                break
        else:
            pytest.fail(f"the night ended before {step}")
        status = process.wait(timeout=600)
        process.stdout.close()
        with (self.work / "lock").open() as lock:  # until the command that was at work has ended, too
            fcntl.flock(lock, fcntl.LOCK_EX)
        return status

    def lists(self):
        return pq.read_table(self.work / "lists" / "lists.parquet").to_pylist()

    def state(self):
        return json.loads((self.work / "state.json").read_text())


def steps(log):
    return [line["step"] for line in log if line["event"] == "ended"]


def said(log, step):
    return next(line["said"] for line in log if line["step"] == step and line["event"] != "begins")


def test_three_nights_one_of_them_killed(tmp_path):
    world = World(tmp_path)
    world.grow(20, 24)
    code, log = world.night()
    assert code == 0, log
    assert steps(log) == ["featurize", "factorize", "train", "predict", "recommend", "night"]
    first = world.lists()
    assert {row["user"] for row in first} == {f"user{user:02}" for user in range(20)}

    world.grow(4, 4)
    code, log = world.night()
    assert code == 0, log
    assert steps(log) == ["plays", "featurize", "predict", "recommend", "night"]
    assert "4 new, 0 vanished" in said(log, "plays")
    assert "28 songs, 4 of them new" in said(log, "predict")
    second = world.lists()
    assert {row["user"] for row in second} == {f"user{user:02}" for user in range(24)}
    assert world.state()["trained"] == "trained-1"

    world.grow(4, 4)
    stops = {"factorize": signal.SIGTERM, "train": signal.SIGKILL, "recommend": signal.SIGTERM}
    for step, how in stops.items():
        assert world.stop_at(step, how) in (128 + signal.SIGTERM, -signal.SIGKILL)
        assert world.lists() == second
        assert world.state()["nights"] == 2
    code, log = world.night()
    assert code == 0, log
    assert steps(log) == ["plays", "featurize", "factorize", "train", "predict", "recommend", "night"]
    assert "--warm-start" in next(line["command"] for line in log if line["step"] == "factorize")
    assert {row["user"] for row in world.lists()} == {f"user{user:02}" for user in range(28)}
    assert [path.name for path in world.work.glob("trained-*")] == ["trained-3"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A world after its first night."""
    world = World(tmp_path_factory.mktemp("lived"))
    world.grow(20, 24)
    code, log = world.night()
    assert code == 0, log
    return world


@pytest.fixture
def world(lived, tmp_path):
    copy = World(tmp_path)
    for name in ("audio", "work"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(lived.root / name, tmp_path / name)
    copy.lines = list(lived.lines)
    copy.plays.write_text("".join(copy.lines))
    return copy


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda lines: lines[: len(lines) // 3], "pairs with plays"),
        (lambda lines: [line.replace("song", "Song") for line in lines], "upper and lower case"),
    ],
)
def test_plays_that_shrank_or_are_spelt_otherwise_end_the_night(world, change, cause):
    before = world.lists()
    world.plays.write_text("".join(change(world.lines)))
    code, log = world.night()
    assert code == 2
    assert cause in said(log, "plays")
    assert log[-1]["lists"] == "those of yesterday"
    assert world.lists() == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_night_that_compares_the_plays_stops_at_once(world, how):
    before = world.lists()
    file = world.work / "trained-1" / "factors" / "user_ids.txt"
    users = file.read_text()
    file.unlink()
    os.mkfifo(file)
    process = world.begin()
    with file.open("w"):  # once the night reads it, which never comes to its end
        process.send_signal(how)
        said, _ = process.communicate(timeout=120)
    assert (process.returncode, said) == (128 + how, "")
    file.unlink()
    file.write_text(users)
    assert world.lists() == before
    assert world.night()[0] == 0


def test_yesterdays_lists_stay_where_a_step_fails(world):
    before = world.lists()
    code, log = world.night("--recommend", "--only nowhere.txt")
    assert code == 2
    assert log[-1] | {"time": ""} == {
        "time": "", "night": 2, "step": "night", "event": "failed", "at": "recommend",
        "lists": "those of yesterday",
    }  # fmt: skip
    assert world.lists() == before
    assert world.night()[0] == 0


def test_two_nights_at_once(world):
    first = world.begin()
    first.stdout.readline()
    assert world.night()[0] == 75
    first.communicate(timeout=600)
    assert first.returncode == 0


def test_a_clock_that_went_back_is_told_and_does_no_harm(world):
    state = world.state() | {"ended": "2999-01-01T00:00:00+00:00"}
    (world.work / "state.json").write_text(json.dumps(state))
    code, log = world.night()
    assert code == 0
    assert log[0]["event"] == "went back"
    assert world.state()["nights"] == 2
    assert world.state()["ended"] < "2999"
