"""Where the time of an exact sweep goes: rows by their number of plays, beside the rate of sgemm.

    python benchmarks/sweep.py [--work W1] [--factors 50]

One thread, the rows of a length alone, the fastest of nine turns by the processor's clock. Counted are
min(n, f)^2 max(n, f) + min(n, f)^3 / 3 operations of a row, as in als.py --kernels; MB are the factors
that plays read. What a half-sweep takes beside is the objective, the basis, and that rows of all lengths read
more than the caches hold.
"""

import argparse
import itertools
import time

import numpy as np
from als import WORK, power_law, start
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from dcbmr import _core
from dcbmr.factorization.half_sweep import PlayRows, Problem, fixed_factors, half_sweep
from dcbmr.plays.confidence import surplus

EDGES = (1, 16, 24, 32, 41, 51, 65, 97, 129, 257, 513, 2049, 1 << 30)


def fastest(run, turns=9):
    seconds = []
    for _ in range(turns):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def sgemm():
    a = np.random.default_rng(0).random((1500, 1500), dtype=np.float32)
    with threadpool_limits(1, user_api="blas"):
        return 2 * 1500**3 / fastest(lambda: a @ a)


def of_lengths(plays, low, high):
    """Return the rows of ``plays`` with ``low`` to ``high - 1`` plays."""
    n = np.diff(plays.indptr)
    return plays[np.flatnonzero((n >= low) & (n < high))]


def operations(plays, n_factors):
    n = np.diff(plays.indptr).astype(float)
    small, large = np.minimum(n, n_factors), np.maximum(n, n_factors)
    return float((small**2 * large + small**3 / 3).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", default="W1", choices=WORK)
    parser.add_argument("--factors", default=50, type=int)
    args = parser.parse_args()
    rate, f, problem = sgemm(), args.factors, Problem(10.0, 1.0, 0.0, 0, 1)
    users = surplus(power_law(*WORK[args.work]))
    plays = {"users": users, "songs": csr_array(users.T.tocsr())}
    rows = {side: PlayRows(some) for side, some in plays.items()}
    factors = {"users": np.zeros((users.shape[0], f), np.float32), "songs": start(users, f)}

    def half(side, *, objective):
        others = factors["songs" if side == "users" else "users"]
        half_sweep(rows[side], fixed_factors(others, problem), problem, factors[side], objective=objective)

    for _ in range(3):
        half("users", objective=False)
        half("songs", objective=True)
    print(f"{args.work}, f = {f}, {_core.isa()}, sgemm {rate / 1e9:.0f} GFLOP/s")
    print(f"{'plays':14}{'rows':>8}{'pairs':>10}{'GFLOP':>8}{'MB':>8}{'ms':>8}{'at sgemm':>10}{'share':>8}")
    total = np.zeros(4)
    for side, others in (("users", "songs"), ("songs", "users")):
        fixed = fixed_factors(factors[others], problem)
        for low, high in itertools.pairwise(EDGES):
            some = of_lengths(plays[side], low, high)
            if some.shape[0] == 0:
                continue
            out = np.zeros((some.shape[0], f), np.float32)
            mine = PlayRows(some)
            seconds = fastest(
                lambda mine=mine, out=out, fixed=fixed: half_sweep(mine, fixed, problem, out, objective=False)
            )
            read = 4 * -(-f // 16) * 16 * some.nnz
            total += (operations(some, f), read, seconds, operations(some, f) / rate)
            row(
                f"{side} {low}-{min(high - 1, some.shape[1])}", some, operations(some, f), read, seconds, rate
            )
    flops, read, seconds, bound = total
    print(f"all: {flops / 1e9:.2f} GFLOP, {read / 1e6:.0f} MB, {seconds * 1e3:.1f} ms ({bound * 1e3:.1f})")
    bases = [fastest(lambda of=of: fixed_factors(of, problem)) for of in factors.values()]
    print(f"both bases: {sum(bases) * 1e3:.1f} ms")
    for side, objective in (("users", False), ("songs", False), ("songs", True)):
        seconds = fastest(lambda side=side, objective=objective: half(side, objective=objective))
        print(f"half-sweep of {side}{', with the objective' * objective}: {seconds * 1e3:.1f} ms")


def row(name, plays, flops, read, seconds, rate):
    print(
        f"{name:14}{plays.shape[0]:8,}{plays.nnz:10,}{flops / 1e9:8.3f}{read / 1e6:8.1f}{seconds * 1e3:8.2f}"
        f"{flops / rate * 1e3:10.2f}{flops / rate / seconds:8.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
