"""Metrics out of ranks: of each user, and what each held-out song contributes to its user's figure.

In the formulas a user holds out ``n`` songs of ``N`` candidates; ``r_1 < ... < r_n`` are their distinct
ranks, with ties against the model, and ``k`` is the cut-off. See :class:`dcbmr.ranking.ranks.HeldoutRanks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcbmr.errors import InputError
from dcbmr.ranking.ranks import HeldoutRanks


@dataclass(frozen=True)
class RankMetric:
    """A figure of each user out of the ranks of the user's held-out songs.

    Attributes
    ----------
    name : str
        Its name in reports.
    function : callable
        Of ranks and a cut-off. For an additive metric, what each held-out song contributes to the figure of
        its user, (n_plays,); else the figures, (n_users,).
    additive : bool
        Whether a user's figure is the sum over the held-out songs.
    """

    name: str
    function: Callable[[HeldoutRanks, int], NDArray[np.float64]]
    additive: bool

    def of_users(self, ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
        """Return the figure of each user, (n_users,); NaN where it is not defined."""
        values = self.function(ranks, k)
        return ranks.sum_by_user(values) if self.additive else values

    def of_plays(self, ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
        """Return what each held-out song contributes, (n_plays,); a user's add up to the user's figure.

        Raises
        ------
        InputError
            For a metric that is no sum over the held-out songs.
        """
        if not self.additive:
            raise InputError(f"{self.name} is not a sum over a user's held-out songs: it has no parts")
        return self.function(ranks, k)


def average_precision(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """Average precision at k: ``sum(j / r_j for r_j <= k) / min(k, n)``.

    Buckley and Voorhees, "Retrieval System Evaluation" (2005), cut off as in the Million Song Dataset
    Challenge (McFee et al., WWW 2012 Companion): a user with fewer than k songs, or with more, can reach 1.
    """
    hits = np.where(ranks.ranks <= k, ranks.places / ranks.ranks, 0.0)
    return hits / np.minimum(k, ranks.n_heldout)[ranks.users]


def area_under_roc(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """Area under the ROC curve: the share of pairs of a held-out song and another that are in order.

    ``sum(1 - (above_j + level_j / 2) / (N - n)) / n``, a tie counts one half (Mann and Whitney, 1947; Hanley
    and McNeil, Radiology 143, 1982). It has no cut-off, and is NaN for a user who holds out every candidate.
    """
    n = ranks.n_heldout
    with np.errstate(invalid="ignore"):
        lost = (ranks.above + 0.5 * ranks.level) / (ranks.n_candidates - n)[ranks.users]
    won: NDArray[np.float64] = 1.0 - lost
    return won / n[ranks.users]


def recall(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """Recall at k: ``count(r_j <= k) / n``, the share of the held-out songs among the first k.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 8. A user
    with more than k held-out songs cannot reach 1.
    """
    return (ranks.ranks <= k) / ranks.n_heldout[ranks.users]


def discounted_gain(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """NDCG at k: ``sum(1 / log2(1 + r_j) for r_j <= k) / sum(1 / log2(1 + i) for i in 1..min(k, n))``.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (ACM TOIS 20(4), 2002), with
    the discount of Burges et al. (ICML 2005) and a gain of 1 for each held-out song.
    """
    gain = np.where(ranks.ranks <= k, 1.0 / np.log2(1.0 + ranks.ranks), 0.0)
    return gain / ideal_gain(np.minimum(k, ranks.n_heldout))[ranks.users]


def ideal_gain(n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``sum(1 / log2(1 + i) for i in 1..n)`` for each ``n``."""
    best = np.cumsum(1.0 / np.log2(1.0 + np.arange(1, n.max() + 1)))
    return best[n - 1]


def hit_rate(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """Hit rate at k: 1 for a user with a held-out song among the first k, else 0; ``r_1 <= k``.

    Deshpande and Karypis, "Item-based top-N recommendation algorithms" (ACM TOIS 22(1), 2004),
    who hold out one song of each user; called success at k elsewhere.
    """
    return (ranks.ranks[ranks.indptr[:-1]] <= k).astype(np.float64)


def reciprocal_rank(ranks: HeldoutRanks, k: int) -> NDArray[np.float64]:
    """Reciprocal rank of the best held-out song: ``1 / r_1``, without a cut-off; its mean is the MRR.

    Voorhees, "The TREC-8 question answering track report" (1999).
    """
    return 1.0 / ranks.ranks[ranks.indptr[:-1]]


RANK_METRICS: dict[str, RankMetric] = {
    name: RankMetric(name, function, additive)
    for name, function, additive in (
        ("map_at_k", average_precision, True),
        ("auc", area_under_roc, True),
        ("recall_at_k", recall, True),
        ("hit_rate_at_k", hit_rate, False),
        ("ndcg_at_k", discounted_gain, True),
        ("mrr", reciprocal_rank, False),
    )
}
"""The metrics of ranks by name, in the order of tables."""
