"""Metrics of held-out plays: what they cost beside mAP and AUC alone, and beside implicit's evaluation.

    python benchmarks/evaluate.py [--quick] [--repeats N] [--threads N] [--json FILE]

Agreement comes first: every metric of every user with scikit-learn and ranx on the same float32 scores, ties
included (the peers are given the order that our rule makes of ties: who is not held out comes first), the
metrics of lists with NumPy, and the means at the size that is timed with implicit's. Then the programs take
turns, and the median round of each is printed, with the fastest and the slowest; five rounds of implicit.
"""

import argparse
import json
import time
from functools import partial

import numpy as np
from ranking import draw, metrics_of_implicit
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

import dcbmr
from dcbmr.base.threads import resolve_n_threads

PAPER, QUICK = (20_000, 1_881, 50), (1_000, 600, 20)
K, K_LIST = 500, 10
EVERYTHING = "all, out of one pass"
BLAS_THREADS = {"implicit, one BLAS thread": 1, "implicit, as it comes": None}


def check_against_peers(n_users=200, n_songs=400):
    """Assert that each user's figures are scikit-learn's and ranx's, on whole numbers, so that many tie."""
    rng = np.random.default_rng(0)
    users = rng.integers(-2, 3, (n_users, 5)).astype(np.float32)
    users[:, 0] = 1
    songs = rng.integers(-2, 3, (n_songs, 5)).astype(np.float32)
    heldout = rng.random((n_users, n_songs)) < rng.choice([0.005, 0.05, 0.3], (n_users, 1))
    heldout[np.arange(n_users), rng.integers(n_songs, size=n_users)] = True
    scores = users @ songs.T
    order = np.lexsort((heldout, -scores), axis=1)
    descending = np.empty((n_users, n_songs))
    np.put_along_axis(descending, order, np.arange(n_songs, 0, -1.0)[None], axis=1)
    assert np.mean([len(np.unique(row)) for row in scores]) < n_songs / 8, "too few ties to test them"
    worst = {}
    for k in (1, 10, n_songs):
        report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout), k=k)
        peers = {f"ranx {name}": (name, values) for name, values in of_ranx(heldout, descending, k).items()}
        ndcg = [ndcg_score(h[None], d[None], k=k) for h, d in zip(heldout, descending, strict=True)]
        peers["scikit-learn ndcg"] = ("ndcg_at_k", ndcg)
        auc = [roc_auc_score(h, s) for h, s in zip(heldout, scores, strict=True)]
        peers["scikit-learn auc"] = ("auc", auc)
        if k == n_songs:
            ap = [average_precision_score(h, d) for h, d in zip(heldout, descending, strict=True)]
            peers["scikit-learn ap"] = ("map_at_k", ap)
        for peer, (name, values) in peers.items():
            worst[peer] = max(worst.get(peer, 0), np.abs(report.of_users(name) - values).max())
    for peer, difference in worst.items():
        print(f"{peer:<24} largest difference of a user's figure {difference:.1e}")
        assert difference < 1e-9, peer


def of_ranx(heldout, descending, k):
    """Our names -> the figures of each user by ranx; nothing where it is not installed."""
    try:
        from ranx import Qrels, Run, evaluate
    except ImportError:
        return {}
    names = [f"{u:04}" for u in range(len(heldout))]
    songs = [str(s) for s in range(heldout.shape[1])]
    wanted = {u: {songs[s]: 1 for s in np.flatnonzero(row)} for u, row in zip(names, heldout, strict=True)}
    found = {u: dict(zip(songs, row.tolist(), strict=True)) for u, row in zip(names, descending, strict=True)}
    ours = {f"recall@{k}": "recall_at_k", f"hit_rate@{k}": "hit_rate_at_k", "mrr": "mrr"}
    ours |= {f"ndcg@{k}": "ndcg_at_k"}
    if k == heldout.shape[1]:
        ours["map"] = "map_at_k"  # with a cut-off it divides by all held-out songs, we by k at most
    run = Run(found)
    evaluate(Qrels(wanted), run, list(ours), make_comparable=True)
    return {ours[name]: np.array([of[u] for u in names]) for name, of in run.scores.items()}


