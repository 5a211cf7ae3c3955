"""How well scores rank the songs that a user really played.

Everything is made of one number for each held-out song: how many of the songs that its user does not hold
out score above it. Nothing is sorted, and the matrix of all users by all songs never exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from dcbmr._core import SongScores
from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError


@dataclass(frozen=True, eq=False)
class RankingReport:
    """What :func:`evaluate_ranking` found.

    Attributes
    ----------
    map_at_k : float
        Mean of ``ap``.
    auc : float
        Mean of ``auc_of_users`` over the users that have one; NaN if none has.
    k : int
        Rank at which the average precision is truncated.
    n_users : int
        Users in the means.
    n_songs : int
        Candidates of every user.
    users : ndarray of shape (n_users,), int64
        Rows of the users in the means; the arrays below follow it.
    n_heldout : ndarray of shape (n_users,), int64
        Held-out songs of each.
    ap : ndarray of shape (n_users,), float64
        Average precision at ``k`` of each.
    auc_of_users : ndarray of shape (n_users,), float64
        Area under the ROC curve of each; NaN where a user holds out every candidate.
    left_out : dict of str to int
        Why users are not in the means, and how many for each reason.
    """

    map_at_k: float
    auc: float
    k: int
    n_users: int
    n_songs: int
    users: NDArray[np.int64] = field(repr=False)
    n_heldout: NDArray[np.int64] = field(repr=False)
    ap: NDArray[np.float64] = field(repr=False)
    auc_of_users: NDArray[np.float64] = field(repr=False)
    left_out: dict[str, int]

    @property
    def n_users_left_out(self) -> int:
        """Users that are not in the means."""
        return sum(self.left_out.values())


@dataclass(frozen=True)
class RandomRow:
    """What random scores would reach on the users of a report: drawn once, and in theory."""

    map_at_k: float
    auc: float
    expected_map_at_k: float
    expected_auc: float = 0.5


def evaluate_ranking(
    user_factors: ArrayLike,
    song_factors: ArrayLike,
    heldout: Any,
    *,
    k: int = 500,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidate songs of every user by ``user_factors @ song_factors.T``, and measure the ranks.

    A user's average precision at ``k`` is ``sum(j / rank_j for rank_j <= k) / min(k, n)``, with the ranks
    of the user's ``n`` held-out songs in ascending order. Ranks are distinct; of songs with equal scores
    those that are not held out come first, so that a score without information earns nothing. The area
    under the ROC curve counts a tie as one half. Songs with equal factors tie exactly: a score is summed in
    the order of the factors.

    Users without held-out plays, and users without training plays (whose factors are all zero), are left
    out of the means and counted.

    Parameters
    ----------
    user_factors : array_like of shape (n_users, n_factors)
        Used as float32.
    song_factors : array_like of shape (n_songs, n_factors)
        Factors of the candidates, which are the same for every user: all held-out songs.
    heldout : sparse or dense array of shape (n_users, n_songs)
        Not zero where a user played a candidate.
    k : int
        Cut-off of the average precision.
    n_threads : int, optional
        Threads; every core by default. The result does not depend on it.
    progress : Progress, optional
        Told of each block of users; it may raise to stop.

    Returns
    -------
    RankingReport

    Raises
    ------
    InputError
        Shapes that do not fit, factors that are not finite or so large that scores overflow, and no user
        left to evaluate.
    """
    users, songs = checked_factors(user_factors, song_factors)
    plays = not_zero(heldout, (len(users), len(songs)), "heldout")
    k = checked_k(k)
    threads = resolve_n_threads(n_threads)
    n_heldout = np.diff(plays.indptr)
    has_heldout = n_heldout > 0
    has_training = users.any(axis=1)
    rows = np.flatnonzero(has_heldout & has_training)
    left_out = {
        "without held-out plays": int(np.count_nonzero(~has_heldout)),
        "without training plays": int(np.count_nonzero(has_heldout & ~has_training)),
    }
    if not len(rows):
        raise InputError(
            f"no user is left to evaluate: of {len(users)} users, {left_out['without held-out plays']} have "
            f"no held-out plays among the {len(songs)} candidate songs and "
            f"{left_out['without training plays']} have no training plays (their factors are zero)"
        )
    plays = plays[rows]
    above, level = _count_above(users, rows, songs, plays, threads, progress or silent)
    ap, auc = _average_precision_and_auc(above, level, plays.indptr, len(songs), k)
    return RankingReport(
        map_at_k=float(ap.mean()),
        auc=_mean_of_numbers(auc),
        k=k,
        n_users=len(rows),
        n_songs=len(songs),
        users=rows,
        n_heldout=n_heldout[rows].astype(np.int64),
        ap=ap,
        auc_of_users=auc,
        left_out=left_out,
    )


