"""Commands killed at random moments and started again: nothing is lost, not a bit is another.

    python benchmarks/kills.py FOLDER [--kills 300] [--signals 100] [--seed 0]

FOLDER holds the data, which are small, and the counts, a line a moment, so that a run that was stopped goes
on. Each of featurize, factorize, train, codebook and experiment is started, killed at a random moment of its
length, and started again by the same words, up to three times in a row; then it is let to its end, and its
output is compared with that of a run that nobody disturbed. Files that differ between two undisturbed runs,
as they tell of seconds, are left out.

kills: SIGKILL, over all commands. signals: SIGINT and SIGTERM, after which a command says one line, and ends
with 130 or 143; how long that took is counted, in seconds of the clock and of the processors.
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from small_world import Undisturbed, make_world

DCBMR = [sys.executable, "-P", "-m", "dcbmr"]
# What comes before, Python's own start, is not dcbmr's: signals are sent from here on.
BEGUN = [
    sys.executable,
    "-P",
    "-c",
    "import dcbmr.__main__ as c; c.watch.begin(); print('begun', flush=True); c.main()",
]
EXPERIMENT = """
random_state = 0
[data]
plays = "plays.tsv"
songs = "songs.tsv"
audio = "music"
[split]
by = "artist"
[factorization]
n_factors = 12
n_iterations = 5
[features]
n_words = [40]
[evaluation]
report = false
[[rows]]
name = "linear"
regressor = "linear"
[[rows]]
name = "mlp"
regressor = "mlp"
loss = "mse"
params = { epochs = 60 }
"""


@dataclass(frozen=True)
class Command:
    """What is run, and the directory that it writes."""

    line: str
    output: str
    is_again: bool = True  # whether it may be started where its output is whole

    @property
    def words(self):
        return self.line.split()


COMMANDS = {
    "featurize": Command("featurize music -o out-featurize --resume", "out-featurize"),
    "factorize": Command(
        "factorize plays.tsv -o out-factorize --factors 40 --iterations 60 --resume", "out-factorize"
    ),
    "train": Command(
        "train --regressor cnn --loss mse --factors factors --features features -o out-train --resume "
        "--set epochs=5 --set channels=8,8",
        "out-train",
    ),
    "codebook": Command(
        "codebook features -o out-codebook --words 300 --tolerance 0", "out-codebook", is_again=False
    ),
    "experiment": Command("experiment experiment.toml -o out-experiment", "out-experiment"),
}


def make_data(folder):
    """Write what the commands read, once."""
    if (folder / "features").exists():
        return
    make_world(folder, n_songs=60, seconds=(3, 30), n_users=1500)
    (folder / "music" / "bad.wav").write_bytes(b"no audio")
    (folder / "experiment.toml").write_text(EXPERIMENT)
    run(
        folder,
        ["factorize", "plays.tsv", "-o", "factors", "--factors", "12", "--iterations", "4", "--overwrite"],
    )
    run(folder, ["featurize", "music", "-o", "features", "--overwrite"])


def run(folder, words):
    """Run a command to its end, and return the seconds that it took."""
    began = time.monotonic()
    done = subprocess.run([*DCBMR, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")
    return time.monotonic() - began


def clear(folder, command):
    """Take away what a command has left, and return the names of what is not its output."""
    left = []
    for path in folder.glob(f".{command.output}*"):
        left.append(path.name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder / command.output, ignore_errors=True)
    return left


def undisturbed(folder, command):
    """Return what a command writes, and the seconds that it took, run by run."""
    seconds = []

    def write():
        clear(folder, command)
        seconds.append(run(folder, command.words))
        return folder / command.output

    return Undisturbed(write), seconds


def until_over(folder, command, wanted, seconds, rng, n_left, disturb):
    """Disturb a command once to three times in a row, let it end, and return what came of it all."""
    clear(folder, command)
    records = []
    for _ in range(min(n_left, rng.randint(1, 3))):
        if not command.is_again and (folder / command.output).exists():
            break
        began = time.monotonic()
        record = disturb(folder, command, rng.uniform(0, 1.1 * statistics.median(seconds)), rng)
        if record["ended"]:
            if not records:
                seconds.append(time.monotonic() - began)
            break
        records.append(record)
    if command.is_again or not (folder / command.output).exists():
        run(folder, command.words)
    wrong = wanted.differs(folder / command.output)
    left = [name for name in clear(folder, command) if not name.endswith(".lock")]
    return [*records, {"over": True, "n": len(records), "differs": wrong, "left": left}]


def kill(folder, command, moment, rng):
    """Kill a command and say whether it had ended before."""
    words = [*DCBMR, *command.words]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait(process, moment)
        process.kill()
        status = process.wait()
    return {"ended": status != -signal.SIGKILL, "moment": moment, "status": status}


def wait(process, moment):
    """Wait some seconds, or until the process has ended."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)