def check_lists(users, songs, lists, listeners):
    """Assert that the metrics of lists are those of NumPy's lists, for all users in blocks."""
    exposure, popularity = np.zeros(len(songs)), []
    for start in range(0, len(users), 512):
        scores = users[start : start + 512] @ songs.T
        best = np.argpartition(-scores, K_LIST, axis=1)[:, :K_LIST]
        np.add.at(exposure, best, 1)
        popularity.extend(listeners[best].mean(axis=1))
    total = np.abs(exposure[:, None] - exposure[None]).mean() / (2 * exposure.mean())
    # BLAS rounds scores otherwise: of two neighbours at the end of a list the other one may be in it.
    assert abs(lists.coverage - (exposure > 0).mean()) < 1e-3
    assert abs(lists.gini - total) < 1e-4
    assert abs(lists.mean_popularity / np.mean(popularity) - 1) < 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A small size, to see that it runs.")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json")
    options = parser.parse_args()
    n_threads = resolve_n_threads(options.threads)
    check_against_peers()

    users, songs, heldout = draw(*(QUICK if options.quick else PAPER))
    listeners = np.bincount(heldout.indices, minlength=len(songs))
    label = f"{len(users):,} users x {len(songs):,} songs x {users.shape[1]} factors, {n_threads} threads"

    def rank(**options):
        return dcbmr.evaluate_ranking(users, songs, heldout, k=K, n_threads=n_threads, **options)

    def map_and_auc():
        report = rank()
        return report.map_at_k, report.auc

    def rank_metrics():
        return rank().means()

    def list_metrics():
        top = dcbmr.top_songs(users, songs, k=K_LIST, n_threads=n_threads)
        return dcbmr.evaluate_lists(top, listeners)

    def everything():
        report = rank(n_listed=K_LIST)
        return report.means(), dcbmr.evaluate_lists(report.top, listeners)

    def deciles():
        return [part.means() for part in dcbmr.by_popularity(rank(), listeners).values()]

    means = rank_metrics()
    check_lists(users, songs, list_metrics(), listeners)
    programs = {
        "mAP and AUC": map_and_auc,
        "all six metrics of ranks": rank_metrics,
        "lists alone, by top_songs": list_metrics,
        EVERYTHING: everything,
        "six metrics by decile": deciles,
    }
    try:
        programs |= of_implicit(users, songs, heldout, means, n_threads)
    except ImportError:
        print("implicit is not installed")
    seconds = {name: [] for name in programs}
    for _ in range(options.repeats):
        for name, program in programs.items():
            if len(seconds[name]) < (5 if name in BLAS_THREADS else options.repeats):
                seconds[name].append(seconds_of(program))
    print(label)
    median = {name: np.median(each, axis=0) for name, each in seconds.items()}
    for name, (wall, processor) in median.items():
        low, high = 1000 * np.min(seconds[name], axis=0)[0], 1000 * np.max(seconds[name], axis=0)[0]
        times = wall / median["mAP and AUC"][0]
        print(
            f"{name:<32} {1000 * wall:8.1f} ms ({low:.1f} to {high:.1f}), {1000 * processor:8.1f} ms of "
            f"processors, {times:6.2f} times"
        )
    for name in BLAS_THREADS.keys() & median.keys():
        wall, processor = median[name] / median[EVERYTHING]
        print(f"{EVERYTHING}: {wall:.1f} times as fast as {name}, in processor time {processor:.1f}")
    if options.json:
        rows = {name: np.asarray(each).tolist() for name, each in seconds.items()}
        with open(options.json, "w") as file:
            json.dump({"size": label, "seconds": rows}, file, indent=2)


def seconds_of(program):
    """Seconds by the clock, and of processors."""
    began = np.array([time.perf_counter(), time.process_time()])
    program()
    return np.array([time.perf_counter(), time.process_time()]) - began


def of_implicit(users, songs, heldout, means, n_threads):
    """implicit's evaluation, by its name and threads of BLAS; its mAP and NDCG must be ours."""
    found = metrics_of_implicit(users, songs, heldout, K, n_threads)
    for theirs, ours in (("map", "map_at_k"), ("ndcg", "ndcg_at_k")):
        # Scores of a BLAS are rounded otherwise, and a few neighbours change places.
        assert abs(found[theirs] / means[ours] - 1) < 1e-4, (theirs, found[theirs], means[ours])
    return {
        name: partial(metrics_of_implicit, users, songs, heldout, K, n_threads, blas_threads)
        for name, blas_threads in BLAS_THREADS.items()
    }


if __name__ == "__main__":
    main()
