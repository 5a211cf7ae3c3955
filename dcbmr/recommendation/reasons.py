"""Why a song is recommended: the songs played that speak for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.spelling import look_up
from dcbmr.errors import InputError
from dcbmr.factorization.half_sweep import Problem
from dcbmr.plays.confidence import surplus
from dcbmr.recommendation.usage import usage_vectors

if TYPE_CHECKING:
    from dcbmr.factorization.factors import Factors
    from dcbmr.recommendation.recommender import Recommender


@dataclass(frozen=True)
class Reason:
    """A song played, and how much it speaks for a recommendation.

    Attributes
    ----------
    song : str
    contribution : float
        Its part of the score: those of all songs played sum to it.
    similarity : float
        Cosine of the usage that is predicted for it and for the song recommended.
    """

    song: str
    contribution: float
    similarity: float


def reasons(
    recommender: Recommender, plays: csr_array, songs: Sequence[str], *, k: int = 3
) -> list[list[Reason]]:
    """Return the songs played that speak the most for each of ``songs``.

    For a song with plays these are the ones with the largest contributions; for a song whose factors a model
    predicted, which no listener has placed, the ones nearest to it in predicted usage.

    Parameters
    ----------
    recommender : Recommender
    plays : csr_array of shape (1, len(recommender.playable)), float32
        Of one user, as :meth:`dcbmr.Recommender.fold_in_plays` has them.
    songs : sequence of str
        What is recommended.
    k : int
        Songs played for each; fewer where fewer were played.

    Raises
    ------
    InputError
        A song is unknown; the model has users of its own, which weighted ALS did not make.
    """
    factors = recommender.factors
    if recommender.song_factors.shape[1] != factors.song_factors.shape[1]:
        raise InputError(
            "reasons are told by the algebra of the factors, and this model has users of its own (metric "
            "learning); ask a model that scores with the users of the factors"
        )
    rows = [look_up(song, recommender.row_of_song, "song") for song in songs]
    vectors, columns = recommender.song_factors[rows], plays.indices
    parts = contributions(factors, plays, vectors)
    usage = usage_vectors(factors.user_factors, np.concatenate([vectors, factors.song_factors[columns]]))
    alike = usage[: len(rows)] @ usage[len(rows) :].T
    found = []
    for number, row in enumerate(rows):
        by = alike if recommender.is_predicted[row] else parts
        best = np.argsort(-by[number], kind="stable")[:k]
        found.append(
            [
                Reason(factors.song_ids[columns[i]], float(parts[number, i]), float(alike[number, i]))
                for i in best.tolist()
            ]
        )
    return found


def contributions(
    factors: Factors, plays: csr_array, song_factors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return what each song played adds to the score of each song, (n_songs, n_played).

    A user's factors are ``A^-1 sum_i c_i y_i`` over the songs i played, with A = w Y'Y + sum_i (c_i - w) y_i
    y_i' + lambda I; so the score of song j is the sum of ``c_i y_j' A^-1 y_i`` (Hu, Koren and Volinsky, ICDM
    2008, section 5), and is that of :meth:`dcbmr.Factors.fold_in_users`.

    Parameters
    ----------
    factors : Factors
    plays : csr_array of shape (1, n_songs)
        Of one user.
    song_factors : ndarray of shape (n, n_factors)
        Of the songs that are scored.
    """
    Y = factors.song_factors.astype(np.float64)
    played = Y[plays.indices]
    confidence = 1 + surplus(plays, alpha=factors.alpha, epsilon=factors.epsilon).data.astype(np.float64)
    problem = Problem(
        regularization=factors.regularization,
        unobserved_weight=factors.unobserved_weight,
        frequency_exponent=factors.frequency_exponent,
        cg_steps=0,
        n_threads=1,
    )
    w = factors.unobserved_weight
    A = w * (Y.T @ Y) + (played * (confidence - w)[:, None]).T @ played
    A[np.diag_indices_from(A)] += problem.row_regularization(np.diff(plays.indptr), plays.shape[1])[0]
    return np.asarray(song_factors.astype(np.float64) @ np.linalg.solve(A, (confidence[:, None] * played).T))
