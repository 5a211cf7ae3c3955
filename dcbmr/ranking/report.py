"""How well scores rank the songs that a user really played."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, sparray

from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.ranking.checks import checked_factors, checked_k, not_zero
from dcbmr.ranking.metrics import RANK_METRICS
from dcbmr.ranking.ranks import HeldoutRanks, rank_heldout
from dcbmr.ranking.topk import TopSongs

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine


@dataclass(frozen=True, eq=False, repr=False)
class RankingReport:
    """What :func:`evaluate_ranking` found: the ranks of the held-out songs, and what is made of them.

    Attributes
    ----------
    ranks : HeldoutRanks
        The rank of every held-out song of every user.
    users : ndarray of shape (n_users,), int64
        Rows of the users in the means; all that belongs to users follows it.
    n_songs : int
        Songs that were scored: the candidates of a user who excludes none.
    k : int
        Rank at which the metrics that have a cut-off are cut off.
    left_out : dict of str to int
        Why users are not in the means, and how many for each reason.
    top : TopSongs or None
        The best candidates of each user in the means, where they were asked for.
    """

    ranks: HeldoutRanks
    users: NDArray[np.int64]
    n_songs: int
    k: int
    left_out: dict[str, int]
    top: TopSongs | None = None

    def __repr__(self) -> str:
        return (
            f"RankingReport(map_at_k={self.map_at_k:.5f}, auc={self.auc:.5f}, k={self.k}, "
            f"n_users={self.n_users}, n_songs={self.n_songs}, left_out={self.left_out})"
        )

    @property
    def map_at_k(self) -> float:
        """Mean of ``ap``."""
        return mean_of_numbers(self.ap)

    @property
    def auc(self) -> float:
        """Mean of ``auc_of_users`` over the users that have one; NaN if none has."""
        return mean_of_numbers(self.auc_of_users)

    @cached_property
    def ap(self) -> NDArray[np.float64]:
        """Average precision at ``k`` of each user, (n_users,)."""
        return self.of_users("map_at_k")

    @cached_property
    def auc_of_users(self) -> NDArray[np.float64]:
        """Area under the ROC curve of each user, (n_users,); NaN where a user holds out every candidate."""
        return self.of_users("auc")

    @property
    def n_users(self) -> int:
        """Users in the means."""
        return len(self.users)

    @property
    def n_heldout(self) -> NDArray[np.int64]:
        """Held-out songs of each user, (n_users,)."""
        return self.ranks.n_heldout

    @property
    def n_users_left_out(self) -> int:
        """Users that are not in the means."""
        return sum(self.left_out.values())

    def of_users(self, metric: str) -> NDArray[np.float64]:
        """Return the figure of each user, (n_users,), for a metric of ``RANK_METRICS``."""
        return RANK_METRICS[metric].of_users(self.ranks, self.k)

    def of_plays(self, metric: str) -> NDArray[np.float64]:
        """Return what each held-out song adds to its user's figure, (n_plays,), for an additive metric."""
        return RANK_METRICS[metric].of_plays(self.ranks, self.k)

    def means(self) -> dict[str, float]:
        """Return the mean of each metric of ``RANK_METRICS`` over the users that have it."""
        return {name: mean_of_numbers(self.of_users(name)) for name in RANK_METRICS}

    def only(self, plays: NDArray[np.bool_]) -> RankingReport:
        """Return the report as it were if each user held out only these songs of a mask (n_plays,).

        The user's other held-out songs are no candidates then. Users without a song are left out.

        Raises
        ------
        InputError
            For a mask without a play.
        """
        if not plays.any():
            raise InputError("there are no held-out plays in this group")
        kept = self.ranks.sum_by_user(plays.astype(np.int64)) > 0
        left_out = self.left_out | {"without held-out plays in the group": int((~kept).sum())}
        return RankingReport(self.ranks.only(plays), self.users[kept], self.n_songs, self.k, left_out)


def evaluate_ranking(
    user_factors: ArrayLike | sparray,
    song_factors: ArrayLike,
    heldout: Any,
    *,
    excluded: Any = None,
    k: int = 500,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidate songs of every user by ``user_factors @ song_factors.T``, and measure the ranks.

    A user's average precision at ``k`` is ``sum(j / rank_j for rank_j <= k) / min(k, n)``, with the ranks
    of the user's ``n`` held-out songs in ascending order. Ranks are distinct; of songs with equal scores
    those that are not held out come first, so that a score without information earns nothing. The area
    under the ROC curve counts a tie as one half. Songs with equal factors tie exactly: a score is summed in
    the order of the factors. More metrics are made of the same ranks; ``report.means()`` has them all.

    Users without held-out plays, and users without training plays (whose factors are all zero), are left
    out of the means and counted.

    Parameters
    ----------
    user_factors : array_like or sparse array of shape (n_users, n_factors)
        Used as float32. A sparse one is made dense block by block.
    song_factors : array_like of shape (n_songs, n_factors)
        Factors of the candidates.
    heldout : sparse or dense array of shape (n_users, n_songs)
        Not zero where a user played a candidate.
    excluded : sparse or dense array of shape (n_users, n_songs), optional
        Not zero where a song is no candidate for a user: one of the user's training plays.
    k : int
        Cut-off of the metrics that have one.
    n_listed : int, optional
        Keep this many of the best candidates of each user in the means as ``report.top``, for
        :func:`dcbmr.evaluate_lists`. It costs far less than :func:`dcbmr.top_songs`: the scores are there.
    n_threads : int, optional
        Threads; every core by default. The result does not depend on it.
    engine : RayEngine, optional
        Rank on its workers. The result does not depend on it, either.
    progress : Progress, optional
        Told of each block of users; it may raise to stop.

    Returns
    -------
    RankingReport

    Raises
    ------
    InputError
        Shapes that do not fit, factors that are not finite or so large that scores overflow, a play that is
        both held out and excluded, and no user left to evaluate.
    """
    users, songs = checked_factors(user_factors, song_factors)
    shape = users.shape[0], len(songs)
    plays = not_zero(heldout, shape, "heldout")
    without = not_zero(excluded, shape, "excluded")
    k = checked_k(k)
    n_listed = 0 if n_listed is None else checked_k(n_listed, "n_listed")
    threads = resolve_n_threads(n_threads)
    both = plays.astype(bool).multiply(without.astype(bool)).nnz if without.nnz else 0
    if both:
        raise InputError(f"{both} plays are held out and excluded from the candidates at once")
    has_heldout = np.diff(plays.indptr) > 0
    has_training = np.diff(users.indptr) > 0 if isinstance(users, csr_array) else users.any(axis=1)
    rows = np.flatnonzero(has_heldout & has_training)
    left_out = {
        "without held-out plays": int(np.count_nonzero(~has_heldout)),
        "without training plays": int(np.count_nonzero(has_heldout & ~has_training)),
    }
    if not len(rows):
        raise InputError(
            f"no user is left to evaluate: of {shape[0]} users, {left_out['without held-out plays']} have "
            f"no held-out plays among the {len(songs)} candidate songs and "
            f"{left_out['without training plays']} have no training plays (their factors are zero)"
        )
    ranks, top = rank_heldout(
        users[rows],
        songs,
        plays[rows],
        without[rows],
        n_listed=n_listed,
        n_threads=threads,
        progress=progress or silent,
        engine=engine,
    )
    return RankingReport(ranks, rows, len(songs), k, left_out, top if n_listed else None)


def mean_of_numbers(values: NDArray[np.float64]) -> float:
    """Return the mean of what is not NaN; NaN if all is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else float("nan")
