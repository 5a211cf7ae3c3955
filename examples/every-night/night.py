"""A night of a recommender: new audio, new plays, new users; lists at the end, or those of yesterday.

    night.py WORK --plays PLAYS --audio AUDIO [--json]

A scheduler calls it; README.md beside it says how, and what its exit codes mean. Every step is a command of
dcbmr. What a night makes stands aside until it is whole: `state.json` says which of it counts.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dcbmr

BUSY = 75  # another night is at work; EX_TEMPFAIL of sysexits.h


class Failed(Exception):
    """A step that did not end well; its exit status is the night's."""

    def __init__(self, step: str, status: int) -> None:
        super().__init__(step)
        self.status = status


class Night:
    """The steps of a night, each told in a line as it begins and as it ends."""

    def __init__(self, options: argparse.Namespace, lock: int) -> None:
        self.options, self.lock = options, lock
        self.work: Path = options.work
        self.state: dict[str, Any] = {"nights": 0, "trained": None, "trained_in": 0, "ended": ""}
        if (self.work / "state.json").exists():
            self.state = json.loads((self.work / "state.json").read_text())
        self.number = self.state["nights"] + 1  # not of the clock, which may go back
        self.process: subprocess.Popen[str] | None = None
        self.stopped, self.reads = 0, False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)

    def stop(self, number: int, _: object) -> None:
        """End with the step that is at work, which leaves nothing half made, or while only reading."""
        self.stopped = number
        if self.reads:
            sys.exit(128 + number)
        if self.process is not None:
            self.process.terminate()

    def say(self, step: str, event: str, **more: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"time": now, "night": self.number, "step": step, "event": event, **more}
        print(json.dumps(line) if self.options.json else " ".join(map(str, line.values())), flush=True)

    def run(self, step: str, *words: object) -> None:
        """Run a command of dcbmr; Failed where it does not end well."""
        command = [sys.executable, "-m", "dcbmr", *map(str, words)]
        self.say(step, "begins", command=shlex.join(["dcbmr", *command[3:]]))
        began, before = time.monotonic(), os.times()
        # It has the lock, too: while it lives no other night begins, whatever becomes of this process.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=[self.lock]
        )
        if self.stopped:  # before it, or while it was made
            self.process.terminate()
        said, _ = self.process.communicate()
        if self.stopped:
            sys.exit(128 + self.stopped)
        seconds, after = round(time.monotonic() - began, 1), os.times()
        of_processors = after.children_user + after.children_system
        of_processors -= before.children_user + before.children_system
        took = {"seconds": seconds, "cpu_seconds": round(of_processors, 1)}
        if self.process.returncode:
            self.say(step, "failed", status=self.process.returncode, **took, said=said[-4000:].strip())
            raise Failed(step, self.process.returncode)
        self.say(step, "ended", **took, said=said[-4000:].strip())

    def check_plays(self) -> None:
        """Ask back where the plays shrank, or their ids are spelt in another way, before any work."""
        if self.state["trained"] is None or self.options.force:
            return
        self.reads = True
        if self.stopped:  # before it
            sys.exit(128 + self.stopped)
        try:
            before = dcbmr.Factors.load(self.work / self.state["trained"] / "factors")
            change = dcbmr.PlaysChange.of(before, dcbmr.PlayCounts.read(self.options.plays))
            change.check()
        except dcbmr.InputError as error:
            self.say("plays", "failed", said=str(error))
            raise Failed("plays", 2) from None
        finally:
            self.reads = False
        self.say("plays", "ended", said=change.words())

    def train(self) -> Path:
        """Factorize and train, from where the last ones stood; return the directory of both."""
        options, old = self.options, self.state["trained"]
        folder = self.work / f"trained-{self.number}"
        shutil.rmtree(folder, ignore_errors=True)  # of a night that was stopped
        folder.mkdir()
        flags = [*options.factorize, *(["--force"] if options.force else [])]
        flags += [] if old is None else ["--warm-start", self.work / old / "factors"]
        self.run("factorize", "factorize", options.plays, "-o", folder / "factors", *flags)
        flags = options.train if old is None else options.train_again or options.train
        flags = [flag.replace("{model}", str(self.work / str(old) / "model")) for flag in flags]
        both = ["--factors", folder / "factors", "--features", self.work / "features"]
        self.run("train", "train", *both, "-o", folder / "model", *flags)
        return folder

    def make_lists(self) -> None:
        """Take in what is new, and make the lists."""
        options, work = self.options, self.work
        if self.state["ended"] > datetime.now(UTC).isoformat():
            self.say("clock", "went back", last=self.state["ended"])
        self.check_plays()
        self.run("featurize", "featurize", options.audio, "-o", work / "features", "--resume")
        again = self.state["trained"] is None or self.number - self.state["trained_in"] >= options.train_every
        folder = self.train() if again else work / self.state["trained"]
        model, predicted = folder / "model", folder / "predicted"
        self.run("predict", "predict", model, "--features", work / "features", "-o", predicted, "--resume")
        lists = ["--all-users", "--plays", options.plays, "--predicted", predicted, *options.recommend]
        self.run("recommend", "recommend", model, *lists, "-o", work / "lists", "--overwrite")
        self.keep(folder, again)

    def keep(self, folder: Path, again: bool) -> None:
        """Let this night count, all of it at once, and clear away what none needs any more."""
        self.state |= {"nights": self.number, "ended": datetime.now(UTC).isoformat(), "trained": folder.name}
        self.state |= {"trained_in": self.number} if again else {}
        beside = self.work / ".state.json"
        with beside.open("w") as file:
            json.dump(self.state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.work / "state.json")
        for other in self.work.glob("trained-*"):
            if other != folder:
                shutil.rmtree(other)


def options_of(words: list[str] | None) -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("work", type=Path, help="folder of what is kept from night to night")
    parser.add_argument("--plays", required=True, help="file or folder of all plays as of now")
    parser.add_argument("--audio", required=True, help="folder or manifest of all audio as of now")
    parser.add_argument("--train-every", type=int, default=7, metavar="N", help="nights (default: 7)")
    flags = {
        "factorize": "--iterations 50 --tolerance 1e-4",
        "train": "--regressor linear",
        "train-again": "",
        "recommend": "-k 20",
    }
    for command, default in flags.items():
        words_of = f"options of dcbmr {command} (default: {default!r})"
        if command == "train-again":
            words_of = "those of later trainings, as '--regressor cnn --set epochs=5 --warm-start {model}'"
        parser.add_argument(f"--{command}", type=shlex.split, default=shlex.split(default), help=words_of)
    parser.add_argument("--json", action="store_true", help="tell each step as a line of JSON")
    parser.add_argument("--force", action="store_true", help="take plays that shrank by half")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Run a night and return its exit code."""
    options = options_of(words)
    options.work.mkdir(parents=True, exist_ok=True)
    with (options.work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another night is at work in {options.work}", file=sys.stderr)
            return BUSY
        night = Night(options, lock.fileno())
        try:
            night.make_lists()
        except Failed as failed:
            night.say("night", "failed", at=str(failed), lists="those of yesterday")
            return failed.status if failed.status > 0 else 1
        night.say("night", "ended", lists=str(options.work / "lists"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
