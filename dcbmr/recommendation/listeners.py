"""The listeners and what they played, out of the plays behind the factors and of newer ones."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from dcbmr.base.arrays import in_columns, places
from dcbmr.base.spelling import look_up
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.plays.counts import PlayCounts


@dataclass(frozen=True, eq=False)
class Listeners:
    """Who has played what, as far as a recommender knows.

    Attributes
    ----------
    user_ids : ndarray of shape (n_users,), object
        The users of the factors, then those that only newer plays know.
    song_ids : ndarray of shape (n_columns,), object
        The songs of the factors, then those that only newer plays know.
    counts : csr_array of shape (n_users, n_columns), float32
    is_newer : ndarray of shape (n_users,), bool
        Whose plays are the newer ones.
    has_plays : ndarray of shape (n_columns,), bool
        Which songs anybody played, then or now.
    """

    user_ids: NDArray[np.object_]
    song_ids: NDArray[np.object_]
    counts: csr_array
    is_newer: NDArray[np.bool_]
    has_plays: NDArray[np.bool_]

    @classmethod
    def of(cls, factors: Factors, plays: PlayCounts | None) -> Self:
        """Return those of the factors; a user with any newer ``plays`` has these in place of the former."""
        n_users, n_songs = factors.counts.shape
        if plays is None:
            is_newer = np.zeros(n_users, bool)
            return cls(factors.user_ids, factors.song_ids, factors.counts, is_newer, factors.has_plays)
        songs, column = _joined(factors.song_ids, plays.song_ids)
        users, row = _joined(factors.user_ids, plays.user_ids)
        if (column >= n_songs).all():
            raise InputError(
                f"plays are of other songs than the factors, which have {list(factors.song_ids[:3])}; got "
                f"{list(plays.song_ids[:3])}"
            )
        newer = in_columns(plays.counts, column, len(songs))
        both = vstack([in_columns(factors.counts, np.arange(n_songs), len(songs)), newer], format="csr")
        played = np.diff(newer.indptr) > 0
        is_newer = np.zeros(len(users), bool)
        is_newer[row[played]] = True
        # A user without any plays in either has an empty row of the newer ones.
        source = np.arange(len(users))
        source[row[played]] = n_users + np.flatnonzero(played)
        unplayed = ~played & (row >= n_users)
        source[row[unplayed]] = n_users + np.flatnonzero(unplayed)
        has_plays = np.zeros(len(songs), bool)
        has_plays[both.indices] = True
        return cls(users, songs, csr_array(both[source]), is_newer, has_plays)


def plays_to_date(factors: Factors, since: PlayCounts) -> PlayCounts:
    """Return the plays of the users of ``since``, those behind ``factors`` and those since then together.

    As ``plays`` of :class:`dcbmr.Recommender` they are every play as of now: who has none since is known by
    the factors.
    """
    songs, column = _joined(factors.song_ids, since.song_ids)
    row_of_user = {user: row for row, user in enumerate(factors.user_ids)}
    before = places(since.user_ids, row_of_user)
    known = np.flatnonzero(before >= 0)
    n_since, n_known = len(before), len(known)
    to_row = csr_array((np.ones(n_known, np.float32), (known, np.arange(n_known))), shape=(n_since, n_known))
    then = in_columns(factors.counts[before[known]], np.arange(len(factors.song_ids)), len(songs))
    now = in_columns(since.counts, column, len(songs))
    return PlayCounts(since.user_ids, songs, to_row @ then + now)


def plays_of_somebody(
    plays: Mapping[str, float] | Collection[str], playable: Mapping[str, int], others: Collection[str]
) -> csr_array:
    """Return songs and their counts, 1 where none is said, as a row, (1, len(playable)) float32.

    Raises
    ------
    InputError
        There is none; a song is unknown, or one of ``others``, which nobody can be known by; a count is no
        positive number.
    """
    counts = dict(plays) if isinstance(plays, Mapping) else dict.fromkeys(plays, 1.0)
    if not counts:
        raise InputError("a user must be known by at least one song played")
    for song in counts:
        if song in others and song not in playable:
            raise InputError(f"song {song!r} has no training plays: nobody can be known by it")
        look_up(song, playable, "song with plays")
    values = np.array(list(counts.values()), np.float32)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise InputError(f"counts must be positive numbers; got {counts}")
    one = csr_array(values[None])
    return in_columns(one, places(list(counts), playable), len(playable))


def warn_of_heldout(n_heldout: int, n_candidates: int) -> None:
    """Warn of candidates that seem unplayed because a split kept their plays from the factors."""
    warnings.warn(
        f"{n_heldout} of the {n_candidates} candidates were held out by the split that the factors were "
        "fitted on: their plays are not known here, and they seem new to everybody. That is for judging a "
        "model; to use one, train on factors of all plays, or give every play as of now (--plays FILE on the "
        "command line, plays= in Python)",
        stacklevel=4,
    )


def _joined(
    ids: NDArray[np.object_], more: NDArray[np.object_]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return ``ids`` and those of ``more`` that are not among them, and the place of each of ``more``."""
    place = {name: row for row, name in enumerate(ids)}
    where = np.array([place.setdefault(name, len(place)) for name in more], np.int64)
    joined = np.empty(len(place), object)
    joined[:] = list(place)
    return joined, where
