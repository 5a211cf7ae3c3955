"""Mutated audio, plays and what dcbmr keeps: read, or refused by name; nothing crashes, hangs or executes.

    python benchmarks/hostile FOLDER [--n 10000] [--families wav flac ...] [--seed 0]

FOLDER gets the seeds (seeds.py), a line for each part that is through, so that a run that was stopped goes
on, and in findings/ what came out otherwise. n is of each audio format, of plays, and of all that is kept
together. Each case is used in a process that may take so much memory and time and no more, and that is
replaced when it ends; an audit hook and payloads tell whether anything was executed.
"""

import argparse
import gzip
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
import mutations

TIME_S = 60
ADDRESSES = 12 << 30  # bytes; PyTorch alone reserves a few
GROWTH = 1 << 30  # bytes of memory that a case may take
WHOLE = "whole"  # in the place of the seed of mutations: nothing is mutated
# The third: a model's numbers are found to be none when they are used, by an error that names its regressor.
EXPECTED = ("read", "refused", "failed in words")
_PART = 250
_NEVER = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)


def seeds_of(family, seeds):
    """Return the files or directories that are mutated."""
    return [path for path in sorted((seeds / family).iterdir()) if not path.name.endswith(".ids.txt")]


def copied_case(seed, at):
    """Copy a seed into the folder ``at``; return its path."""
    place = at / ("case" + "".join(seed.suffixes) if seed.is_file() else "case")
    if seed.is_dir():
        shutil.copytree(seed, place)
        return place
    shutil.copy(seed, place)
    ids = seed.with_name("a.ids.txt")
    if seed.suffix == ".npy" and ids.exists():
        shutil.copy(ids, at / "case.ids.txt")
    return place


def mutate_case(family, rng, seeds, at):
    """Mutate a file of what lies in the folder ``at``."""
    import seeds as of

    target = rng.choice(sorted(path for path in at.rglob("*") if path.is_file()))
    others = [path.read_bytes() for path in seeds_of(family, seeds) if path.is_file()]
    target.write_bytes(_mutated_file(family, target, rng, others, of))


def _mutated_file(family, file, rng, others, of):
    data = file.read_bytes()
    name = file.name
    if family in of.AUDIO:
        data = mutations.mutated(data, rng, others)
        return mutations.with_checksums(data) if family in ("ogg", "opus") and rng.random() < 0.7 else data
    if family in of.KEPT and rng.random() < 0.03:
        return rng.choice(of.payloads())
    if family in of.KEPT and rng.random() < 0.02:
        file.unlink()  # missing, or a folder, or a link that leads out or nowhere
        rng.choice((file.mkdir, lambda: file.symlink_to("/proc/self/mem"), lambda: file.symlink_to(file)))()
        raise Replaced
    if rng.random() < 0.25:
        return mutations.mutated(data, rng, others)
    if name.endswith(".json"):
        return mutations.mutated_json(data.decode(), rng).encode("utf-8", "surrogatepass")
    if name.endswith(".toml"):
        return mutations.mutated_toml(data.decode(), rng).encode()
    if name.endswith(".safetensors"):
        return mutations.mutated_safetensors(data, rng)
    if name.endswith((".tsv", ".csv", ".txt")):
        return mutations.mutated_table(data, rng)
    if name.endswith(".tsv.gz"):
        return gzip.compress(mutations.mutated_table(gzip.decompress(data), rng))
    if name.endswith(".tsv.zst"):
        import pyarrow as pa

        text = pa.input_stream(pa.BufferReader(data), compression="zstd").read()
        return pa.Codec("zstd").compress(mutations.mutated_table(text, rng), asbytes=True)
    return mutations.mutated(data, rng, others)


class Replaced(Exception):
    """A file is something else than a file."""


