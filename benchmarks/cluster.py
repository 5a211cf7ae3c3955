"""What a cluster costs: two workers of one thread against two threads, on one machine, once Ray is up.

    python benchmarks/cluster.py factorize [--pairs 7300000] [--factors 128]
    python benchmarks/cluster.py featurize [--clips 1000]
    python benchmarks/cluster.py memory [--pairs 7300000] [--factors 128]
    python benchmarks/cluster.py train [--songs 1280] [--epochs 6]
    python benchmarks/cluster.py bytes

`memory` is the peak of the process that runs `dcbmr factorize --engine ray`, which holds the plays where they
are text and not where they are Parquet, beside that of one without an engine.
`bytes` counts what crosses the loopback between two nodes of Ray on this machine in a sweep, beside the
arithmetic: the fixed factors once to the other node, its solved rows once back.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from als import power_law
from cnn import make_store, make_target
from features import write_clips
from pyarrow import csv

import dcbmr
from dcbmr.contract import registry
from dcbmr.factorization.half_sweep import ranges_of_equal_work
from dcbmr.models.fitting import fit_here, fit_on_workers

SHAPE = 200_000, 60_000


def total(task, array):
    return float(array[:: 4096 // array.itemsize].sum())


def rate_of_store(engine, n_bytes=1 << 28):
    """Bytes a second to put an array into the object store, and to have a worker look at all of it."""
    array = np.ones(n_bytes // 4, np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        list(engine.map(total, [0], engine.share(array), what="arrays"))
        seconds.append(time.perf_counter() - began)
    return n_bytes / statistics.median(seconds)


def factorize(args):
    plays = power_law(*SHAPE, args.pairs)
    als = {"n_factors": args.factors, "n_iterations": args.sweeps}
    with dcbmr.RayEngine(n_workers=2, n_threads=1) as engine:
        rate = rate_of_store(engine)
        seconds, factors = {}, {}
        for name, where, n_threads in (("2 threads", None, 2), ("2 workers", engine, 2)):
            fitted = dcbmr.WeightedALS(**als, n_threads=n_threads).fit(plays, engine=where)
            # The first sweep of workers has the plays sent.
            seconds[name] = statistics.median(terms["seconds"] for terms in fitted.objective_[1:])
            factors[name] = fitted.song_factors_
    np.testing.assert_array_equal(*factors.values())
    moved = 2 * sum(SHAPE) * args.factors * 4  # into the store, and the solved rows out of it
    return {
        **seconds,
        "ratio": seconds["2 workers"] / seconds["2 threads"],
        "store, GB/s": rate / 1e9,
        "allowed, s": 1.1 * seconds["2 threads"] + moved / rate,
    }


def featurize(args):
    root = Path(tempfile.mkdtemp())
    try:
        (root / "clips").mkdir()
        write_clips(root / "clips", "mp3", args.clips)
        with dcbmr.RayEngine(n_workers=2, n_threads=1) as engine:
            dcbmr.featurize(root / "clips", root / "warm", engine=engine)  # workers import what they need
            seconds = {name: [] for name in ("2 threads", "2 workers")}
            for _ in range(args.rounds):
                for name, where in (("2 threads", None), ("2 workers", engine)):
                    report = dcbmr.featurize(
                        root / "clips", root / "out", n_threads=2, overwrite=True, engine=where
                    )
                    assert report.n_done == args.clips
                    seconds[name].append(report.seconds)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        return {**middle, "ratio": middle["2 workers"] / middle["2 threads"]}
    finally:
        shutil.rmtree(root)


def peak_of(words):
    """Return the highest memory of a command itself, in MB, without mapped files and shared memory."""
    command = [sys.executable, "-m", "dcbmr", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                with suppress(OSError):  # it has ended; the command itself works in a child
                    status = Path(f"/proc/{child}/status").read_text().splitlines()
                    peak = max(peak, *(int(line.split()[1]) for line in status if "RssAnon" in line), 0)
            time.sleep(0.05)
    assert process.returncode == 0, command
    return peak / 1e3


def memory(args):
    plays = power_law(*SHAPE, args.pairs).tocoo()
    users, songs = (
        np.array([f"{what}{n:07}" for n in range(size)]) for what, size in zip("us", SHAPE, strict=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "plays").mkdir()
        table = pa.table({"user": users[plays.row], "song": songs[plays.col], "count": plays.data})
        for n, part in enumerate(np.array_split(np.arange(len(table)), 8)):
            pq.write_table(table.take(part), root / "plays" / f"part-{n}.parquet")
        csv.write_csv(table, root / "plays.csv")
        del table
        base = [
            "factorize",
            "-o",
            root / "factors",
            "--overwrite",
            "--iterations",
            2,
            "--factors",
            args.factors,
        ]
        on_ray = ["--engine", "ray", "--workers", 2]
        return {
            "Parquet, one machine, MB": peak_of([*base, root / "plays"]),
            "text, workers, MB": peak_of([*base, root / "plays.csv", *on_ray]),
            "Parquet, workers, MB": peak_of([*base, root / "plays", *on_ray]),
        }


def train(args):
    """Windows a second of the network `cnn` as it is by default, in the middle one of all later epochs."""
    root = Path(tempfile.mkdtemp(prefix="dcbmr-bench-"))
    spec = registry.find_regressor("cnn")
    settings = {"epochs": args.epochs, "device": "cpu"}
    try:
        store = make_store(root, args.songs, 4.0)
        songs, target = store.features(store.song_ids), make_target(args.songs, 1000)
        with dcbmr.RayEngine(n_workers=2, n_threads=1) as engine:
            run = dcbmr.FitRun(n_threads=2)
            rates = {"2 threads, windows/s": [], "2 workers, windows/s": []}
            for _ in range(args.rounds):
                alone = fit_here(spec, spec.resolve()(**settings), songs, target, run)
                together = fit_on_workers(engine, spec, settings, songs, target, run)
                for rate, fitted in zip(rates.values(), (alone, together), strict=True):
                    rate += [row["windows_per_s"] for row in fitted.history[1:]]
        threads, workers = map(statistics.median, rates.values())
        losses = [fitted.history[-1]["loss"] for fitted in (alone, together)]
        return {
            **dict(zip(rates, (threads, workers), strict=True)),
            "ratio of times": threads / workers,
            "last loss differs by": abs(losses[1] / losses[0] - 1),
        }
    finally:
        shutil.rmtree(root)


def loopback():
    """Bytes that the loopback has taken so far."""
    (line,) = (
        line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")
    )
    return int(line.split()[1])


def bytes_moved(args):
    from ray.cluster_utils import Cluster

    plays = power_law(20_000, 6_000, 400_000)
    n_factors = args.factors
    node = {"num_cpus": 1, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    marks = []

    def mark(*_):
        marks.append(loopback())

    with dcbmr.RayEngine(cluster.address, n_workers=2) as engine:
        dcbmr.WeightedALS(n_factors=n_factors, n_iterations=args.sweeps).fit(
            plays, engine=engine, progress=mark
        )
        quiet = loopback()
        time.sleep(2)
        idle = (loopback() - quiet) / 2
    cluster.shutdown()
    blocks = [ranges_of_equal_work(some.indptr, n_factors, 2) for some in (plays, plays.T.tocsr())]
    fixed = sum(plays.shape) * n_factors * 4
    # Either worker may be the one on the other node.
    back = sorted(sum(sides[i][1] - sides[i][0] for sides in blocks) * n_factors * 4 for i in (0, 1))
    return {
        "measured a sweep, MB": statistics.median(np.diff(marks)) / 1e6,
        "arithmetic, MB": [(fixed + some) / 1e6 for some in back],
        "idle, MB/s": idle / 1e6,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {
        "factorize": factorize,
        "featurize": featurize,
        "memory": memory,
        "train": train,
        "bytes": bytes_moved,
    }
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("--pairs", type=int, default=7_300_000)
    parser.add_argument("--factors", type=int, default=128)
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--songs", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    row = parts[args.part](args)
    for name, value in row.items():
        print(f"{name}: {value if isinstance(value, list) else float(f'{value:.4g}')}")
    if args.json:
        args.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
