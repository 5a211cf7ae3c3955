"""Vectors of several origins brought to one scale, as far as the training songs tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from dcbmr.base.arrays import blocks
from dcbmr.base.tensors import load_tensors, save_tensors
from dcbmr.errors import InputError
from dcbmr.features.seen import digests, seen

_BLOCK_ROWS = 4096


class Standardization:
    """Takes the mean off each dimension and scales them, so that their mean variance is one.

    Dimensions with units of their own are scaled one by one, to a variance of one each. Those of one space
    (embeddings, principal components, tags) differ in size on purpose: one number scales all, since one
    deviation for each would make as much of those that hardly vary. A dimension that is the same for all
    training songs becomes zero, whatever it is for others: nothing was learned of it.

    Attributes
    ----------
    mean_ : ndarray of shape (n_dims,), float32
    scale_ : ndarray of shape (n_dims,), float32
        What each is multiplied with; 0 for what does not vary.
    songs_ : ndarray of shape (n_songs,), uint64
        Digests of the songs that it was learned from, for :meth:`seen`.
    """

    def __init__(
        self, mean: NDArray[np.float32], scale: NDArray[np.float32], songs: NDArray[np.uint64]
    ) -> None:
        self.mean_, self.scale_, self.songs_ = mean, scale, songs

    @classmethod
    def fit(
        cls, vectors: NDArray[Any] | csr_array, song_ids: Iterable[str], *, one_by_one: bool = False
    ) -> Self:
        """Learn the means and the scales of the vectors of songs, (n_songs, n_dims)."""
        n_songs, n_dims = vectors.shape
        if not n_songs:
            raise InputError("there is no song to learn means and deviations of")
        total, squares = np.zeros(n_dims), np.zeros(n_dims)
        for rows in blocks(n_songs, _BLOCK_ROWS):
            total += dense(vectors[rows]).sum(axis=0, dtype=np.float64)
        mean = total / n_songs
        for rows in blocks(n_songs, _BLOCK_ROWS):
            squares += np.square(dense(vectors[rows]) - mean).sum(axis=0)
        variance = squares / n_songs
        # What is rounding of a constant is none.
        varies = np.sqrt(variance) > 1e-6 * np.abs(mean)
        scale = np.zeros(n_dims)
        if varies.any():
            scale[varies] = 1 / np.sqrt(variance[varies] if one_by_one else variance[varies].mean())
        return cls(mean.astype(np.float32), scale.astype(np.float32), digests(song_ids))

    def transform(
        self, vectors: NDArray[Any] | csr_array, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the vectors, standardized, in ``out`` of their shape if that is given."""
        out = np.empty(vectors.shape, np.float32) if out is None else out
        for rows in blocks(vectors.shape[0], _BLOCK_ROWS):
            np.multiply(dense(vectors[rows]) - self.mean_, self.scale_, out=out[rows])
        return out

    def seen(self, song_ids: Sequence[str]) -> list[str]:
        """Return those of ``song_ids`` that it was learned from."""
        return seen(song_ids, self.songs_)


def dense(rows: NDArray[Any] | csr_array) -> NDArray[np.float32]:
    """Return rows of a matrix of any kind as an array."""
    return rows.toarray().astype(np.float32) if issparse(rows) else np.asarray(rows, np.float32)


_TENSORS = ("mean", "scale", "songs")
_FILE = "standardization"


def save_standardizations(directory: Path, made: Sequence[Standardization]) -> None:
    """Write what was learned, in this order, beside what it belongs to."""
    tensors = {
        f"{name}{number:02}": getattr(one, f"{name}_") for number, one in enumerate(made) for name in _TENSORS
    }
    save_tensors(directory, tensors, {}, name=_FILE, format_version=1)


def load_standardizations(directory: Path, n: int) -> list[Standardization]:
    """Read the ``n`` that :func:`save_standardizations` wrote."""
    _, tensors = load_tensors(directory, name=_FILE, format_version=1)
    return [Standardization(*(tensors[f"{name}{number:02}"] for name in _TENSORS)) for number in range(n)]