def stop(folder, command, moment, rng):
    """Send SIGINT or SIGTERM, and see what is said, how it ends, and when."""
    number = rng.choice([signal.SIGINT, signal.SIGTERM])
    words = [*BEGUN, *command.words]
    with subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        wait(process, moment)
        began, used = time.monotonic(), processor_s(process.pid)
        process.send_signal(number)
        while used is not None and process.poll() is None:
            used_now = processor_s(process.pid)
            time.sleep(0.005)
        seconds = time.monotonic() - began
        _, said = process.communicate()
    lines = [line for line in said.splitlines() if "were left out" not in line]
    word = "interrupted" if number == signal.SIGINT else "terminated"
    ended = process.returncode == 0
    stages = {"split", "factorize", "featurize", "codebook", "train", "evaluate", "report"}
    faults = []
    if not ended:
        if process.returncode != 128 + number:
            faults.append(f"exit {process.returncode}")
        if not lines or not lines[-1].startswith(word):
            faults.append("its last line is another")
        if any("Traceback" in line or word in line for line in lines[:-1]):
            faults.append("it says more than a line")
    return {
        "ended": ended,
        "moment": moment,
        "signal": number.name,
        "seconds": seconds,
        "processor_s": (used_now - used) if not ended and used is not None else None,
        "faults": faults,
        "said": [] if not faults else [line for line in lines if line not in stages][-12:],
    }


def processor_s(pid):
    """Return the seconds that a process has kept processors busy; None where it is no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / 100


def summary(records):
    disturbed = [record for record in records if "ended" in record]
    over = [record for record in records if record.get("n")]
    wrong = [record for record in over if record["differs"]]
    row = {
        "disturbed": len(disturbed),
        "compared": len(over),
        "differ": len(wrong),
        "left behind": sum(len(record["left"]) for record in over),
    }
    if any("signal" in record for record in disturbed):
        seconds = [record["seconds"] for record in disturbed]
        row |= {
            "faults": dict(Counter(fault for record in disturbed for fault in record["faults"])),
            "median_s": round(statistics.median(seconds), 3),
            "longest_s": round(max(seconds), 3),
            "longest_processor_s": max(record["processor_s"] or 0 for record in disturbed),
            "beyond_1_s": sum(s > 1 for s in seconds),
        }
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_data(options.folder)
    log = options.folder / "moments.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    faults = 0
    for name in options.commands:
        command, wanted = COMMANDS[name], None
        for what, disturb, n_all in (("kill", kill, options.kills), ("signal", stop, options.signals)):
            records = [record for record in done if (record["command"], record["what"]) == (name, what)]
            n_wanted = -(-n_all // len(options.commands))
            while (n_left := n_wanted - sum("ended" in record for record in records)) > 0:
                if wanted is None:
                    wanted, seconds = undisturbed(options.folder, command)
                    print(f"{name}: {min(seconds):.1f} s; not compared: {wanted.varies}", flush=True)
                rng = random.Random(f"{options.seed} {name} {what} {len(records)}")
                found = until_over(options.folder, command, wanted, seconds, rng, n_left, disturb)
                found = [record | {"command": name, "what": what} for record in found]
                records += found
                with log.open("a") as text:
                    text.writelines(json.dumps(record) + "\n" for record in found)
            row = summary(records)
            faults += row["differ"] + len(row.get("faults", ()))
            print(name, what, json.dumps(row), flush=True)
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