def random_row(report: RankingReport, *, random_state: int = 0) -> RandomRow:
    """Return what random scores, independent for each user and song, reach on the users of ``report``.

    The scores themselves are not drawn but the ranks that they give the held-out songs: any set of ranks
    is as likely as any other. Songs in one random order for all users (random factors) would have the same
    expectation and a far larger spread.

    The expectation follows from the chance ``n / N`` that a held-out song stands at rank ``r`` and from the
    ``(r - 1)(n - 1) / (N - 1)`` others then expected before it, for ``n`` held-out songs among ``N``:
    ``n / N * sum((1 + (r - 1)(n - 1) / (N - 1)) / r for r <= k) / min(k, n)``.

    Parameters
    ----------
    report : RankingReport
        Whose users, candidates and cut-off are meant.
    random_state : int
        Seed of the draw.
    """
    n, n_songs, k = report.n_heldout, report.n_songs, report.k
    indptr = np.concatenate([[0], np.cumsum(n)])
    ranks = _distinct_ranks(n, n_songs, np.random.default_rng(random_state))
    above = ranks - (np.arange(len(ranks)) - np.repeat(indptr[:-1], n)) - 1
    ap, auc = _average_precision_and_auc(above, np.zeros_like(above), indptr, n_songs, k)
    return RandomRow(
        map_at_k=float(ap.mean()),
        auc=_mean_of_numbers(auc),
        expected_map_at_k=float(expected_random_ap(n, n_songs, k).mean()),
    )


def expected_random_ap(n_heldout: ArrayLike, n_songs: int, k: int) -> NDArray[np.float64]:
    """Return the expectation, under random scores, of the average precision at ``k``.

    Parameters
    ----------
    n_heldout : array_like of int
        Held-out songs of each user, at least 1 and at most ``n_songs``.
    n_songs : int
        Candidates.
    k : int
        Cut-off.
    """
    n = np.asarray(n_heldout, np.float64)
    depth = min(k, n_songs)
    harmonic = float((1.0 / np.arange(1, depth + 1)).sum())
    return n / n_songs * (harmonic + (n - 1) / max(n_songs - 1, 1) * (depth - harmonic)) / np.minimum(k, n)


