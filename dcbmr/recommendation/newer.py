"""Plays that factors are older than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from dcbmr.base.arrays import in_columns, places
from dcbmr.factorization.factors import Factors
from dcbmr.plays.counts import PlayCounts


@dataclass(frozen=True)
class NewerPlays:
    """What plays have that factors were not fitted on. It is true where there is any.

    Attributes
    ----------
    n_users, n_songs : int
        Users, and songs, with plays that the factors know nothing of, or know without plays.
    n_known_users : int
        Users that the factors know who have played more, of songs that they know too.
    n_plays : float
        By how much the counts of these users and songs are higher; a lower count takes nothing off.
    """

    n_users: int
    n_songs: int
    n_known_users: int
    n_plays: float

    @classmethod
    def of(cls, factors: Factors, plays: PlayCounts) -> Self:
        """Compare plays with those behind factors; plays of a part of the users are compared for that part.

        Parameters
        ----------
        factors : Factors
        plays : PlayCounts
            Every play as of now, of some users or of all.
        """
        before = factors.counts
        has_user, has_song = np.diff(before.indptr) > 0, factors.has_plays
        user_at, song_at = (
            places(ids, {known[row]: int(row) for row in np.flatnonzero(has)})
            for ids, known, has in (
                (plays.user_ids, factors.user_ids, has_user),
                (plays.song_ids, factors.song_ids, has_song),
            )
        )
        now = plays.counts
        new_users = (np.diff(now.indptr) > 0) & (user_at < 0)
        new_songs = (np.bincount(now.indices, minlength=now.shape[1]) > 0) & (song_at < 0)
        known = np.flatnonzero(user_at >= 0)
        more = in_columns(now[known], song_at, before.shape[1]) - before[user_at[known]]
        more.data = np.maximum(more.data, 0)
        more.eliminate_zeros()
        n_known_users = np.count_nonzero(np.diff(more.indptr))
        n_plays = float(more.data.sum(dtype=np.float64))
        return cls(int(new_users.sum()), int(new_songs.sum()), int(n_known_users), n_plays)

    def __bool__(self) -> bool:
        return bool(self.n_users or self.n_songs or self.n_known_users)

    def words(self) -> str:
        """Say in a line what it is, what becomes of it, and what takes it in; empty where there is none."""
        said = []
        if self.n_users or self.n_songs:
            said.append(
                f"do not know {self.n_users:,} of the users and {self.n_songs:,} of the songs (the users are "
                "placed by the songs that are known, the songs by their audio where features tell)"
            )
        if self.n_known_users:
            said.append(f"lack {self.n_plays:,.0f} plays by {self.n_known_users:,} of the users they know")
        if not said:
            return ""
        return (
            f"these plays are newer than the factors, which {' and '.join(said)}; "
            "dcbmr factorize PLAYS --warm-start FACTORS takes all in"
        )
