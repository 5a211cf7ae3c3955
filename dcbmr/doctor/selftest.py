"""Every kernel against its NumPy twin, on small random input, in the instruction set that is in force."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from dcbmr import _core
from dcbmr.audio.frames import MFCC, LogMel
from dcbmr.contract.faults import told
from dcbmr.contract.features import FeatureConfig
from dcbmr.doctor import twins
from dcbmr.factorization.half_sweep import PlayRows, Problem, fixed_factors, half_sweep
from dcbmr.features.kmeans import assign_frames, moved_words
from dcbmr.features.stats import SongStatistics
from dcbmr.ranking.report import evaluate_ranking
from dcbmr.ranking.topk import top_songs

Array = twins.Array
N_THREADS = 2
_SR = 22050


@dataclass(frozen=True)
class Outcome:
    """How far a kernel is from its twin.

    Attributes
    ----------
    kernel : str
    error : float or None
        The largest difference, as a share of the largest number of the twin; None where the kernel failed.
    allowed : float
    seconds : float
    why : str
        What went wrong; empty where nothing did.
    """

    kernel: str
    error: float | None
    allowed: float
    seconds: float
    why: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the kernel computes what it shall."""
        return self.error is not None and self.error <= self.allowed


def selftest() -> list[Outcome]:
    """Run every kernel beside its twin; takes seconds."""
    return [_outcome(name, allowed, pairs) for name, (allowed, pairs) in KERNELS.items()]


Pairs = Callable[[], Iterator[tuple[Array, Array]]]  # what came, and what was wanted


def _outcome(kernel: str, allowed: float, pairs: Pairs) -> Outcome:
    began = time.perf_counter()
    try:
        error = max(_difference(found, wanted) for found, wanted in pairs())
    except Exception as failure:  # a broken installation may raise anything
        return Outcome(kernel, None, allowed, time.perf_counter() - began, told(failure))
    return Outcome(kernel, error, allowed, time.perf_counter() - began)


def _difference(found: Array, wanted: Array) -> float:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise ValueError(f"it gave shape {found.shape}; wanted {wanted.shape}, of finite numbers")
    scale = float(np.abs(wanted).max(initial=0)) or 1.0
    return float(np.abs(found - wanted).max(initial=0)) / scale


def _als() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    surplus = (rng.gamma(1, 10, (60, 90)) * (rng.random((60, 90)) < 0.2)).astype(np.float32)
    for n_factors in (7, 50):
        songs = (0.1 * rng.standard_normal((90, n_factors))).astype(np.float32)
        yield _core.gramian(songs, N_THREADS), songs.T.astype(np.float64) @ songs
        for steps in (0, 60):  # Cholesky, and conjugate gradients until they have arrived
            users = np.zeros((60, n_factors), np.float32)
            problem = Problem(0.5, 1.0, 0.0, steps, N_THREADS)
            fixed = fixed_factors(songs, problem)
            half_sweep(PlayRows(csr_array(surplus)), fixed, problem, users, objective=False)
            yield users, twins.als_solve(surplus, songs, 0.5)


def _sound() -> Array:
    rng = np.random.default_rng(1)
    t = np.arange(2 * _SR) / _SR
    tones = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t * t)
    return (tones + 0.05 * rng.standard_normal(len(t))).astype(np.float32)


def _log_mel() -> Iterator[tuple[Array, Array]]:
    yield LogMel()(_sound()), twins.log_mel(_sound())


def _mfcc() -> Iterator[tuple[Array, Array]]:
    yield MFCC()(_sound()), twins.mfcc(_sound())


def _k_means() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(2)
    frames = rng.standard_normal((2000, 39)).astype(np.float32)
    words = frames[:50] + np.float32(0.1)
    labels, distances = np.empty(2000, np.int32), np.empty(2000, np.float32)
    inertia = assign_frames(words, None, frames, labels, distances, N_THREADS)
    moved = moved_words(words, frames, labels, distances, rng, N_THREADS)
    wanted_labels, wanted_inertia, wanted = twins.lloyd_step(frames, words)
    yield labels, wanted_labels
    yield np.array(inertia), np.array(wanted_inertia)
    yield moved, wanted


