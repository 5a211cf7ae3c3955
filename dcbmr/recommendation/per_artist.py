"""Lists with at most so many songs of an artist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcbmr.errors import InputError
from dcbmr.ranking.topk import TopSongs


@dataclass(frozen=True)
class PerArtist:
    """At most ``n`` songs of an artist in a list; a song whose artist is not known is one of its own.

    Attributes
    ----------
    n : int
    artists : mapping of str to str
        The artist of each song.

    Raises
    ------
    InputError
        ``n`` is less than 1.
    """

    n: int
    artists: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"at most {self.n} songs of an artist are none at all; wanted 1 or more")

    def numbers(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the artist of each song as a number, (n_songs,)."""
        # A song and an artist may be called alike.
        number: dict[tuple[str, bool], int] = {}
        artists = ((self.artists[song], True) if song in self.artists else (song, False) for song in song_ids)
        return np.array([number.setdefault(artist, len(number)) for artist in artists], np.int64)


def best_per_artist(
    best: Callable[[NDArray[np.int64], int], TopSongs],
    n_queries: int,
    *,
    k: int,
    n: int,
    artist_of: NDArray[np.int64],
) -> TopSongs:
    """Return the ``k`` best songs of each query, passing over those of an artist who has ``n`` before.

    Parameters
    ----------
    best : callable
        ``best(queries, k)`` gives the best songs of some queries, whatever their artists.
    n_queries, k, n : int
    artist_of : ndarray of shape (n_songs,), int64
        The artist of each song, as a number.
    """
    songs = np.full((n_queries, k), -1, np.int64)
    scores = np.full((n_queries, k), np.nan, np.float32)
    queries, asked = np.arange(n_queries), 2 * k
    while True:
        top = best(queries, asked)
        kept = (top.songs >= 0) & (_place_in_artist(artist_of[top.songs]) < n)
        place = np.cumsum(kept, axis=1) - 1
        query, column = np.nonzero(kept & (place < k))
        songs[queries[query], place[query, column]] = top.songs[query, column]
        scores[queries[query], place[query, column]] = top.scores[query, column]
        # There may be more for those who got too few of as many as were asked for.
        short = (kept.sum(axis=1) < k) & (top.songs[:, -1] >= 0)
        if top.songs.shape[1] < asked or not short.any():
            return replace(top, songs=songs, scores=scores)
        queries, asked = queries[short], 4 * asked


def _place_in_artist(artists: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many in front of each number, in its row, are the same, (n_queries, n)."""
    order = np.argsort(artists, axis=1, kind="stable")
    in_order = np.take_along_axis(artists, order, axis=1)
    columns = np.broadcast_to(np.arange(artists.shape[1]), artists.shape)
    first = np.ones(artists.shape, bool)
    first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    begin = np.maximum.accumulate(np.where(first, columns, 0), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, columns - begin, axis=1)
    return place
