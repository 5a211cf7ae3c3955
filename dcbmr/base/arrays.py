"""Small things that several modules need of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.errors import InputError


def blocks(n: int, size: int) -> Iterator[slice]:
    """Cut ``n`` rows into slices of at most ``size``."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))


def read_tensors(file: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Read the named tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: Mapping[str, NDArray[Any]] = load_file(file)
        return {name: tensors[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{file} is missing or damaged: {type(error).__name__}: {error}") from error


def rows_of(song_ids: Iterable[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each of ``wanted`` in ``song_ids``; all must be there."""
    row = {song: i for i, song in enumerate(song_ids)}
    return np.fromiter((row[song] for song in wanted), np.int64, len(wanted))


def places(song_ids: Iterable[str], place: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the place of each song, -1 where it has none."""
    return np.array([place.get(song, -1) for song in song_ids], np.int64)


def in_columns(matrix: csr_array, place: NDArray[Any], n_columns: int) -> csr_array:
    """Return ``matrix`` with column j at ``place[j]`` of ``n_columns``; one whose place is -1 is left out."""
    to = place[matrix.indices]
    there = to >= 0
    kept = np.concatenate([[0], np.cumsum(there)])[matrix.indptr]
    return csr_array((matrix.data[there], to[there], kept), shape=(matrix.shape[0], n_columns))


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows scaled to length one; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, length, where=length > 0, out=np.zeros_like(vectors))
    return unit


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def read_only_csr(matrix: csr_array) -> csr_array:
    """Return a matrix of read-only views; a copy only where its indices are not sorted yet."""
    # What needs sorted indices would sort them in place, which is too late when they are read-only.
    ordered = matrix if matrix.has_sorted_indices else matrix.sorted_indices()
    parts = tuple(map(read_only, (ordered.data, ordered.indices, ordered.indptr)))
    view = csr_array(parts, shape=matrix.shape)
    view.has_sorted_indices = True
    for part in (view.data, view.indices, view.indptr):  # scipy may have taken smaller indices
        part.flags.writeable = False
    return view
