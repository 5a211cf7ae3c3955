"""What scores without information reach: ranks drawn at random, and the expectation of each metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from dcbmr.ranking.metrics import RANK_METRICS, ideal_gain
from dcbmr.ranking.ranks import HeldoutRanks
from dcbmr.ranking.report import RankingReport, mean_of_numbers


@dataclass(frozen=True)
class RandomRow:
    """What random scores would reach on the users of a report: drawn once, and in theory.

    Attributes
    ----------
    map_at_k, auc : float
        As drawn.
    expected_map_at_k, expected_auc : float
        In theory.
    means, expected : dict of str to float
        The same for each metric of ``RANK_METRICS``.
    """

    map_at_k: float
    auc: float
    expected_map_at_k: float
    expected_auc: float = 0.5
    means: dict[str, float] = field(default_factory=dict, repr=False)
    expected: dict[str, float] = field(default_factory=dict, repr=False)


def random_row(report: RankingReport, *, random_state: int = 0) -> RandomRow:
    """Return what random scores, independent for each user and song, reach on the users of ``report``.

    The scores themselves are not drawn but the ranks that they give the held-out songs: any set of ranks
    is as likely as any other. Songs in one random order for all users (random factors) would have the same
    expectation and a far larger spread.

    Parameters
    ----------
    report : RankingReport
        Whose users, candidates and cut-off are meant.
    random_state : int
        Seed of the draw.
    """
    drawn = random_ranks(report.ranks, random_state=random_state)
    means = {name: mean_of_numbers(metric.of_users(drawn, report.k)) for name, metric in RANK_METRICS.items()}
    expected = {
        name: mean_of_numbers(of_users(report.n_heldout, report.ranks.n_candidates, report.k))
        for name, of_users in EXPECTED.items()
    }
    return RandomRow(means["map_at_k"], means["auc"], expected["map_at_k"], means=means, expected=expected)


def random_ranks(ranks: HeldoutRanks, *, random_state: int = 0) -> HeldoutRanks:
    """Return the ranks of the same users with their held-out songs at random among the candidates."""
    rng = np.random.default_rng(random_state)
    drawn = _distinct_ranks(ranks.n_heldout, ranks.n_candidates, rng)
    shuffled = ranks.songs[np.lexsort((rng.random(len(drawn)), ranks.users))]
    return HeldoutRanks(
        ranks.indptr, shuffled, drawn - ranks.places, np.zeros_like(drawn), ranks.n_candidates
    )


# Each takes the held-out songs n and the candidates N of users, and a cut-off; see dcbmr.ranking.metrics.


def expected_random_ap(n_heldout: ArrayLike, n_songs: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return the expectation, under random scores, of the average precision at ``k``.

    It follows from the chance ``n / N`` that a held-out song stands at rank ``r`` and from the
    ``(r - 1)(n - 1) / (N - 1)`` others then expected before it:
    ``n / N * sum((1 + (r - 1)(n - 1) / (N - 1)) / r for r <= k) / min(k, n)``.

    Parameters
    ----------
    n_heldout : array_like of int
        Held-out songs of each user, at least 1 and at most ``n_songs``.
    n_songs : int, or array_like of int
        Candidates of each.
    k : int
        Cut-off.
    """
    n, candidates = np.asarray(n_heldout, np.int64), np.asarray(n_songs, np.int64)
    depth = np.minimum(k, candidates)
    harmonic = _harmonic(depth)
    more = (n - 1) / np.maximum(candidates - 1, 1) * (depth - harmonic)
    expected: NDArray[np.float64] = n / candidates * (harmonic + more) / np.minimum(k, n)
    return expected


def _expected_auc(n: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return np.where(candidates > n, 0.5, np.nan)


def _expected_recall(n: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return np.minimum(k, candidates) / candidates


def _expected_hit_rate(n: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """One less the chance that all of the first k are other songs: ``C(N - n, k) / C(N, k)``."""
    depth = np.minimum(k, candidates)
    rest = candidates - n - depth
    log_chance = (
        gammaln(candidates - n + 1)
        - gammaln(np.maximum(rest, 0) + 1)
        - gammaln(candidates + 1)
        + gammaln(candidates - depth + 1)
    )
    return np.where(rest < 0, 1.0, -np.expm1(log_chance))


def _expected_ndcg(n: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return n / candidates * ideal_gain(np.minimum(k, candidates)) / ideal_gain(np.minimum(k, n))


def _expected_reciprocal_rank(
    n: NDArray[np.int64], candidates: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """The best of n ranks is r in ``C(N - r, n - 1)`` of ``C(N, n)`` cases.

    With the generating function of the harmonic numbers, ``sum(C(N - r, m) / r)`` is
    ``C(N, m) (H(N) - H(m))``, so that the expectation is ``n / (N - n + 1) * (H(N) - H(n - 1))``.
    """
    return n / (candidates - n + 1) * (_harmonic(candidates) - _harmonic(n - 1))


def _harmonic(n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``sum(1 / i for i in 1..n)`` for each ``n``."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n.max() + 1))])[n]


EXPECTED: dict[str, Callable[[NDArray[np.int64], NDArray[np.int64], int], NDArray[np.float64]]] = {
    "map_at_k": expected_random_ap,
    "auc": _expected_auc,
    "recall_at_k": _expected_recall,
    "hit_rate_at_k": _expected_hit_rate,
    "ndcg_at_k": _expected_ndcg,
    "mrr": _expected_reciprocal_rank,
}
"""The expectation of each metric of ``RANK_METRICS`` for users with n held-out songs among N candidates."""


def _distinct_ranks(
    n: NDArray[np.int64], n_candidates: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw ``n[u]`` distinct ranks of 1..n_candidates[u] for each user, ascending, one user after the other.

    What is drawn twice is drawn again, for all users at once. Where a user has more than half of the ranks,
    those that are left over are drawn instead: to find the last few of all by chance would take forever.
    """
    first = np.cumsum(n_candidates) - n_candidates
    by_rest = 2 * n > n_candidates
    wanted = np.where(by_rest, n_candidates - n, n)
    drawn, missing = np.empty(0, np.int64), wanted
    while missing.any():
        more = np.repeat(first, missing) + rng.integers(np.repeat(n_candidates, missing))
        drawn = np.sort(np.concatenate([drawn, more]))
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]
        missing = wanted - np.bincount(_owner(first, drawn), minlength=len(n))
    if by_rest.any():
        every = np.concatenate(
            [np.arange(a, a + m) for a, m in zip(first[by_rest], n_candidates[by_rest], strict=True)]
        )
        rest = np.isin(every, drawn, assume_unique=True, invert=True)
        drawn = np.sort(np.concatenate([drawn[~by_rest[_owner(first, drawn)]], every[rest]]))
    return 1 + drawn - first[_owner(first, drawn)]


def _owner(first: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the user whose ranks, from ``first`` on, each number is drawn of."""
    return np.searchsorted(first, drawn, side="right") - 1
