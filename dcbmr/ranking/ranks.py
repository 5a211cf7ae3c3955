"""Where the held-out songs of each user stand among the candidates.

All that a metric of ranks needs is one number for each held-out song: how many of the songs that its user
does not hold out score above it. Nothing is sorted, and the matrix of all users by all songs never exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.progress import Progress
from dcbmr.base.threads import resolve_n_threads
from dcbmr.ranking.blocks import Rows, blocks_of_users, songs_of_users
from dcbmr.ranking.topk import SongIndex, TopSongs

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine

    _Songs = tuple[NDArray[np.int64], NDArray[np.int32]]  # indptr and indices
    _Block = tuple[slice, NDArray[np.float32], _Songs, _Songs, int]
    _Ranked = tuple[slice, tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]


@dataclass(frozen=True, eq=False)
class HeldoutRanks:
    """The ranks of every held-out song of every user, a user's songs the best first.

    Ranks are distinct. Of songs with equal scores those that are not held out come first, so that a score
    without information earns nothing; of held-out songs, the one with the lower row.

    Attributes
    ----------
    indptr : ndarray of shape (n_users + 1,), int64
        The songs of user u are ``indptr[u]`` to ``indptr[u + 1]``, at least one, of the arrays below.
    songs : ndarray of shape (n_plays,), int32
        Rows of the held-out songs among the songs that were scored.
    above, level : ndarray of shape (n_plays,), int64
        Candidates that are not held out and that score more, or the same.
    n_candidates : ndarray of shape (n_users,), int64
        Songs that each user's held-out songs are ranked among, themselves included.
    """

    indptr: NDArray[np.int64]
    songs: NDArray[np.int32]
    above: NDArray[np.int64]
    level: NDArray[np.int64]
    n_candidates: NDArray[np.int64]

    @cached_property
    def n_heldout(self) -> NDArray[np.int64]:
        """Held-out songs of each user, (n_users,)."""
        return np.diff(self.indptr)

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """The user of each held-out song, (n_plays,), from 0 to n_users - 1."""
        return np.repeat(np.arange(len(self.n_heldout)), self.n_heldout)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """How manieth of its user's held-out songs each one is, (n_plays,), from 1."""
        return np.arange(1, len(self.songs) + 1) - np.repeat(self.indptr[:-1], self.n_heldout)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """The rank of each held-out song among its user's candidates, (n_plays,), from 1."""
        return self.above + self.level + self.places

    def sum_by_user(self, values: NDArray[Any]) -> NDArray[Any]:
        """Add up what belongs to the held-out songs (n_plays,) for each user (n_users,)."""
        return np.add.reduceat(values, self.indptr[:-1])

    def only(self, plays: NDArray[np.bool_]) -> HeldoutRanks:
        """Return the ranks as they were if each user held out only these songs of a mask (n_plays,).

        The user's other held-out songs are no candidates then, as if they were in training. Users without a
        song are gone.
        """
        n = self.sum_by_user(plays.astype(np.int64))
        kept = n > 0
        return HeldoutRanks(
            np.concatenate([[0], np.cumsum(n[kept])]),
            self.songs[plays],
            self.above[plays],
            self.level[plays],
            (self.n_candidates - self.n_heldout + n)[kept],
        )


def rank_heldout(
    users: Rows,
    songs: NDArray[np.float32],
    heldout: csr_array,
    excluded: csr_array,
    *,
    n_listed: int,
    n_threads: int,
    progress: Progress,
    engine: RayEngine | None = None,
) -> tuple[HeldoutRanks, TopSongs]:
    """Rank the held-out songs of each user by ``users @ songs.T`` among the songs that are not excluded.

    The best ``n_listed`` of these songs come out of the same pass over the scores.

    Parameters
    ----------
    users : ndarray or csr_array of shape (n_users, n_factors), float32
    songs : ndarray of shape (n_songs, n_factors), float32
    heldout, excluded : csr_array of shape (n_users, n_songs)
        Canonical, and without a pair that both have; every user holds out a song.
    engine : RayEngine, optional
        Rank on its workers.
    """
    index = SongIndex(songs)
    ranked = np.empty(heldout.nnz, np.int32)
    above, level = np.empty((2, heldout.nnz), np.int64)
    shape = users.shape[0], min(n_listed, len(songs))
    top = TopSongs(np.empty(shape, np.int64), np.empty(shape, np.float32))
    tasks = (
        (rows, block, songs_of_users(heldout, rows), songs_of_users(excluded, rows), top.songs.shape[1])
        for rows, block in blocks_of_users(users, songs, n_threads)
    )
    found: Iterator[_Ranked]
    if engine is None:
        found = (_rank_block(task, index, n_threads) for task in tasks)
    else:
        found = engine.map(_rank_block, tasks, engine.share(index), what="users")
    for rows, of_plays, of_users in found:
        mine = slice(heldout.indptr[rows.start], heldout.indptr[rows.stop])
        ranked[mine], above[mine], level[mine] = of_plays
        top.songs[rows], top.scores[rows] = of_users
        progress("rank", rows.stop, users.shape[0], {})
    n_candidates = len(songs) - np.diff(excluded.indptr)
    return HeldoutRanks(heldout.indptr.astype(np.int64), ranked, above, level, n_candidates), top


def _rank_block(task: _Block, index: SongIndex, n_threads: int | None = None) -> _Ranked:
    """Return the ranked songs of a block of users, what is above and level, and the best songs and scores."""
    rows, users, heldout, excluded, n_listed = task
    n_plays, shape = len(heldout[1]), (len(users), n_listed)
    ranked, above, level = np.empty(n_plays, np.int32), *np.empty((2, n_plays), np.int64)
    songs, scores = np.empty(shape, np.int64), np.empty(shape, np.float32)
    threads = resolve_n_threads(n_threads)
    index.scores.rank(users, *heldout, *excluded, ranked, above, level, songs, scores, threads)
    return rows, (ranked, above, level), (songs, scores)
