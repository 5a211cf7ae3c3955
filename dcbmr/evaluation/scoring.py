"""Rank the candidates by named factors: those that a model predicts, and the upper bound's.

All reports number users as ``heldout.user_ids`` does, and songs as the candidates are given.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import in_columns, places
from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.plays.counts import PlayCounts
from dcbmr.ranking.report import RankingReport, evaluate_ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack
    from dcbmr.recommendation.recommender import Ids


def score(
    user_ids: Ids,
    user_factors: NDArray[np.float32] | csr_array,
    song_ids: Sequence[str],
    song_factors: NDArray[np.float32],
    heldout: PlayCounts,
    *,
    excluded: PlayCounts | None = None,
    k: int = 500,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Evaluate factors whose users and candidates are named; see :func:`dcbmr.evaluate_ranking`.

    Users of ``heldout`` without factors count as users without training plays.

    Parameters
    ----------
    user_ids : sequence of str
        Names of the rows of ``user_factors``.
    user_factors : ndarray or csr_array of shape (n_users, width), float32
    song_ids : sequence of str
        Names of the rows of ``song_factors``: the candidates.
    song_factors : ndarray of shape (n_candidates, width), float32
    heldout : PlayCounts
        Plays of the candidates; plays of other songs are not looked at.
    excluded : PlayCounts, optional
        Plays whose songs are no candidates for their users.
    """
    row = places(heldout.user_ids, {user: i for i, user in enumerate(user_ids)})
    known = (row >= 0)[:, None]
    users: Any  # of who has no factors, zeros
    if isinstance(user_factors, csr_array):
        users = csr_array(user_factors[np.maximum(row, 0)].multiply(known))
    else:
        users = np.where(known, user_factors[row], np.float32(0))
    report = evaluate_ranking(
        users,
        song_factors,
        plays_between(heldout, heldout.user_ids, song_ids),
        excluded=None if excluded is None else plays_between(excluded, heldout.user_ids, song_ids),
        k=k,
        n_listed=n_listed,
        n_threads=n_threads,
        engine=engine,
        progress=progress,
    )
    # Users of whom nothing is held out are not in the plays at all.
    idle = len(user_ids) - int(np.count_nonzero(row >= 0))
    why = "without held-out plays"
    return replace(report, left_out={**report.left_out, why: report.left_out[why] + idle})


def plays_between(plays: PlayCounts, user_ids: Ids, song_ids: Ids) -> csr_array:
    """Return the plays of users and songs, (n_users, n_songs), in their order; who is not known has none."""
    column = places(plays.song_ids, {song: i for i, song in enumerate(song_ids)})
    row = places(user_ids, {user: i for i, user in enumerate(plays.user_ids)})
    counts = in_columns(plays.counts, column, len(song_ids))
    return csr_array(counts[np.maximum(row, 0)].multiply((row >= 0)[:, None]))


def evaluate_model(
    model: Model | Stack,
    predicted: NDArray[np.float32],
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    k: int = 500,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidates for every user by what a model predicted from their audio.

    Parameters
    ----------
    model : Model or Stack
        It must not have seen the candidates: :func:`dcbmr.models.leakage.refuse_leakage`.
    predicted : ndarray of shape (n_candidates, width), float32
        Its predictions.
    song_ids : sequence of str
        The candidates, row by row.
    heldout : PlayCounts
        Their plays.
    """
    users = with_plays(model)
    return score(
        model.user_ids,
        users,
        song_ids,
        predicted,
        heldout,
        k=k,
        n_listed=n_listed,
        n_threads=n_threads,
        engine=engine,
        progress=progress,
    )


def with_plays(model: Model | Stack) -> NDArray[np.float32]:
    """Return a model's user factors, with zeros for users without training plays: the means leave them out.

    Metric learning gives such users factors, too.
    """
    users = model.user_factors
    idle = np.diff(model.factors.counts.indptr) == 0
    return np.where(idle[:, None], np.float32(0), users) if users[idle].any() else users


def evaluate_upper_bound(
    factors: Factors,
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    user_ids: Collection[str] | None = None,
    k: int = 500,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidates by factors that were learned from their plays: what audio cannot surpass.

    Parameters
    ----------
    factors : Factors
        Fitted on all plays, those of the candidates among them.
    song_ids : sequence of str
        The candidates. One that nobody played keeps zero factors.
    heldout : PlayCounts
        Their plays.
    user_ids : collection of str, optional
        Users to evaluate: those in a model's means, for a fair comparison. All by default.
    """
    check_upper_bound(factors, song_ids)
    row = {song: i for i, song in enumerate(factors.song_ids)}
    song_factors = np.zeros((len(song_ids), factors.song_factors.shape[1]), np.float32)
    for i, song in enumerate(song_ids):
        if song in row:
            song_factors[i] = factors.song_factors[row[song]]
    users = factors.user_factors
    if user_ids is not None:
        wanted = set(user_ids)
        users = np.where(np.array([u in wanted for u in factors.user_ids])[:, None], users, np.float32(0))
    return score(
        factors.user_ids,
        users,
        song_ids,
        song_factors,
        heldout,
        k=k,
        n_listed=n_listed,
        n_threads=n_threads,
        engine=engine,
        progress=progress,
    )


def check_upper_bound(factors: Factors, song_ids: Sequence[str]) -> None:
    """Raise InputError when factors have not seen the plays of the songs to be scored."""
    seen = set(factors.song_ids[factors.has_plays]).intersection(song_ids)
    if len(seen) < len(song_ids) / 2:
        raise InputError(
            f"the upper bound needs factors of all plays, but these have plays of {len(seen)} of the "
            f"{len(song_ids)} songs to score only: factorize the plays before the split"
        )
