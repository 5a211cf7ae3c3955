"""What every ranking asks of its factors, its cut-off and its plays, before a kernel sees them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse

from dcbmr.errors import InputError
from dcbmr.ranking.blocks import Rows


def checked_factors(
    user_factors: Any, song_factors: ArrayLike, name: str = "user_factors"
) -> tuple[Rows, NDArray[np.float32]]:
    """Return both as float32 in C order, users as CSR if they are sparse, without stored zeros.

    Raises
    ------
    InputError
        Unless they fit and their products are finite.
    """
    users: Any
    is_sparse = issparse(user_factors)
    if is_sparse:
        users = csr_array(user_factors).astype(np.float32)  # a copy: the caller's matrix is left alone
        users.sum_duplicates()
        users.eliminate_zeros()
    else:
        users = np.ascontiguousarray(user_factors, np.float32)
    songs = np.ascontiguousarray(song_factors, np.float32)
    largest = _largest_magnitude(name, users) * _largest_magnitude("song_factors", songs)
    if users.shape[1] != songs.shape[1]:
        raise InputError(
            f"{name} has {users.shape[1]} columns and song_factors {songs.shape[1]}; "
            "both must have one for each factor"
        )
    if largest * users.shape[1] > float(np.finfo(np.float32).max):
        raise InputError(f"{name} and song_factors are so large that scores overflow float32")
    return users, songs


def _largest_magnitude(name: str, factors: Rows) -> float:
    if factors.ndim != 2 or 0 in factors.shape:
        raise InputError(f"{name} must be a matrix that is not empty; its shape is {factors.shape}")
    largest = max(float(factors.max()), -float(factors.min()))
    if not np.isfinite(largest):
        if isinstance(factors, csr_array):
            finite = np.isfinite(factors.max(axis=1).toarray() - factors.min(axis=1).toarray()).ravel()
        else:
            finite = np.isfinite(factors).all(axis=1)
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"{name} must be finite; {len(bad)} of {factors.shape[0]} rows are not, the first is row {bad[0]}"
        )
    return largest


def checked_k(k: Any, name: str = "k") -> int:
    """Return ``k`` as an int; InputError unless it is a whole number of at least 1."""
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"{name} must be a whole number of at least 1; got {k!r}")
    return int(k)


def not_zero(matrix: Any, shape: tuple[int, int], name: str) -> csr_array:
    """Return ``matrix`` as CSR that stores what is not zero, each once; None is a matrix of zeros.

    The caller's is left alone.
    """
    rows = csr_array(shape, dtype=bool) if matrix is None else csr_array(matrix)
    if rows.shape != shape:
        raise InputError(f"{name} has shape {rows.shape}; wanted {shape}, users or queries by songs")
    if not rows.has_canonical_format or (rows.data == 0).any():
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    return rows
