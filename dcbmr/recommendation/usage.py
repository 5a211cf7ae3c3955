"""The usage patterns of songs: who would play them, as far as the factors tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.arrays import unit_rows


def usage_vectors(
    user_factors: NDArray[np.float32], song_factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return unit vectors whose inner products are the cosines of the songs' usage patterns.

    A usage pattern is a song's score for every user, ``X @ y``: a vector as long as there are users. Its
    cosines are those of ``R.T @ y`` for any root R of ``X.T @ X``.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, width)
    song_factors : ndarray of shape (n_songs, width)

    Returns
    -------
    ndarray of shape (n_songs, width), float32
        Zeros for a song whose factors are zeros.
    """
    gramian = np.zeros((user_factors.shape[1],) * 2)
    for start in range(0, len(user_factors), 65536):
        block = np.asarray(user_factors[start : start + 65536])
        gramian += block.T @ block
    # This root exists for a singular gramian too.
    values, vectors = np.linalg.eigh(gramian)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).astype(np.float32)
    return unit_rows(song_factors @ root)
