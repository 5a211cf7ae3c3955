"""The best songs of each query, exactly, without a matrix of all queries by all songs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray

from dcbmr._core import SongScores
from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.ranking.blocks import blocks_of_users, songs_of_users
from dcbmr.ranking.checks import checked_factors, checked_k, not_zero


@dataclass(frozen=True, eq=False, repr=False)
class TopSongs:
    """The best songs of each query, the best first; of equal scores, the song with the lower row first.

    ``top[query]`` is the list of songs and scores of a query: ``[("song12", 0.93), ...]``. ``k`` is at most
    the number of songs.

    Attributes
    ----------
    songs : ndarray of shape (n_queries, k), int64
        Rows of the songs; -1 where there are fewer than ``k`` songs to choose from.
    scores : ndarray of shape (n_queries, k), float32
        NaN where there is no song.
    song_ids : sequence of str, or None
        The ids of all songs, by row; None where they have none, and are called by their rows' numbers.
    """

    songs: NDArray[np.int64]
    scores: NDArray[np.float32]
    song_ids: Sequence[str] | None = None

    def __repr__(self) -> str:
        return f"TopSongs(n_queries={len(self)}, k={self.songs.shape[1]})"

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, query: int) -> list[tuple[str, float]]:
        ids = self.song_ids
        pairs = zip(self.songs[query].tolist(), self.scores[query].tolist(), strict=True)
        return [(str(row) if ids is None else ids[row], score) for row, score in pairs if row >= 0]

    def __iter__(self) -> Iterator[list[tuple[str, float]]]:
        return (self[query] for query in range(len(self)))


def top_songs(
    queries: ArrayLike | sparray,
    song_factors: ArrayLike,
    *,
    k: int = 10,
    excluded: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> TopSongs:
    """Return the ``k`` songs with the highest ``queries @ song_factors.T`` for each query.

    Parameters
    ----------
    queries : array_like or sparse array of shape (n_queries, n_factors)
        Used as float32.
    song_factors : array_like of shape (n_songs, n_factors)
    k : int
        Songs for each query.
    excluded : sparse or dense array of shape (n_queries, n_songs), optional
        Not zero where a query is not to get a song.
    n_threads : int, optional
        Threads; every core by default. The result does not depend on it.
    progress : Progress, optional
        Told of each block of queries; it may raise to stop.

    Returns
    -------
    TopSongs

    Raises
    ------
    InputError
        Shapes that do not fit, numbers that are not finite or so large that scores overflow.
    """
    return SongIndex(song_factors).top(
        queries, k=k, excluded=excluded, n_threads=n_threads, progress=progress
    )


class SongIndex:
    """Songs for who asks again and again: to pack 400,000 takes longer than to find a query's best of them.

    Parameters
    ----------
    song_factors : array_like of shape (n_songs, n_factors)
        Used as float32, and not to be changed afterwards.
    """

    def __init__(self, song_factors: ArrayLike) -> None:
        self.song_factors = np.ascontiguousarray(song_factors, np.float32)

    @cached_property
    def scores(self) -> SongScores:
        """The songs as the kernel takes them."""
        return SongScores(self.song_factors)

    def __getstate__(self) -> dict[str, NDArray[np.float32]]:
        return {"song_factors": self.song_factors}  # packed anew where it is unpickled

    def top(
        self,
        queries: ArrayLike | sparray,
        *,
        k: int = 10,
        excluded: Any = None,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> TopSongs:
        """Return the ``k`` best songs of each query; see :func:`top_songs`."""
        checked, songs = checked_factors(queries, self.song_factors, "queries")
        k = min(checked_k(k), len(songs))
        threads = resolve_n_threads(n_threads)
        report = progress or silent
        n_queries = checked.shape[0]
        without = not_zero(excluded, (n_queries, len(songs)), "excluded")
        best = TopSongs(np.empty((n_queries, k), np.int64), np.empty((n_queries, k), np.float32))
        for rows, block in blocks_of_users(checked, songs, threads):
            self.scores.top(
                block, *songs_of_users(without, rows), best.songs[rows], best.scores[rows], threads
            )
            report("rank", rows.stop, n_queries, {})
        return best