def checked_factors(
    user_factors: ArrayLike, song_factors: ArrayLike, name: str = "user_factors"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both as float32 in C order; InputError unless they fit and their products are finite."""
    users = np.ascontiguousarray(user_factors, np.float32)
    songs = np.ascontiguousarray(song_factors, np.float32)
    largest = _largest_magnitude(name, users) * _largest_magnitude("song_factors", songs)
    if users.shape[1] != songs.shape[1]:
        raise InputError(
            f"{name} has {users.shape[1]} columns and song_factors {songs.shape[1]}; "
            "both must have one for each factor"
        )
    if largest * users.shape[1] > float(np.finfo(np.float32).max):
        raise InputError(f"{name} and song_factors are so large that scores overflow float32")
    return users, songs


def _largest_magnitude(name: str, factors: NDArray[np.float32]) -> float:
    if factors.ndim != 2 or 0 in factors.shape:
        raise InputError(f"{name} must be a matrix that is not empty; its shape is {factors.shape}")
    largest = max(float(factors.max()), -float(factors.min()))
    if not np.isfinite(largest):
        bad = np.flatnonzero(~np.isfinite(factors).all(axis=1))
        raise InputError(
            f"{name} must be finite; {len(bad)} of {len(factors)} rows are not, the first is row {bad[0]}"
        )
    return largest


def checked_k(k: Any) -> int:
    """Return ``k`` as an int; InputError unless it is a whole number of at least 1."""
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"k must be a whole number of at least 1; got {k!r}")
    return int(k)


def not_zero(matrix: Any, shape: tuple[int, int], name: str) -> csr_array:
    """Return ``matrix`` as CSR that stores what is not zero, each once; the caller's is left alone."""
    rows = csr_array(matrix)
    if rows.shape != shape:
        raise InputError(f"{name} has shape {rows.shape}; wanted {shape}, users or queries by songs")
    if not rows.has_canonical_format or (rows.data == 0).any():
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    return rows


def _count_above(
    users: NDArray[np.float32],
    rows: NDArray[np.int64],
    songs: NDArray[np.float32],
    plays: csr_array,
    n_threads: int,
    report: Progress,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the songs above and level with each held-out song; ``plays`` holds ``rows`` of ``users``."""
    scores = SongScores(songs)
    above = np.empty(plays.nnz, np.int64)
    level = np.empty(plays.nnz, np.int64)
    # About a second of work a call, so that Ctrl-C and the progress are heard.
    step = max(1024, int(2e10) * n_threads // songs.size)
    for start in range(0, len(rows), step):
        end = min(start + step, len(rows))
        block = plays[start:end]
        mine = slice(plays.indptr[start], plays.indptr[end])
        scores.rank(
            users[rows[start:end]],
            block.indptr.astype(np.int64),
            block.indices.astype(np.int32),
            above[mine],
            level[mine],
            n_threads,
        )
        report("rank", end, len(rows), {})
    return above, level


def _average_precision_and_auc(
    above: NDArray[np.int64], level: NDArray[np.int64], indptr: NDArray[Any], n_songs: int, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn the counts into the two figures of each user; a user's songs are the best first."""
    n = np.diff(indptr)
    place = np.arange(1, len(above) + 1) - np.repeat(indptr[:-1], n)
    rank = above + level + place
    hits = np.where(rank <= k, place / rank, 0.0)
    ap = np.add.reduceat(hits, indptr[:-1]) / np.minimum(k, n)
    lost = np.add.reduceat(above + 0.5 * level, indptr[:-1])
    n_others = n_songs - n
    with np.errstate(invalid="ignore"):
        auc = 1.0 - lost / (n * n_others)
    return ap, auc


def _mean_of_numbers(values: NDArray[np.float64]) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def _distinct_ranks(n: NDArray[np.int64], n_songs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``n[u]`` distinct ranks of 1..n_songs for each user, ascending, one user after the other.

    What is drawn twice is drawn again, for all users at once. Where a user has more than half of the ranks,
    those that are left over are drawn instead: to find the last few of all by chance would take forever.
    """
    first = np.arange(len(n), dtype=np.int64) * n_songs
    by_rest = 2 * n > n_songs
    wanted = np.where(by_rest, n_songs - n, n)
    drawn, missing = np.empty(0, np.int64), wanted
    while missing.any():
        more = np.repeat(first, missing) + rng.integers(n_songs, size=int(missing.sum()))
        drawn = np.sort(np.concatenate([drawn, more]))
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]
        missing = wanted - np.bincount(drawn // n_songs, minlength=len(n))
    if by_rest.any():
        every = (first[by_rest, None] + np.arange(n_songs)).ravel()
        rest = np.isin(every, drawn, assume_unique=True, invert=True)
        drawn = np.sort(np.concatenate([drawn[~by_rest[drawn // n_songs]], every[rest]]))
    return 1 + drawn % n_songs
