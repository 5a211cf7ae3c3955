"""What the kernels shall compute, written to be read: plain NumPy, loops where loops say it best.

The tests hold the kernels to them, and so does ``dcbmr doctor --selftest`` where dcbmr is installed.
"""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def average_precision_and_auc(scores: Array, heldout: Array, k: int) -> tuple[float, float]:
    """AP@k and AUC of one user: scores (n_songs,), heldout (n_songs,) bool."""
    # Best first; of equal scores, the songs that are not held out first.
    order = np.lexsort((heldout, -scores))
    ranks = np.flatnonzero(heldout[order]) + 1
    ap = sum(j / rank for j, rank in enumerate(ranks, 1) if rank <= k) / min(k, len(ranks))
    others = scores[~heldout]
    wins = [np.mean((s > others) + 0.5 * (s == others)) for s in scores[heldout]] if len(others) else [np.nan]
    return ap, np.mean(wins)


def rank_metrics(scores: Array, heldout: Array, k: int) -> dict[str, float]:
    """All metrics of ranks of one user: scores (n_songs,), heldout (n_songs,) bool."""
    order = np.lexsort((heldout, -scores))
    hits = heldout[order]
    first = hits[:k]
    gain = sum(1 / np.log2(1 + rank) for rank, hit in enumerate(first, 1) if hit)
    best = sum(1 / np.log2(1 + rank) for rank in range(1, min(k, hits.sum()) + 1))
    ap, auc = average_precision_and_auc(scores, heldout, k)
    return {
        "map_at_k": ap,
        "auc": auc,
        "recall_at_k": first.sum() / hits.sum(),
        "hit_rate_at_k": float(first.any()),
        "ndcg_at_k": gain / best,
        "mrr": 1 / (1 + hits.tolist().index(True)),
    }


def squared_distances(frames: Array, words: Array, scale: Any = 1.0) -> Array:
    """(n_frames, n_words), term by term in float64: no cancellation."""
    gaps = frames[:, None, :].astype(float) - words[None, :, :].astype(float)
    squared: Array = np.square(scale * gaps).sum(axis=2)
    return squared


def lloyd_step(frames: Array, words: Array, scale: Any = 1.0) -> tuple[Array, float, Array]:
    """Labels, inertia and the moved words; a word without frames stays."""
    distances = squared_distances(frames, words, scale)
    labels = distances.argmin(axis=1)
    moved = np.array(
        [
            frames[labels == w].mean(axis=0, dtype=float) if (labels == w).any() else words[w]
            for w in range(len(words))
        ]
    )
    return labels, distances.min(axis=1).sum(), moved


def worst_violation(scores: Array, relevance: Array, loss: str) -> float:
    """The most that any ranking of one query's items violates its constraint: loss + <W, psi(y) - psi(y*)>.

    scores (n_items,) are -distance; relevance 1 relevant, 0 irrelevant, -1 not ranked. psi is the partial
    order feature of McFee and Lanckriet (2010): over all pairs of a relevant i and an irrelevant j, the sum
    of y_ij (phi_i - phi_j) / (P N), where y_ij is 1 if i stands before j and else -1, and <W, phi> the score.
    """
    relevant, irrelevant = np.flatnonzero(relevance == 1), np.flatnonzero(relevance == 0)
    worst = -np.inf
    for ranking in permutations([*relevant, *irrelevant]):
        place = {item: rank for rank, item in enumerate(ranking, 1)}
        before = np.array([[place[i] < place[j] for j in irrelevant] for i in relevant])
        margins = scores[relevant][:, None] - scores[irrelevant][None, :]
        if loss == "auc":
            lost = 1 - before.mean()
        else:
            precisions = [sum(place[r] <= place[i] for r in relevant) / place[i] for i in relevant]
            lost = 1 - np.mean(precisions)
        worst = max(worst, lost + (np.where(before, 1, -1) * margins).mean() - margins.mean())
    return worst


def als_solve(surplus: Array, songs: Array, regularization: Any, weight: float = 1.0) -> Array:
    """The users' factors that minimise the objective, the songs' fixed: one linear system a user."""
    surplus, songs = np.asarray(surplus, float), np.asarray(songs, float)
    lambdas = np.broadcast_to(regularization, len(surplus))
    users = np.zeros((len(surplus), songs.shape[1]))
    for u, (s, penalty) in enumerate(zip(surplus, lambdas, strict=True)):
        played = s > 0
        confidence = np.where(played, 1 + s, weight)
        system = songs.T @ (confidence[:, None] * songs) + penalty * np.eye(songs.shape[1])
        users[u] = np.linalg.solve(system, songs.T @ (confidence * played))
    return users


def mel_filters(sr: float = 22050, n_fft: int = 1024, n_mels: int = 128) -> Array:
    """(n_mels, n_fft // 2 + 1): Slaney's scale, triangles of area 1 over Hz, 0 to sr / 2."""

    def mel_to_hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(sr / 2 / 1000) / np.log(6.4)
    edges = [mel_to_hz(mel) for mel in np.linspace(0, top, n_mels + 2)]
    bins = np.arange(n_fft // 2 + 1) * sr / n_fft
    rows = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.interp(bins, [left, centre, right], [0, 1, 0])
        rows.append(triangle * 2 / (right - left))
    return np.array(rows)


def mel_power(samples: Array, n_fft: int = 1024, hop_length: int = 512) -> Array:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(samples) - n_fft + 1, hop_length)
    frames = np.array([samples[start : start + n_fft] * window for start in starts])
    power: Array = np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters(n_fft=n_fft).T
    return power


