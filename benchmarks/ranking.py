"""Evaluation and top-k beside NumPy, implicit and faiss, on factors of the paper's size.

    python benchmarks/ranking.py [--quick] [--repeats N] [--threads N] [--json FILE]

Agreement comes first: mean average precision at 500 with implicit's evaluation and with a sort of all scores,
the best songs with NumPy's and faiss's. The paper's table has a million users: the slice timed here is theirs
in everything but the number of users, which the time is proportional to.
"""

import argparse
import json
import statistics
import time
from functools import partial

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

import dcbmr
from dcbmr.base.threads import resolve_n_threads

# (what, users in the slice, songs, factors)
SIZES = [
    ("paper, all", 8_000, 46_728, 400),
    ("paper, all; 50 factors", 8_000, 46_728, 50),
    ("paper, subset", 20_000, 1_881, 50),
]
QUICK = [("quick", 500, 3_000, 50)]


def draw(n_users, n_songs, n_factors):
    """Random factors, and held-out plays with a long tail: six of a user in the mean, as in the paper."""
    rng = np.random.default_rng(0)
    users = rng.standard_normal((n_users, n_factors), np.float32)
    songs = rng.standard_normal((n_songs, n_factors), np.float32)
    n = np.minimum(1 + rng.geometric(1 / 5, n_users), n_songs)
    indptr = np.concatenate([[0], np.cumsum(n)])
    indices = np.concatenate([rng.choice(n_songs, m, replace=False) for m in n])
    return (
        users,
        songs,
        csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(n_users, n_songs)),
    )


def by_sorting(users, songs, heldout, k, n_threads):
    """What one would write: BLAS, a sort of each row, and the two figures; 256 users at a time."""
    ap, auc = [], []
    with threadpool_limits(n_threads, user_api="blas"):
        for start in range(0, len(users), 256):
            block = users[start : start + 256]
            order = np.argsort(-(block @ songs.T), axis=1)
            rank = np.empty_like(order)
            np.put_along_axis(rank, order, np.arange(1, len(songs) + 1)[None], axis=1)
            for row, u in zip(rank, range(start, start + len(block)), strict=True):
                mine = np.sort(row[heldout.indices[heldout.indptr[u] : heldout.indptr[u + 1]]])
                n, places = len(mine), np.arange(1, len(mine) + 1)
                ap.append((places / mine)[mine <= k].sum() / min(k, n))
                auc.append(1 - (mine - places).sum() / (n * (len(songs) - n)))
    return np.mean(ap), np.mean(auc)


def metrics_of_implicit(users, songs, heldout, k, n_threads, blas_threads=1):
    """All that implicit's evaluation finds, by its names; its AUC knows the first k only.

    It asks for one BLAS thread: two pools of threads get into each other's way, and take twice as long.
    """
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
    from implicit.evaluation import ranking_metrics_at_k

    class Factors(MatrixFactorizationBase):
        def fit(self, *_, **__):
            raise NotImplementedError

        def save(self, *_):
            raise NotImplementedError

    model = Factors()
    model.user_factors, model.item_factors = users, songs
    nothing, test = csr_matrix(heldout.shape, dtype=np.float32), csr_matrix(heldout)
    for matrix in (nothing, test):
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    with threadpool_limits(blas_threads, user_api="blas"):
        return ranking_metrics_at_k(model, nothing, test, K=k, show_progress=False, num_threads=n_threads)


def by_implicit(*arguments):
    return metrics_of_implicit(*arguments)["map"], None


def sgemm(users, songs, n_threads):
    """The scores alone, into memory that is used again."""
    out = np.empty((256, len(songs)), np.float32)
    with threadpool_limits(n_threads, user_api="blas"):
        for start in range(0, len(users), 256):
            block = users[start : start + 256]
            np.matmul(block, songs.T, out=out[: len(block)])


def top_by_numpy(users, songs, k, n_threads):
    found = np.empty((len(users), k), np.int64)
    with threadpool_limits(n_threads, user_api="blas"):
        for start in range(0, len(users), 256):
            scores = users[start : start + 256] @ songs.T
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            found[start : start + 256] = np.take_along_axis(best, order, axis=1)
    return found


def top_by_implicit(users, songs, k, n_threads):
    from implicit.cpu.topk import topk

    return topk(songs, users, k, num_threads=n_threads)[0]


def top_by_faiss(users, songs, k, n_threads):
    import faiss

    faiss.omp_set_num_threads(n_threads)
    index = faiss.IndexFlatIP(songs.shape[1])
    index.add(songs)
    return index.search(users, k)[1]


def timed(repeats, call, *arguments):
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = call(*arguments)
        seconds.append(time.perf_counter() - began)
    return result, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="One small size, to see that it runs.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json")
    options = parser.parse_args()
    n_threads = resolve_n_threads(options.threads)
    rows = []

    def show(size, name, flops, seconds):
        median = statistics.median(seconds)
        row = {"size": size, "what": name, "seconds": median, "spread": max(seconds) - min(seconds)}
        row["gflops"] = flops / median / 1e9
        rows.append(row)
        print(
            f"{size:<24} {name:<24} {median:9.4f} s ± {row['spread'] / 2:.4f}  {row['gflops']:7.0f} GFLOP/s"
        )

    for size, n_users, n_songs, n_factors in QUICK if options.quick else SIZES:
        users, songs, heldout = draw(n_users, n_songs, n_factors)
        flops = 2 * n_users * n_songs * n_factors
        evaluate = partial(dcbmr.evaluate_ranking, k=500, n_threads=n_threads)
        show(size, "evaluate: dcbmr", flops, timed(options.repeats, evaluate, users, songs, heldout)[1])
        show(size, "scores alone: BLAS", flops, timed(options.repeats, sgemm, users, songs, n_threads)[1])
        # The slow ones on a part of the users, once.
        part = slice(0, min(n_users, 1024))
        less = flops * part.stop / n_users
        mine = evaluate(users[part], songs, heldout[part])
        for name, other in (("NumPy, sorting", by_sorting), ("implicit, mAP only", by_implicit)):
            try:
                (map_at_k, auc), seconds = timed(1, other, users[part], songs, heldout[part], 500, n_threads)
            except ImportError:
                continue
            assert abs(map_at_k - mine.map_at_k) < 1e-4 * mine.map_at_k, (name, map_at_k, mine.map_at_k)
            assert auc is None or abs(auc - mine.auc) < 1e-6, (name, auc, mine.auc)
            show(size, f"evaluate: {name}", less, seconds)
        find = partial(dcbmr.top_songs, k=10, n_threads=n_threads)
        top, seconds = timed(options.repeats, find, users, songs)
        show(size, "top 10: dcbmr", flops, seconds)
        for name, other in (("NumPy", top_by_numpy), ("implicit", top_by_implicit), ("faiss", top_by_faiss)):
            try:
                found, seconds = timed(options.repeats, other, users[part], songs, 10, n_threads)
            except ImportError:
                continue
            # Scores that differ in their last bits may swap neighbours.
            assert (found == top.songs[part]).mean() > 0.999, name
            show(size, f"top 10: {name}", less, seconds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
