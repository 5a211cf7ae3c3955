"""A factorization that starts from the factors of earlier plays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dcbmr.base.arrays import in_columns, places
from dcbmr.base.settings import check_settings
from dcbmr.errors import InputError
from dcbmr.factorization.factors import OBJECTIVE, Factors
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.matching import IdMatch, match_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class PlaysChange:
    """How plays have changed since factors were fitted on earlier ones.

    Attributes
    ----------
    n_pairs_before, n_pairs : int
        Pairs of user and song with plays.
    users, songs : IdMatch
        Of those that had plays before (``n_wanted``), how many have some today (``n_matched``), the first
        that vanished (``missing``), how many are new (``n_extra``), and why ids may differ (``cause``).
    """

    n_pairs_before: int
    n_pairs: int
    users: IdMatch
    songs: IdMatch

    @classmethod
    def of(cls, before: Factors, plays: PlayCounts) -> Self:
        """Compare the plays behind factors with those of today."""
        tables = ((table.counts, table.user_ids, table.song_ids) for table in (plays, before))
        played = [
            (users[np.diff(counts.indptr) > 0], songs[np.bincount(counts.indices, minlength=len(songs)) > 0])
            for counts, users, songs in tables
        ]
        users, songs = (match_ids(list(now), list(then)) for now, then in zip(*played, strict=True))
        return cls(before.counts.nnz, plays.counts.nnz, users, songs)

    def words(self) -> str:
        """Say in a line what is new and what vanished."""
        said = []
        for what, match in (("users", self.users), ("songs", self.songs)):
            n_gone = match.n_wanted - match.n_matched
            more = ", ..." if n_gone > len(match.missing) else ""
            gone = f"{n_gone:,} vanished" + (f" ({', '.join(match.missing)}{more})" if n_gone else "")
            said.append(f"{what}: {match.n_matched:,} known, {match.n_extra:,} new, {gone}")
        return "; ".join(said)

    def check(self) -> None:
        """Raise InputError where these hardly are later plays of the same service.

        Less than half of the pairs, of the users or of the songs is left: an export was cut off, or writes
        ids in another way.
        """
        sizes = [
            ("pairs with plays", self.n_pairs_before, self.n_pairs),
            ("users", self.users.n_wanted, self.users.n_matched),
            ("songs", self.songs.n_wanted, self.songs.n_matched),
        ]
        lost = [f"{left:,} of {before:,} {what}" for what, before, left in sizes if 2 * left < before]
        if not lost:
            return
        causes = [match.cause for match in (self.users, self.songs) if match.cause]
        why = f"; likely cause: {causes[0]}" if causes else ""
        raise InputError(
            f"of the plays that the factors were fitted on, {' and '.join(lost)} are left{why}. Look at the "
            "plays; --force goes on with them"
        )


def starting_factors(
    before: Factors,
    plays: PlayCounts,
    drawn: NDArray[np.float32],
    *,
    n_threads: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return user and song factors to begin with: rows that ``before`` knows are its own.

    A song that it does not know is folded in from the users that it knows; one that none of these played
    takes its row of ``drawn``, as every song of a cold start does. New users have zeros: the first half-sweep
    solves them.

    Parameters
    ----------
    before : Factors
    plays : PlayCounts
        Of today.
    drawn : ndarray of shape (n_songs, n_factors), float32
        Random factors; zeros for songs without plays.
    n_threads : int or None
    """
    user_at = places(plays.user_ids, {user: row for row, user in enumerate(before.user_ids)})
    song_at = places(plays.song_ids, {song: row for row, song in enumerate(before.song_ids)})
    users, songs = _taken(before.user_factors, user_at), _taken(before.song_factors, song_at)
    has_plays = drawn.any(axis=1)
    songs[~has_plays] = 0
    new = np.flatnonzero(has_plays & ~songs.any(axis=1))
    listeners = in_columns(plays.counts[:, new].T.tocsr(), user_at, len(before.user_ids))
    songs[new] = before.fold_in_songs(listeners, n_threads=n_threads)
    alone = new[~songs[new].any(axis=1)]
    songs[alone] = drawn[alone]
    return users, songs


def _taken(factors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    taken = np.zeros((len(rows), factors.shape[1]), np.float32)
    known = rows >= 0
    taken[known] = factors[rows[known]]
    return taken


def check_start(before: Factors, settings: Mapping[str, Any], heldout_songs: Sequence[str]) -> None:
    """Raise InputError where a factorization cannot start from factors, with what to do.

    They must minimise what it does, and have seen no plays of the songs that it is to be judged on.
    """
    names = ("n_factors", *OBJECTIVE)
    found = {name: getattr(before, name) for name in OBJECTIVE}
    found["n_factors"] = before.song_factors.shape[1]
    check_settings(
        {name: settings[name] for name in names},
        found,
        "the factors to start from were made",
        remedy="give their settings, or start without them",
    )
    if seen := set(heldout_songs).intersection(before.song_ids[before.has_plays]):
        raise InputError(
            f"the factors to start from have seen plays of {len(seen)} of the {len(heldout_songs)} songs "
            f"that are held out, as {min(seen)}: start from factors of this split, or without any"
        )


def crc32_of(before: Factors) -> int:
    """Return what tells factors apart."""
    return zlib.crc32(before.song_factors.data, zlib.crc32(before.user_factors.data))
