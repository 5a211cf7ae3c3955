"""Songs with planted factors, small enough to fit in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.sparse import csr_array

from dcbmr.contract.contract import FactorTarget, SongFeatures
from dcbmr.contract.registry import find_kind
from dcbmr.features.memory import MemoryFeatures, VectorFeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SONGS, N_USERS, N_FACTORS = 48, 30, 4
N_DIMS = {"frames": 128, "vectors": 12}


def planted_world(kind: str, *, random_state: int = 0) -> tuple[SongFeatures, FactorTarget]:
    """Return features of songs and factors that follow from them, small enough to fit in a second.

    The factors are a linear function of a song's mean frame or vector, plus noise; users play the songs
    that their factors point at. All arrays are read-only.

    Parameters
    ----------
    kind : str
        Kind of the features: ``mel``, ``mfcc``, ``bow``, ``bow_pca``.
    random_state : int
        Seed.
    """
    rng = np.random.default_rng(random_state)
    described = find_kind(kind)
    n_dims = N_DIMS[described.shape]
    traits = rng.standard_normal((N_SONGS, N_FACTORS)).astype(np.float32)
    loadings = rng.standard_normal((N_FACTORS, n_dims)).astype(np.float32)
    song_ids = [f"song {i}" for i in range(N_SONGS)]
    means = traits @ loadings
    features: SongFeatures
    if described.shape == "frames":
        # 2 to 5 s at 43 frames a second: some songs are shorter than a window of 3 s.
        lengths = rng.integers(86, 215, N_SONGS)
        frames = [
            (2 + 0.5 * mean + 0.3 * rng.standard_normal((length, n_dims))).astype(np.float32)
            for mean, length in zip(means, lengths, strict=True)
        ]
        features = MemoryFeatures(cast(Any, kind), song_ids, list(map(_read_only, frames)))
    elif np.issubdtype(np.dtype(described.dtype), np.integer):
        counts = csr_array(rng.poisson(np.exp(1 + 1.5 * means / np.abs(means).max())).astype(np.float32))
        for part in (counts.data, counts.indices, counts.indptr):
            _read_only(part)
        features = VectorFeatures(kind, song_ids, counts)
    else:
        noise = 0.1 * rng.standard_normal(means.shape).astype(np.float32)
        features = VectorFeatures(kind, song_ids, _read_only(means + noise))
    users = rng.standard_normal((N_USERS, N_FACTORS)).astype(np.float32)
    songs = (0.3 * traits + 0.02 * rng.standard_normal(traits.shape)).astype(np.float32)
    scores = songs @ users.T
    plays = scores > np.quantile(scores, 0.85, axis=0)
    target = FactorTarget(
        song_factors=songs,
        user_factors=users,
        surplus=csr_array(np.where(plays, 27.6, 0).astype(np.float32)),
        groups=np.arange(N_SONGS) // 3,
        validation=np.arange(N_SONGS) // 3 % 5 == 0,
    )
    return features, target


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def subset(features: SongFeatures, rows: NDArray[np.int64]) -> SongFeatures:
    """Return the same features for some of the songs only."""
    song_ids = [features.song_ids[row] for row in rows]
    kind: Any = features.kind
    if find_kind(kind).shape == "frames":
        return MemoryFeatures(kind, song_ids, [features.frames(int(row)) for row in rows])
    return VectorFeatures(kind, song_ids, features.vectors()[rows])
