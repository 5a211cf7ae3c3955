"""Weighted ALS: seconds a sweep, time to converge and kernel speed, beside implicit, irspack and cmfrec.

    python benchmarks/als.py [--work W1] [--factors 50,128] [--only NAME,...] [--json FILE]
    python benchmarks/als.py --kernels
    python benchmarks/als.py --full-scale [--read]

W1 is 20,000 users x 9,330 songs with 1 M pairs, W2 200,000 x 60,000 with 7.3 M, users and songs by power
laws. Every solver gets the same surplus, lambda, initial factors (cmfrec draws its own) and threads; the
objective of every result is computed by one function in float64. Before any timing the exact solvers must
agree.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, csr_array, csr_matrix
from threadpoolctl import threadpool_limits

import dcbmr
from dcbmr import _core
from dcbmr.factorization import als
from dcbmr.factorization.half_sweep import Problem, fixed_factors
from dcbmr.factorization.sides import SideHere
from dcbmr.plays.confidence import surplus

WORK = {"W1": (20_000, 9_330, 1_000_000), "W2": (200_000, 60_000, 7_300_000)}
FULL = (1_019_318, 384_546, 48_400_000)


def power_law(n_users, n_songs, n_pairs, seed=0):
    """Counts whose users, songs and values follow power laws; every pair once."""
    rng = np.random.default_rng(seed)
    activity = (1 - rng.random(n_users)) ** (-1 / 1.5)
    popularity = (10.0 + np.arange(n_songs)) ** -0.9
    # Users as often as they are due; songs out of a table of quantiles, which is fast.
    users = np.repeat(np.arange(n_users), np.ceil(1.3 * n_pairs * activity / activity.sum()).astype(int))
    quantiles = np.searchsorted(
        np.cumsum(popularity), (np.arange(1 << 22) + 0.5) * popularity.sum() / (1 << 22)
    )
    songs = rng.permutation(n_songs)[quantiles.clip(max=n_songs - 1)]
    keys = users * n_songs + songs[rng.integers(0, 1 << 22, len(users), dtype=np.int32)]
    keys = np.unique(keys)
    keys = np.delete(keys, rng.choice(len(keys), len(keys) - n_pairs, replace=False))
    counts = np.floor((1 - rng.random(n_pairs)) ** (-1 / 1.2)).clip(max=1e4).astype(np.float32)
    pairs = (keys // n_songs).astype(np.int32), (keys % n_songs).astype(np.int32)
    return csr_array(coo_array((counts, pairs), shape=(n_users, n_songs)))


def objective(plays, users, songs, regularization):
    """The definition in float64: all pairs through the Gram matrices, corrected at the plays."""
    users, songs = users.astype(np.float64), songs.astype(np.float64)
    with threadpool_limits(1, user_api="blas"):  # threads that BLAS wakes spin on into the next sweep
        total = np.sum((users.T @ users) * (songs.T @ songs))
    total += regularization * (np.square(users).sum() + np.square(songs).sum())
    rows = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))
    for first in range(0, plays.nnz, 1 << 18):
        part = slice(first, first + (1 << 18))
        scores = np.einsum("nf,nf->n", users[rows[part]], songs[plays.indices[part]])
        total += np.sum((1 + plays.data[part]) * np.square(1 - scores) - np.square(scores))
    return float(total)


class Run:
    """Seconds and objective after each sweep."""

    def __init__(self, plays, regularization):
        self.plays, self.regularization = plays, regularization
        self.seconds, self.totals = [], []

    def add(self, seconds, users, songs):
        self.seconds.append(seconds)
        self.totals.append(objective(self.plays, users, songs, self.regularization))


def ours(solver):
    def fit(plays, songs, regularization, n_sweeps, n_threads, run):
        users = np.zeros((plays.shape[0], songs.shape[1]), np.float32)
        songs = songs.copy()
        sides = SideHere(plays), SideHere(csr_array(plays.T.tocsr()))
        problem = Problem(regularization, 1.0, 0.0, 3 if solver == "cg" else 0, n_threads)
        for _ in range(n_sweeps):
            started = time.perf_counter()
            als.sweep(*sides, users, songs, problem, lambda share: None)
            run.add(time.perf_counter() - started, users, songs)

    return fit


def implicit_als(use_cg):
    def fit(plays, songs, regularization, n_sweeps, n_threads, run):
        from implicit.cpu.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=songs.shape[1], regularization=regularization, alpha=1.0, use_cg=use_cg,
            iterations=n_sweeps, num_threads=n_threads,
        )  # fmt: skip
        model.user_factors = np.zeros((plays.shape[0], songs.shape[1]), np.float32)
        model.item_factors = songs.copy()
        confidence = csr_matrix((1 + plays.data, plays.indices, plays.indptr), shape=plays.shape)
        with threadpool_limits(1, user_api="blas"):
            model.fit(
                confidence,
                show_progress=False,
                callback=lambda sweep, seconds, loss: run.add(
                    seconds, model.user_factors, model.item_factors
                ),
            )

    return fit


def irspack_ials(solver):
    def fit(plays, songs, regularization, n_sweeps, n_threads, run):
        from irspack.recommenders import _ials_core as core

        config = (
            core.IALSModelConfigBuilder().set_K(songs.shape[1]).set_alpha0(1.0).set_reg(regularization)
            .set_nu(0.0).set_init_stdev(0.01).set_loss_type(core.LossType.ORIGINAL).build()
        )  # fmt: skip
        how = (
            core.IALSSolverConfigBuilder().set_n_threads(n_threads).set_max_cg_steps(3)
            .set_solver_type(getattr(core.SolverType, solver)).set_ialspp_iteration(1)
            .set_ialspp_subspace_dimension(64).build()
        )  # fmt: skip
        trainer = core.IALSTrainer(config, csr_matrix(plays))
        trainer.user = np.zeros((plays.shape[0], songs.shape[1]), np.float32)
        trainer.item = songs.copy()
        for _ in range(n_sweeps):
            started = time.perf_counter()
            trainer.step(how)
            run.add(time.perf_counter() - started, trainer.user, trainer.item)

    return fit


def cmfrec_cg(plays, songs, regularization, n_sweeps, n_threads, run):
    """Only whole fits can be timed: fits of one sweep more each time."""
    from cmfrec import CMF_implicit

    def fit(n):
        model = CMF_implicit(
            k=songs.shape[1], lambda_=regularization, alpha=1.0, use_cg=True, max_cg_steps=3, niter=n,
            finalize_chol=False, nthreads=n_threads, use_float=True, precompute_for_predictions=False,
            verbose=False,
        )  # fmt: skip
        started = time.perf_counter()
        model.fit(plays.tocoo())
        return time.perf_counter() - started, model

    before, _ = fit(1)
    after, model = fit(1 + n_sweeps)
    run.add((after - before) / n_sweeps, model.A_, model.B_)


SOLVERS = {
    "dcbmr cholesky": ours("cholesky"),
    "dcbmr cg": ours("cg"),
    "implicit cholesky": implicit_als(False),
    "implicit cg": implicit_als(True),
    "irspack cholesky": irspack_ials("CHOLESKY"),
    "irspack cg": irspack_ials("CG"),
    "irspack ials++": irspack_ials("IALSPP"),
    "cmfrec cg": cmfrec_cg,
}


def installed(names):
    for name in names:
        package = name.split()[0]
        try:
            __import__(package)
            yield name
        except ImportError:
            print(f"{package} is not installed: {name} is left out")


def start(plays, n_factors):
    songs = np.random.default_rng(0).standard_normal((plays.shape[1], n_factors), dtype=np.float32)
    return songs * np.float32(0.1 / np.sqrt(n_factors))


def check_agreement(names):
    """After three sweeps from the same factors, exact solvers have the same objective."""
    plays = surplus(power_law(700, 400, 9_000))
    wanted = None
    for name in names:
        if "cholesky" in name:
            run = Run(plays, 5.0)
            SOLVERS[name](plays, start(plays, 20), 5.0, 3, 2, run)
            wanted = wanted or run.totals[-1]
            assert abs(run.totals[-1] / wanted - 1) < 1e-3, (name, run.totals, wanted)


def time_sweeps(work, n_factors, names, args):
    plays = surplus(power_law(*WORK[work]))
    rows = []
    print(f"\n{work}, f = {n_factors}, lambda {args.regularization:g}, {args.threads} threads")
    print(f"{'solver':18}  s a sweep (median, range)   objective after each sweep")
    for name in names:
        run = Run(plays, args.regularization)
        SOLVERS[name](plays, start(plays, n_factors), args.regularization, args.sweeps, args.threads, run)
        rows.append({"work": work, "n_factors": n_factors, "solver": name, "threads": args.threads,
                     "seconds": run.seconds, "objective": run.totals})  # fmt: skip
        low, middle, high = min(run.seconds), statistics.median(run.seconds), max(run.seconds)
        totals = " ".join(f"{total:.5g}" for total in run.totals)
        print(f"{name:18}  {middle:.3f} ({low:.3f} to {high:.3f})   {totals}", flush=True)
    return rows


def time_to_converge(work, n_factors, names, args):
    """Seconds, without those of computing objectives, until within 0.1 % of where 60 sweeps lead."""
    plays = surplus(power_law(*WORK[work]))
    run = Run(plays, args.regularization)
    SOLVERS["dcbmr cholesky"](plays, start(plays, n_factors), args.regularization, 60, args.threads, run)
    goal, rows = min(run.totals) * 1.001, []
    print(f"\n{work}, f = {n_factors}: to 0.1 % of {min(run.totals):.6g}")
    for name in names:
        run = Run(plays, args.regularization)
        SOLVERS[name](plays, start(plays, n_factors), args.regularization, 60, args.threads, run)
        reached = np.flatnonzero(np.array(run.totals) <= goal)
        n = int(reached[0]) + 1 if len(reached) else None
        seconds = sum(run.seconds[:n]) if n else None
        rows.append({"work": work, "n_factors": n_factors, "solver": name, "sweeps": n, "seconds": seconds})
        print(
            f"{name:18}  {n} sweeps, {seconds and round(seconds, 2)} s; ends at {run.totals[-1]:.6g}",
            flush=True,
        )
    return rows


def time_kernels(args):
    """GFLOP/s of rows of one length on one thread: n_plays^2 or n_factors^2 times the other, and f^3 / 3."""
    a = np.random.default_rng(0).random((3000, 3000), dtype=np.float32)
    with threadpool_limits(1, user_api="blas"):
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - started)
    sgemm = 2 * 3000**3 / min(seconds) / 1e9
    core = os.environ.get("OPENBLAS_CORETYPE", "its own choice")
    print(f"sgemm, one thread, OpenBLAS core {core}: {sgemm:.0f} GFLOP/s")
    rng, rows = np.random.default_rng(0), []
    for n_factors in args.factors:
        others = (rng.standard_normal((2000, n_factors)) * 0.1).astype(np.float32)
        fixed = fixed_factors(others, Problem(1.0, 1.0, 0.0, 0, 1))
        for n_plays in (8, 16, 32, 48, 64, 128, 256, 400, 1024):
            small, large = sorted((n_plays, n_factors))
            flops = small**2 * large + small**3 / 3
            n_rows = max(4, int(1e9 / flops) if flops > 1e5 else 10_000)
            indptr = np.arange(n_rows + 1, dtype=np.int64) * n_plays
            indices = rng.integers(0, 2000, n_rows * n_plays).astype(np.int32)
            out = np.zeros((n_rows, n_factors), np.float32)
            seconds = []
            for _ in range(5):
                started = time.perf_counter()
                plays = _core.Plays(indptr, indices, np.full(len(indices), 30, np.float32), 2000)
                fixed.solve_rows(
                    plays, (0, n_rows), out, regularization=None, cg_steps=0, with_errors=False, n_threads=1
                )
                seconds.append(time.perf_counter() - started)
            speed = flops * n_rows / min(seconds) / 1e9
            rows.append({"n_factors": n_factors, "n_plays": n_plays, "gflops": speed, "sgemm": sgemm})
            print(f"f = {n_factors}, {n_plays} plays: {min(seconds) / n_rows * 1e6:.1f} us a row, "
                  f"{speed:.0f} GFLOP/s, {speed / sgemm:.0%} of sgemm", flush=True)  # fmt: skip
    return rows


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def full_scale(args):
    """One exact sweep, 400 factors, of a matrix of the size of the paper's."""
    counts = power_law(*FULL)
    if args.read:
        return read_triplets(counts)
    peak_of_drawing = peak_gib()
    lengths = [np.diff(counts.indptr), np.bincount(counts.indices, minlength=FULL[1])]
    update, factorization = 0.0, 0.0
    for n in lengths:
        small, large = np.minimum(n, 400.0), np.maximum(n, 400.0)
        update += (small**2 * large).sum()
        factorization += (small**3 / 3).sum()
    model = dcbmr.WeightedALS(
        n_factors=400, n_iterations=1, n_threads=args.threads, regularization=args.regularization
    )
    model.fit(counts)
    seconds = model.objective_[0]["seconds"]
    print(f"{counts.nnz:,} pairs; longest user {lengths[0].max():,}, longest song {lengths[1].max():,}")
    print(f"one sweep {seconds:.1f} s, {(update + factorization) / seconds / 1e9:.0f} GFLOP/s "
          f"({update / 1e12:.2f} TFLOP of updates, {factorization / 1e12:.2f} of factorizations); peak "
          f"{peak_gib():.2f} GiB, {peak_of_drawing:.2f} of which drawing the matrix took before")  # fmt: skip
    return [
        {
            "work": "full",
            "seconds": seconds,
            "peak_gib": peak_gib(),
            "update": update,
            "cholesky": factorization,
        }
    ]


