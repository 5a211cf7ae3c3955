"""Who should like a song: the users with the highest scores for it, and the artists that they play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.arrays import blocks
from dcbmr.base.progress import Progress, silent
from dcbmr.ranking.topk import top_songs
from dcbmr.recommendation.recommender import Recommender

_N_LISTENERS = 50  # that speak for a song
_MOST_USERS = 20_000  # that listeners are looked for among
_BLOCK = 4096  # songs


@dataclass(frozen=True, eq=False)
class Users:
    """Users who play something.

    Attributes
    ----------
    vectors : ndarray of shape (n_users, width), float32
    plays : csr_array of shape (n_users, n_songs), float32
        Of the songs of the recommender.
    """

    vectors: NDArray[np.float32]
    plays: csr_array


def some_users(recommender: Recommender, random_state: int) -> Users:
    """Return the users of a recommender: of more than 20,000 as many, by chance."""
    every = np.asarray(recommender.user_ids, object)
    if len(every) > _MOST_USERS:
        every = np.random.default_rng(random_state).choice(every, _MOST_USERS, replace=False)
    vectors, plays = recommender.vectors_of(every), recommender.plays_of(every)
    active = np.flatnonzero(vectors.any(axis=1))
    return Users(vectors[active], plays[active])


def best_listeners(
    users: NDArray[np.float32],
    song_factors: NDArray[np.float32],
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Return the users with the highest scores for each song, (n_songs, 50) or all of them."""
    k = min(_N_LISTENERS, len(users))
    return top_songs(song_factors, users, k=k, n_threads=n_threads, progress=progress).songs


def artists_played(
    users: Users,
    listeners: NDArray[np.int64],
    artist_of: NDArray[np.int32],
    n_artists: int,
    *,
    k: int,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Return the artists that stand out in the plays of the listeners of each song, (n_songs, k).

    Artists are ordered by how far the number of these users who play them lies above what as many users by
    chance would give, in standard deviations; -1 where no more do.

    Parameters
    ----------
    users : Users
    listeners : ndarray of shape (n_songs, n_listeners), int64
        As of :func:`best_listeners`.
    artist_of : ndarray of shape (n_songs,), int32
        The artist of each song that users play, -1 for none.
    n_artists : int
    k : int
        Artists for each song.
    progress : Progress, optional
        Told of each block of songs; it may raise to stop.
    """
    report = progress or silent
    known = np.flatnonzero(artist_of >= 0)
    to_artist = csr_array(
        (np.ones(len(known), np.float32), (known, artist_of[known])), shape=(len(artist_of), n_artists)
    )
    plays_artist = csr_array(users.plays @ to_artist)
    plays_artist.data[:] = 1
    n_songs, n_listeners = listeners.shape
    share = np.asarray(plays_artist.sum(axis=0)).ravel() / len(users.vectors)
    spread = np.sqrt(np.maximum(n_listeners * share * (1 - share), 0.5))
    found = np.full((n_songs, k), -1, np.int32)
    for rows in blocks(n_songs, _BLOCK):
        n = rows.stop - rows.start
        listen = csr_array(
            (
                np.ones(n * n_listeners, np.float32),
                listeners[rows].ravel(),
                np.arange(0, n * n_listeners + 1, n_listeners),
            ),
            shape=(n, len(users.vectors)),
        )
        n_players = csr_array(listen @ plays_artist)
        n_players.sort_indices()
        above = (n_players.data - n_listeners * share[n_players.indices]) / spread[n_players.indices]
        for row, (begin, end) in enumerate(zip(n_players.indptr[:-1], n_players.indptr[1:], strict=True)):
            mine = above[begin:end]
            best = np.argpartition(-mine, min(k, len(mine)) - 1)[:k] if len(mine) else np.arange(0)
            best = best[np.lexsort((best, -mine[best]))]
            best = best[mine[best] > 0]
            found[rows.start + row, : len(best)] = n_players.indices[begin + best]
        report("artists", rows.stop, n_songs, {})
    return found