def _ranks() -> Iterator[tuple[Array, Array]]:
    users, songs = _users_and_songs()
    heldout = np.random.default_rng(4).random((40, 300)) < 0.05
    heldout[:, 0] = True
    report = evaluate_ranking(users, songs, heldout, k=20, n_threads=N_THREADS)
    scores = users @ songs.T
    rows = [twins.rank_metrics(row, own, 20) for row, own in zip(scores, heldout, strict=True)]
    for metric, mean in report.means().items():
        yield np.array(mean), np.array(np.mean([row[metric] for row in rows]))


def _best_songs() -> Iterator[tuple[Array, Array]]:
    users, songs = _users_and_songs()
    best = top_songs(users, songs, k=10, n_threads=N_THREADS)
    order = np.argsort(-(users @ songs.T), axis=1, kind="stable")[:, :10]
    yield best.songs, order
    yield best.scores, np.take_along_axis(users @ songs.T, order, 1)


def _users_and_songs() -> tuple[Array, Array]:
    """Return factors of whole numbers, whose scores are exact in any order, and often equal."""
    rng = np.random.default_rng(3)
    return tuple(rng.integers(-3, 4, (n, 17)).astype(np.float32) for n in (40, 300))  # type: ignore[return-value]


def _statistics() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(5)
    level = 1 + np.cos(2 * np.pi * np.arange(600) / 20)[:, None]
    rows = {
        "mel": (level * rng.gamma(2, 1, (600, 128))).astype(np.float32),
        "mfcc": rng.normal(-20, 40, (600, 39)).astype(np.float32),
    }
    settings = {"sr": _SR, "hop_length": 512, "n_mfcc": 13, "deltas": 2}
    sources = {
        kind: FeatureConfig(kind=kind, shape="frames", dtype="<f4", n_dims=part.shape[1], settings=settings)
        for kind, part in rows.items()
    }
    stream = SongStatistics(sources=sources).stream()
    stream.accept(rows)
    yield stream.finish()[0], twins.statistics(rows["mel"], rows["mfcc"], 13, _SR / 512)


def _windows() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(6)
    frames = rng.standard_normal((500, 128)).astype(np.float32)
    half = _core.to_half(frames)
    yield half.view(np.float16), frames.astype(np.float16)
    first, n_frames, starts = np.array([0, 120, 400]), np.array([120, 280, 100]), np.array([0, 33, 90])
    windows = np.empty((3, 129, 128), np.float32)
    _core.read_windows([half], np.zeros(3, np.int64), first, n_frames, starts, windows)
    for window, begin, length, start in zip(windows, first, n_frames, starts, strict=True):
        yield window, frames.astype(np.float16)[begin + (start + np.arange(129)) % length]


def _oracles() -> Iterator[tuple[Array, Array]]:
    from dcbmr_mlr._oracle import most_violated

    rng = np.random.default_rng(7)
    for _ in range(20):
        scores = np.round(0.3 * rng.standard_normal((1, 6)), 1)
        relevance = np.array([[1, 0, *rng.integers(-1, 2, 4)]], np.int8)
        for loss in ("auc", "map"):
            losses, weights = most_violated(scores, relevance, loss, N_THREADS)
            worst = twins.worst_violation(scores[0], relevance[0], loss)
            yield losses[0] - weights[0] @ scores[0], np.array(worst)


# The largest error that rounding explains, and the check.
KERNELS: dict[str, tuple[float, Pairs]] = {
    "ALS": (1e-5, _als),
    "FFT and log-mel": (1e-4, _log_mel),
    "FFT and MFCC": (1e-4, _mfcc),
    "k-means": (1e-5, _k_means),
    "ranks and metrics": (1e-12, _ranks),
    "best songs": (0.0, _best_songs),
    "statistics": (1e-5, _statistics),
    "half precision and windows": (0.0, _windows),
    "MLR oracles": (1e-12, _oracles),
}
