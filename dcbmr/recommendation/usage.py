"""Songs by who would play them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.arrays import blocks, unit_rows


def usage_vectors(
    user_factors: NDArray[np.float32], song_factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return unit vectors of songs, (n_songs, width), whose products are the cosines of ``X @ y``."""
    gramian = np.zeros((user_factors.shape[1],) * 2)
    for rows in blocks(len(user_factors), 65536):
        block = np.asarray(user_factors[rows])
        gramian += block.T @ block
    # Any root of the gramian has the same cosines; this one exists for a singular gramian too.
    values, vectors = np.linalg.eigh(gramian)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).astype(np.float32)
    return unit_rows(song_factors @ root)
