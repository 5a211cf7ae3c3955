"""Users and what belongs to them, block by block, as the kernels take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.arrays import blocks

Rows: TypeAlias = NDArray[np.float32] | csr_array
"""Factors of users or queries, (n_rows, n_factors) float32; sparse where most are zero."""

# Floats of a block of sparse rows that is made dense: 64 MiB.
_DENSE = 1 << 24


def blocks_of_users(
    users: Rows, songs: NDArray[np.float32], n_threads: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Cut users into blocks of about a second of work, so that Ctrl-C and the progress are heard."""
    size = max(1024, int(2e10) * n_threads // songs.size)
    if isinstance(users, csr_array):
        size = min(size, max(1, _DENSE // songs.shape[1]))
    for rows in blocks(users.shape[0], size):
        block = users[rows]
        yield rows, block.toarray() if isinstance(block, csr_array) else block


def songs_of_users(matrix: csr_array, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return indptr and indices of a block of rows."""
    indptr = matrix.indptr[rows.start : rows.stop + 1].astype(np.int64)
    return indptr - indptr[0], matrix.indices[indptr[0] : indptr[-1]].astype(np.int32)