def read_triplets(counts):
    """Write the matrix as triplets with ids like the Taste Profile's, and read it in a fresh process."""
    import subprocess
    import sys

    import pyarrow as pa
    import pyarrow.csv

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "triplets.tsv"
        matrix = counts.tocoo()
        users = pa.array([f"{i * 2654435761 % 2**32:08x}" * 5 for i in range(counts.shape[0])])
        songs = pa.array([f"SO{i * 2654435761 % 2**32:08X}A{i:07d}" for i in range(counts.shape[1])])
        schema = pa.schema([("user", pa.string()), ("song", pa.string()), ("count", pa.int32())])
        form = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        with pyarrow.csv.CSVWriter(path, schema, write_options=form) as writer:
            for first in range(0, matrix.nnz, 1 << 20):
                part = slice(first, first + (1 << 20))
                columns = [
                    users.take(pa.array(matrix.row[part])),
                    songs.take(pa.array(matrix.col[part])),
                    pa.array(matrix.data[part].astype(np.int32)),
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        size, nnz = path.stat().st_size, counts.nnz
        del matrix, users, songs
        code = """if True:
            import re, sys, time, dcbmr
            started = time.perf_counter()
            plays = dcbmr.PlayCounts.read(sys.argv[1])
            seconds = time.perf_counter() - started
            # ru_maxrss would be that of this script: it outlives exec
            peak_kib = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
            print(seconds, int(peak_kib) / 2**20, plays.counts.nnz)"""
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    seconds, peak, found = done.stdout.split()
    assert int(found) == nnz
    print(
        f"{nnz:,} lines, {size / 2**30:.2f} GiB, read in {float(seconds):.1f} s, peak {float(peak):.2f} GiB"
    )
    return [{"work": "read", "seconds": float(seconds), "peak_gib": float(peak), "bytes": size}]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", default="W1", choices=WORK)
    parser.add_argument("--factors", default="50,128", type=lambda text: [int(f) for f in text.split(",")])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SOLVERS))
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--regularization", type=float, default=10.0)
    parser.add_argument("--converge", action="store_true", help="time to 0.1 %% of the converged objective")
    parser.add_argument("--kernels", action="store_true", help="speed of the kernels beside sgemm")
    parser.add_argument("--full-scale", action="store_true", help="one sweep at the paper's scale")
    parser.add_argument("--read", action="store_true", help="with --full-scale: read its triplets instead")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {_core.isa()}, Python {platform.python_version()}, "
          f"NumPy {np.__version__}")  # fmt: skip
    rows = []
    if args.kernels:
        rows = time_kernels(args)
    elif args.full_scale:
        rows = full_scale(args)
    else:
        names = list(installed(args.only))
        check_agreement(names)
        measure = time_to_converge if args.converge else time_sweeps
        for n_factors in args.factors:
            rows += measure(args.work, n_factors, names, args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
