"""The best songs of many users: what is there to choose from, and how many of an artist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.ranking.topk import TopSongs
from dcbmr.recommendation.per_artist import best_per_artist
from dcbmr.recommendation.pool import Pool


@dataclass(frozen=True, eq=False)
class Choice:
    """The songs to choose from.

    Attributes
    ----------
    pool : Pool
    n_per_artist : int or None
        At most so many songs of an artist in a list.
    artist_of : ndarray of shape (n_songs,), int64, or None
        The artist of each song, as a number, where they count.
    """

    pool: Pool
    n_per_artist: int | None = None
    artist_of: NDArray[np.int64] | None = None

    def best(
        self, users: NDArray[np.float32], excluded: csr_array | None, *, k: int, n_threads: int | None
    ) -> TopSongs:
        """Return the best songs of each user, none for one without a vector; ``excluded`` songs left out.

        Parameters
        ----------
        users : ndarray of shape (n_users, width), float32
        excluded : csr_array of shape (n_users, n_songs), or None
        k : int
        n_threads : int or None
        """
        if self.n_per_artist is None or self.artist_of is None:
            top = self.pool.top(users, k=k, excluded=excluded, n_threads=n_threads)
        else:

            def best(queries: NDArray[np.int64], n: int) -> TopSongs:
                some = None if excluded is None else excluded[queries]
                return self.pool.top(users[queries], k=n, excluded=some, n_threads=n_threads)

            top = best_per_artist(best, len(users), k=k, n=self.n_per_artist, artist_of=self.artist_of)
        # To a user without plays no song is better than another.
        nobody = ~users.any(axis=1)
        top.songs[nobody], top.scores[nobody] = -1, np.nan
        return top
