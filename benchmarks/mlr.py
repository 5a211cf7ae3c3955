"""Metric learning to rank: time, certificate and quality, beside Euclid and scikit-learn's NCA.

    python benchmarks/mlr.py [--quick] [--json FILE]

Songs of artists: an artist's style shows through a non-linear map in every dimension, under louder noise
whose spectrum falls as that of a PCA does. Relevant are the songs of the same artist; quality is measured on
other songs of the same artists. Before any timing, a fitted objective is compared with its definition and
with projected subgradient descent, which the ICML paper uses, on the same problem.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np
from dcbmr_mlr import MLR


def songs(n_songs, n_dims, n_artists, seed=0):
    rng = np.random.default_rng(seed)
    artists = np.arange(n_songs) % n_artists
    style = rng.standard_normal((n_artists, 12))[artists] + 0.4 * rng.standard_normal((n_songs, 12))
    sound = np.tanh(style @ rng.standard_normal((12, 100)) / 3) @ rng.standard_normal((100, n_dims)) * 0.12
    noise = rng.standard_normal((n_songs, n_dims)) * (8 * np.arange(1, n_dims + 1) ** -0.6)
    X = sound + noise @ np.linalg.qr(rng.standard_normal((n_dims, n_dims)))[0]
    X -= X.mean(axis=0)
    return X @ np.linalg.svd(X, full_matrices=False)[2].T, artists


def objective_and_gradient(W, X, labels, C):
    """trace(W) + C * the mean over queries of the AUC hinge, pair by pair, and a subgradient."""
    difference = X[:, None] - X[None]
    distances = np.einsum("qid,de,qie->qi", difference, W, difference, optimize=True)
    value, weights = np.trace(W), np.zeros_like(distances)
    for q in range(len(X)):
        relevant = np.flatnonzero((labels == labels[q]) & (np.arange(len(X)) != q))
        others = np.flatnonzero(labels != labels[q])
        hinge = 1 - 2 * (distances[q, others][None] - distances[q, relevant][:, None])
        share = C / (len(X) * hinge.size)
        value += share * np.maximum(hinge, 0).sum()
        active = hinge > 0
        weights[q, relevant] = 2 * share * active.sum(axis=1)
        weights[q, others] = -2 * share * active.sum(axis=0)
    gradient = np.eye(X.shape[1]) + np.einsum(
        "qi,qid,qie->de", weights, difference, difference, optimize=True
    )
    return value, gradient


def check_agreement():
    """The solver's objective is the definition's, and subgradient descent finds no lower one."""
    X, labels = songs(120, 10, 12)
    X /= np.sqrt(np.square(X - X.mean(axis=0)).sum(axis=1).mean())
    mlr = MLR(C=100.0, tolerance=0.001).fit(X, labels)
    value, gradient = objective_and_gradient(mlr.metric_, X, labels, 100.0)
    assert abs(value - mlr.history_[-1]["objective"]) < 1e-6 * value
    W, best = np.zeros((10, 10)), np.inf
    for iteration in range(1, 301):
        reached, gradient = objective_and_gradient(W, X, labels, 100.0)
        best = min(best, reached)
        values, vectors = np.linalg.eigh(W - 0.3 / iteration**0.5 * gradient / np.linalg.norm(gradient))
        W = (vectors * np.maximum(values, 0)) @ vectors.T
    bound = mlr.history_[-1]["bound"]
    assert bound <= best, (bound, best)
    assert value <= best + 100 * mlr.tolerance, (value, best)
    print(
        f"agreement: objective {value:.3f} certified above {bound:.3f}; 300 subgradient steps: {best:.3f}\n"
    )


def quality(components, X, labels):
    """Held-out AUC and MAP of a linear map."""
    found = []
    for loss in ("auc", "map"):
        ranked = MLR(loss=loss)
        ranked.mean_, ranked.components_ = np.zeros(X.shape[1]), components
        found.append(ranked.score(X, labels))
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one repetition, without the largest")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    check_agreement()

    rows = []

    def measure(name, X, labels, n_train, fit, repeats, figures=lambda fitted: {}):
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            fitted = fit(X[:n_train], labels[:n_train])
            times.append(time.perf_counter() - started)
        auc, mean_ap = quality(fitted.components_, X[n_train:], labels[n_train:])
        row = {"model": name, "songs": n_train, "dims": X.shape[1], "seconds": statistics.median(times)}
        row |= {"spread": max(times) - min(times), **figures(fitted), "auc": auc, "map": mean_ap}
        rows.append(row)
        keys = ("planes", "rank", "objective", "bound")
        print(
            f"{name:<30} {n_train:>5} x {X.shape[1]:<4} {row['seconds']:>8.2f} s ±{row['spread'] / 2:<6.2f}"
            + "".join(f"{row[k]:>10.5g}" if k in row else " " * 10 for k in keys)
            + f"{auc:>9.4f}{mean_ap:>9.4f}",
            flush=True,
        )

    def figures(mlr):
        last = mlr.history_[-1]
        return {
            "planes": len(mlr.history_),
            "rank": len(mlr.components_),
            "converged": mlr.converged_,
            "objective": last["objective"],
            "bound": last["bound"],
        }

    class Euclid:
        def fit(self, X, labels):
            self.components_ = np.eye(X.shape[1])
            return self

    print(
        f"{'model':<30} {'songs':>5} x {'dims':<4} {'median':>8}   {'':7}{'planes':>10}{'rank':>10}"
        f"{'objective':>10}{'bound':>10}{'AUC':>9}{'MAP':>9}"
    )
    repeats = 1 if options.quick else 3
    X, artists = songs(1500, 300, 100)
    measure("Euclid", X, artists, 1000, Euclid().fit, 1)
    for name, params in {
        "MLR, AUC": {},
        "MLR, AUC, C = 3000": {"C": 3000.0},
        "MLR, MAP, C = 3000": {"loss": "map", "C": 3000.0},
        "MLR, AUC, diagonal": {"diagonal": True},
    }.items():
        measure(name, X, artists, 1000, MLR(**params).fit, repeats, figures)
    try:
        from sklearn.neighbors import NeighborhoodComponentsAnalysis
    except ImportError:
        print("scikit-learn is not installed: no NCA")
    else:
        nca = NeighborhoodComponentsAnalysis(n_components=40, init="pca", max_iter=50, random_state=0)
        measure("NCA (scikit-learn), 40 dims", X, artists, 1000, nca.fit, 1)
    if not options.quick:
        X, artists = songs(8500, 300, 400)
        measure("MLR, AUC, 1000 queries", X, artists, 7500, MLR(n_queries=1000).fit, 1, figures)
        measure("MLR, MAP, 1000 queries", X, artists, 7500, MLR(loss="map", n_queries=1000).fit, 1, figures)

    if options.json:
        settings = {"python": platform.python_version(), "numpy": np.__version__, "cpu": platform.processor()}
        with open(options.json, "w") as file:
            json.dump({"rows": rows, "settings": settings}, file, indent=2)


if __name__ == "__main__":
    main()