def work(seeds, at):
    """Read the families and numbers of cases from stdin, and write what becomes of each."""
    import seeds as of

    import dcbmr

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    events = []
    names = ("case", "/etc/passwd", "out of memory")  # the second is a file that mutations name
    os.chdir(at)
    answers = os.fdopen(os.dup(1), "w")
    sys.addaudithook(lambda event, _: events.append(event) if event in _NEVER else None)
    for line in sys.stdin:
        family, number, seed = line.split()
        for path in at.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        rng = random.Random(f"{seed} {family} {number}")
        everything = seeds_of(family, seeds)
        place = copied_case(everything[int(number)] if seed == WHOLE else rng.choice(everything), at)
        if seed != WHOLE:
            with suppress(Replaced):
                mutate_case(family, rng, seeds, at)
        events.clear()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        detail = ""
        try:
            of.use(family, place, seeds)
            outcome = "read"
        except dcbmr.InputError as error:
            is_named = any(name in str(error) for name in (*names, str(at), str(seeds)))
            outcome = "refused" if is_named else "refused without a name"
            detail = str(error)[:300]
        except dcbmr.DcbmrError as error:
            outcome, detail = "failed in words", str(error)[:300]
        except BaseException as error:
            import traceback

            outcome = f"{type(error).__name__}"
            detail = traceback.format_exc()[-1500:]
        if events or (at / of.EXECUTED).exists():
            outcome, detail = "executed", f"{events}"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
        if grown > GROWTH:
            outcome, detail = "memory", f"{grown >> 20} MiB; {detail}"
        answers.write(json.dumps([outcome, detail]) + "\n")
        answers.flush()


class Worker:
    """A process that uses cases, replaced when one ends it or takes too long."""

    def __init__(self, seeds, at):
        self._words = [sys.executable, "-P", __file__, "--work", str(seeds), str(at)]
        self._process = None

    def __call__(self, family, number, seed):
        """Return the outcome of a case, and what is to be said of it."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._words, text=True, **pipes)
        process = self._process
        process.stdin.write(f"{family} {number} {seed}\n")
        process.stdin.flush()
        # The time is the processors', as others may keep them busy; a sleeper is given more.
        for _ in range(10):
            if select.select([process.stdout], [], [], TIME_S)[0]:
                if answer := process.stdout.readline():
                    return json.loads(answer)
                self._process = None
                process.communicate()
                status = process.returncode
                return ["crash", signal.Signals(-status).name if status < 0 else f"exit {status}"]
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > TIME_S:
                break
        self.close()
        return ["hang", f"{TIME_S} s"]

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--families", nargs="*")
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    folder = options.folder.resolve()
    import seeds as of

    seeds = of.made_in(folder)
    at, findings = folder / "at", folder / "findings"
    at.mkdir(exist_ok=True)
    findings.mkdir(exist_ok=True)
    log = folder / f"parts-{options.seed}.jsonl"
    parts = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        part = json.loads(line)
        parts[part["family"], part["begin"], part["n"]] = part["outcomes"]
    worker = Worker(seeds, at)
    n_findings = 0
    try:
        for family in options.families or of.FAMILIES:
            n_all = -(-options.n // len(of.KEPT)) if family in of.KEPT else options.n
            for number, path in enumerate(seeds_of(family, seeds)):
                if (found := worker(family, number, WHOLE))[0] != "read":
                    raise SystemExit(f"{path} is not read as it is: {found}")
            outcomes, began = Counter(), time.monotonic()
            for begin in range(0, n_all, _PART):
                n = min(_PART, n_all - begin)
                if (family, begin, n) not in parts:
                    found = Counter()
                    for number in range(begin, begin + n):
                        outcome, detail = worker(family, number, options.seed)
                        found[outcome] += 1
                        if outcome not in EXPECTED:
                            keep(findings / f"{family}-{options.seed}-{number}", at, outcome, detail)
                    with log.open("a") as text:
                        text.write(
                            json.dumps({"family": family, "begin": begin, "n": n, "outcomes": found}) + "\n"
                        )
                    parts[family, begin, n] = found
                outcomes.update(parts[family, begin, n])
            n_findings += outcomes.total() - sum(outcomes[name] for name in EXPECTED)
            print(f"{family}\t{json.dumps(outcomes)}\t{time.monotonic() - began:.0f} s", flush=True)
    finally:
        worker.close()
    sys.exit(n_findings > 0)


def keep(place, at, outcome, detail):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(at, place, symlinks=True)
    (place / "outcome.txt").write_text(f"{outcome}\n{detail}\n", "utf-8", "backslashreplace")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
