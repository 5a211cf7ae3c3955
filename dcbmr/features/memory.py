"""Features that need no store: frames or vectors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from dcbmr.audio.frames import Frames, Kind
from dcbmr.errors import InputError


class _FrameFeatures:
    """SongFeatures of shape "frames" over one array a song."""

    kind: str
    n_dims: int
    dtype: np.dtype[Any]
    n_frames: NDArray[np.int64]

    def __init__(self, song_ids: Sequence[str]) -> None:
        self.song_ids = song_ids

    def _rows(self, song: int) -> NDArray[Any]:
        raise NotImplementedError

    def vectors(self) -> NDArray[np.float32]:
        """Raise: frames are no vectors."""
        raise InputError(f"features of kind {self.kind!r} have frames, not one vector a song")

    def frames(self, song: int) -> Frames:
        """Return the frames of row ``song``, (n_frames, n_dims) float32."""
        return np.asarray(self._rows(song), np.float32)

    def windows(
        self,
        songs: NDArray[np.int64],
        starts: NDArray[np.int64],
        length: int,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Return a window of each of ``songs``; see :meth:`dcbmr.SongFeatures.windows`."""
        songs, starts = np.asarray(songs, np.int64), np.asarray(starts, np.int64)
        shape = (len(songs), length, self.n_dims)
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype not in (np.float32, np.float16) or not out.flags.c_contiguous:
            raise InputError(
                f"out: wanted float32 or float16 of shape {shape}, C order, got {out.dtype} {out.shape}"
            )
        if len(starts) != len(songs):
            raise InputError(f"starts: wanted one of each of {len(songs)} songs, got {len(starts)}")
        empty = np.flatnonzero(self.n_frames[songs] == 0)
        if len(empty):
            raise InputError(f"song {self.song_ids[songs[empty[0]]]!r} has no frames to take a window of")
        self._read(songs, starts % self.n_frames[songs], out)
        return out

    def _read(self, songs: NDArray[np.int64], starts: NDArray[np.int64], out: NDArray[np.floating]) -> None:
        """Fill ``out`` (B, length, n_dims) with windows that start within their songs."""
        length = out.shape[1]
        for window, song, start in zip(out, songs.tolist(), starts.tolist(), strict=True):
            rows = self._rows(song)
            if start + length <= len(rows):
                window[...] = rows[start : start + length]
            else:
                window[...] = rows[np.arange(start, start + length) % len(rows)]


class MemoryFeatures(_FrameFeatures):
    """Frames in memory as :class:`dcbmr.SongFeatures`.

    Parameters
    ----------
    kind : str
        "mel", "mfcc", or another kind of shape "frames".
    song_ids : sequence of str
    frames : sequence of arrays of shape (n_frames, n_dims), float32
        One for each song.
    """

    def __init__(self, kind: Kind, song_ids: Sequence[str], frames: Sequence[ArrayLike]) -> None:
        super().__init__(tuple(song_ids))
        self._frames = [np.asarray(rows, np.float32) for rows in frames]
        shapes = {rows.shape[1:] for rows in self._frames}
        if len(self._frames) != len(self.song_ids):
            raise InputError(f"frames: {len(self._frames)} arrays for {len(self.song_ids)} songs")
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise InputError("frames: wanted arrays of shape (n_frames, n_dims), all of one n_dims")
        self.kind = kind
        self.n_dims = shapes.pop()[0] if shapes else 0
        self.dtype = np.dtype(np.float32)
        self.n_frames = np.array([len(rows) for rows in self._frames], np.int64)

    def _rows(self, song: int) -> NDArray[Any]:
        return self._frames[song]


class VectorFeatures:
    """Features with one vector a song, in memory.

    Parameters
    ----------
    kind : str
        "bow", "bow_pca", or another kind of shape "vectors".
    song_ids : sequence of str
    matrix : ndarray or csr_array of shape (n_songs, n_dims), float32
        One row for each song; not copied.
    is_embedding : bool
        Its dimensions are coordinates in one space: see :class:`dcbmr.FeatureSpec`.
    """

    def __init__(
        self,
        kind: str,
        song_ids: Sequence[str],
        matrix: NDArray[np.float32] | csr_array,
        *,
        is_embedding: bool = False,
    ) -> None:
        if len(song_ids) != matrix.shape[0]:
            raise InputError(f"{len(song_ids)} song ids, but {matrix.shape[0]} vectors")
        self.kind: str = kind
        self.song_ids = song_ids
        self.n_dims = int(matrix.shape[1])
        self.dtype: np.dtype[Any] = matrix.dtype
        self.n_frames: NDArray[np.int64] = np.ones(len(song_ids), np.int64)
        self.is_embedding = is_embedding
        self._matrix = matrix

    def vectors(self) -> NDArray[np.float32] | csr_array:
        """Return the vectors, (n_songs, n_dims)."""
        return self._matrix

    def frames(self, song: int) -> NDArray[Any]:
        """Refuse: there are no frames."""
        raise InputError(f"features of kind {self.kind!r} are one vector a song; they have no frames")

    def windows(
        self,
        songs: NDArray[np.int64],
        starts: NDArray[np.int64],
        length: int,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Refuse: there are no frames."""
        raise InputError(f"features of kind {self.kind!r} are one vector a song; they have no windows")
