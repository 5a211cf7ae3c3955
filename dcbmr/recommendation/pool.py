"""Some of a recommender's songs, to choose the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.ranking.topk import SongIndex, TopSongs


class Pool:
    """The songs to choose from, made ready once for many queries.

    Parameters
    ----------
    song_ids : sequence of str
        All songs.
    vectors : ndarray of shape (n_songs, width), float32
    allowed : ndarray of shape (n_songs,), bool
        Which of them can be chosen.

    Raises
    ------
    InputError
        None can.
    """

    def __init__(
        self, song_ids: Sequence[str], vectors: NDArray[np.float32], allowed: NDArray[np.bool_]
    ) -> None:
        self._song_ids = song_ids
        self._rows = np.flatnonzero(allowed)
        if not len(self._rows):
            raise InputError(
                "there is no song to choose from: give a feature store or audio files with songs that nobody "
                "has played, or other candidates"
            )
        self._index = SongIndex(vectors if allowed.all() else vectors[self._rows])

    def top(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        excluded: csr_array | None,
        n_threads: int | None,
        progress: Progress | None = None,
    ) -> TopSongs:
        """Return the ``k`` best songs of each query, in rows of all songs; so are columns of ``excluded``."""
        if excluded is not None and len(self._rows) < len(self._song_ids):
            excluded = excluded[:, self._rows]
        top = self._index.top(queries, k=k, excluded=excluded, n_threads=n_threads, progress=progress)
        np.copyto(top.songs, self._rows[top.songs], where=top.songs >= 0)
        return replace(top, song_ids=self._song_ids)
