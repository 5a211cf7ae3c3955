"""Songs with planted factors, small enough to fit in a second."""

from __future__ import annotations

from collections.abc import Sequence
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
    that their factors point at. Kinds of counts are sparse, as they are in a model. The arrays of the target
    are read-only, those of the features are yours.

    Parameters
    ----------
    kind : str
        Kind of the features: ``mel``, ``bow_pca``, or another that is installed.
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
        features = MemoryFeatures(cast(Any, kind), song_ids, frames)
    elif is_sparse(kind):
        counts = csr_array(rng.poisson(np.exp(1 + 1.5 * means / np.abs(means).max())).astype(np.float32))
        features = VectorFeatures(kind, song_ids, counts)
    else:
        noise = 0.1 * rng.standard_normal(means.shape).astype(np.float32)
        features = VectorFeatures(kind, song_ids, means + noise)
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


def is_sparse(kind: str) -> bool:
    """Whether the vectors of a kind come as a sparse matrix: those that are counts do."""
    return np.issubdtype(np.dtype(find_kind(kind).dtype), np.integer)


def subset(features: SongFeatures, rows: NDArray[np.int64]) -> SongFeatures:
    """Return the same features for some of the songs only."""
    return made_of(features, parts_of(features, rows), [features.song_ids[row] for row in rows])


def subset_of_target(target: FactorTarget, rows: NDArray[np.int64]) -> FactorTarget:
    """Return the same target for some of the songs only."""
    return FactorTarget(
        song_factors=target.song_factors[rows],
        user_factors=target.user_factors,
        surplus=target.surplus[rows],
        groups=None if target.groups is None else target.groups[rows],
        validation=target.validation[rows],
    )


def parts_of(features: SongFeatures, rows: NDArray[np.int64] | None = None) -> Any:
    """Return what features hold, for all songs or some: the vectors, or a list of the frames of each."""
    if find_kind(features.kind).shape == "vectors":
        return features.vectors() if rows is None else features.vectors()[rows]
    return [features.frames(int(row)) for row in (range(len(features.song_ids)) if rows is None else rows)]


def made_of(features: SongFeatures, parts: Any, song_ids: Sequence[str] | None = None) -> SongFeatures:
    """Return features of the same kind that hold others."""
    kind: Any = features.kind
    song_ids = features.song_ids if song_ids is None else song_ids
    return (MemoryFeatures if isinstance(parts, list) else VectorFeatures)(kind, song_ids, parts)