def log_mel(samples: Array) -> Array:
    logarithms: Array = np.log(1 + 1e4 * mel_power(samples))
    return logarithms


def mfcc(samples: Array, n_mfcc: int = 13) -> Array:
    """Cepstra; slope and curvature of the parabola that fits each and its 4 neighbours on either side."""
    decibels = 10 * np.log10(np.maximum(1e-10, mel_power(samples)))
    n_mels = decibels.shape[1]
    dct = np.cos(np.pi * np.outer(np.arange(n_mfcc), np.arange(n_mels) + 0.5) / n_mels)
    dct *= np.sqrt(2 / n_mels)
    dct[0] /= np.sqrt(2)
    cepstra = decibels @ dct.T
    padded = np.pad(cepstra, ((4, 4), (0, 0)), mode="edge")
    fits = np.array([np.polyfit(np.arange(-4, 5), padded[t : t + 9], 2) for t in range(len(cepstra))])
    return np.hstack([cepstra, fits[:, 1], 2 * fits[:, 0]])


def statistics(mel: Array, cepstra: Array, n_mfcc: int, frame_rate: float) -> Array:
    """The vector of dcbmr.SongStatistics, name by name as its page describes it; in float64."""

    def folded(rows: Array, n: int) -> Array:
        edges = np.arange(n + 1) * rows.shape[1] // n
        return np.stack([rows[:, a:b].mean(1) for a, b in pairwise(edges)], axis=1)

    def skewness(x: Array) -> Array:
        skewed: Array = ((x - x.mean(0)) ** 3).mean(0) / (x.var(0) + 1e-4) ** 1.5
        return skewed

    def percentiles(x: Array, low: float, width: float, n_bins: int, share: float) -> Array:
        places = np.clip(np.floor((x - low) / width), 0, n_bins - 1).astype(int)
        found = []
        for column in places.T:
            counts = np.bincount(column, minlength=n_bins)
            reached = np.cumsum(counts)
            bin_ = np.searchsorted(reached, share * len(x))
            found.append(
                low + width * (bin_ + (share * len(x) - reached[bin_] + counts[bin_]) / counts[bin_])
            )
        return np.array(found)

    mel, cepstra = np.asarray(mel, float), np.asarray(cepstra, float)
    n, n_mels = mel.shape
    x = folded(mel, min(32, n_mels))
    steps = np.diff(x, axis=0)
    shares = (0.1, 0.5, 0.9)
    parts = [x.mean(0), x.std(0), skewness(x), *(percentiles(x, 0, 1 / 32, 1024, share) for share in shares)]
    parts.append(np.abs(steps).mean(0) if n > 1 else np.zeros(x.shape[1]))

    orders = cepstra.reshape(n, -1, n_mfcc)[:, :, :13]
    c = orders[:, 0]
    reach = 128 * np.sqrt(n_mels)
    parts += [c.mean(0), orders.std(0).ravel(), skewness(c)]
    parts += [percentiles(c, -reach, reach / 2048, 4096, share) for share in shares]
    covariance = np.cov(c.T, bias=True).reshape(c.shape[1], -1)
    variance = np.diag(covariance) + 1e-4
    parts.append((covariance / np.sqrt(np.outer(variance, variance)))[np.tril_indices(c.shape[1], -1)])

    slow = folded(x, min(16, n_mels))
    size = 2 ** int(np.clip(np.round(np.log2(6 * frame_rate)), 7, 13))
    starts = range(0, n - size + 1, size // 2) if n >= size else [0]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    powers = []
    for start in starts:
        window = slow[start : start + size]
        window = np.pad(window - window.mean(0), ((0, size - len(window)), (0, 0)))
        powers.append(np.abs(np.fft.rfft(window * hann[:, None], axis=0)) ** 2 / (hann**2).sum())
    power, hz = np.mean(powers, axis=0), np.arange(size // 2 + 1) * frame_rate / size
    edges = [0, 0.5, 1, 2, 4, 8, 16, np.inf]
    bands = [(hz > 0) & (hz >= a) & (hz < b) for a, b in pairwise(edges)]
    means = [power[band].mean(0) if band.any() else np.zeros(slow.shape[1]) for band in bands]
    parts.append(np.log(1e-3 + np.array(means)).T.ravel())

    onset = np.concatenate([[0], np.maximum(steps, 0).mean(1)])
    strong = np.floor(32 * (onset.mean() + onset.std()))
    is_peak = (onset[:-2] < onset[1:-1]) & (onset[1:-1] >= onset[2:])
    n_peaks = (is_peak & (np.floor(32 * onset[1:-1]) >= strong)).sum()
    parts.append([onset.mean(), onset.std(), skewness(onset), n_peaks / n * frame_rate])
    away = onset - onset.mean()
    lags = np.arange(1, 1 + int(2 * frame_rate))
    beat = np.array([away[lag:] @ away[: n - lag] if lag < n else 0 for lag in lags])
    beat = beat / (n * (onset.var() + 1e-4))
    bpm = 60 * frame_rate / lags
    place = np.floor(16 * np.log10(bpm / 30))
    parts.append([max([0, *beat[place == band]]) for band in range(16)])
    weighted = np.where((bpm >= 40) & (bpm <= 240), beat * np.exp(-0.5 * np.log2(bpm / 120) ** 2), 0)
    best = np.argmax(weighted)
    parts.append([np.log2(bpm[best]), beat[best]] if weighted[best] > 0 else [np.log2(120), 0])
    return np.concatenate(parts)
