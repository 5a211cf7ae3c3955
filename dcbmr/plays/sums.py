"""Plays of users and songs, summed block by block: as large as their pairs, however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array, csr_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCKS_MERGED = 16  # blocks, at least, whose ids are gathered before they are made one table again
_ROWS_ADDED = 1 << 22  # rows, at least, that are gathered before they are added


class PlaySums:
    """Who played what how often, of blocks of rows.

    Ids are numbered in the order of their first appearance; counts are summed in float64.
    """

    def __init__(self) -> None:
        self.users, self.songs = Ids(), Ids()
        self._counts: list[NDArray[np.float32]] = []
        self._n_gathered = 0
        self._sum: Any = csr_array((0, 0))

    def add(self, block: Mapping[str, Any], counts: NDArray[np.float32]) -> None:
        """Add rows: their user and song, as DictionaryArrays of Arrow, and a count of each."""
        self.users.add(block["user"])
        self.songs.add(block["song"])
        self._counts.append(counts)
        self._n_gathered += len(counts)
        # Sums grow by a quarter, at least, so that all additions together cost a few of the last.
        if self._n_gathered >= max(_ROWS_ADDED, self._sum.nnz // 4):
            self._merge()

    def _merge(self) -> None:
        users, songs = self.users.take(), self.songs.take()
        shape = (len(self.users), len(self.songs))
        values = np.concatenate([np.empty(0, np.float32), *self._counts]).astype(np.float64)
        block = csr_array(coo_array((values, (users, songs)), shape=shape))
        self._counts, self._n_gathered = [], 0
        self._sum.resize(shape)
        self._sum = self._sum + block if self._sum.nnz else block

    def finish(self) -> tuple[list[str], list[str], csr_array]:
        """Return ids of users, ids of songs and counts (n_users, n_songs) float32, and let go of them."""
        total = self.total()
        counts = csr_array((total.data.astype(np.float32), total.indices, total.indptr), shape=total.shape)
        return self.users.ids(), self.songs.ids(), counts

    def total(self) -> csr_array:
        """Return the sums of all rows, (n_users, n_songs) float64, and let go of them."""
        self._merge()
        total: csr_array = self._sum
        self._sum = csr_array((0, 0))
        total.sum_duplicates()
        return total


class Ids:
    """Numbers for ids, in the order of their first appearance, out of dictionary-encoded blocks."""

    def __init__(self) -> None:
        self._pending: list[Any] = []  # DictionaryArray
        self._n_pending = 0  # entries in their dictionaries
        self._known: Any = pa.array([], pa.string())
        self._codes: list[NDArray[np.int32]] = []

    def __len__(self) -> int:
        return len(self._known)

    def add(self, block: Any) -> None:
        """Add the ids of rows, a DictionaryArray of Arrow."""
        self._pending.append(block)
        self._n_pending += len(block.dictionary)
        # As many as a quarter of what is known, so that all tables together cost a few of the last.
        if len(self._pending) >= _BLOCKS_MERGED and 4 * self._n_pending >= len(self._known):
            self._merge()

    def add_table(self, table: Any) -> None:
        """Add ids, each of which is there once, as an array of Arrow."""
        rows = pa.array(np.arange(len(table), dtype=np.int32))
        self.add(pa.DictionaryArray.from_arrays(rows, table))

    def _merge(self) -> None:
        if not self._pending:
            return
        # What is known comes first, so that its numbers stay what they are.
        known = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self._known)
        merged: Any = pa.chunked_array([known, *self._pending]).unify_dictionaries()
        self._codes += [chunk.indices.to_numpy() for chunk in merged.chunks[1:]]
        self._known = merged.chunks[-1].dictionary
        self._pending, self._n_pending = [], 0

    def take(self) -> NDArray[np.int32]:
        """Return the numbers of the rows that were added since the last time."""
        self._merge()
        codes, self._codes = self._codes, []
        return np.concatenate([np.empty(0, np.int32), *codes])

    def table(self) -> Any:
        """Return the ids, by their numbers, as an array of Arrow."""
        self._merge()
        return self._known

    def ids(self) -> list[str]:
        """Return the ids, by their numbers."""
        return list(self._known.to_pylist())
