"""The steps of k-means over frames: first codewords, assignment, and the means that follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr import _core
from dcbmr.base.arrays import blocks
from dcbmr.errors import InputError

# Frames handed to a kernel at once: Ctrl-C is heard, and a bag of words of many short songs is filled.
BLOCK_FRAMES = 1 << 16
# Frames a codeword from which the first codewords are drawn.
_SEED_FRAMES = 64


def inverse_deviations(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one over the standard deviation of each dimension, (n_dims,), and 0 for what does not vary.

    In two passes over blocks, in float64: cepstra lie far from zero.
    """
    sums, squares = np.zeros((2, frames.shape[1]))
    for rows in blocks(len(frames), BLOCK_FRAMES):
        sums += frames[rows].sum(axis=0, dtype=np.float64)
    mean = sums / len(frames)
    for rows in blocks(len(frames), BLOCK_FRAMES):
        squares += np.square(frames[rows] - mean).sum(axis=0)
    deviations = np.sqrt(squares / len(frames))
    # What is rounding of a constant is none.
    varies = deviations > 1e-6 * np.abs(mean)
    return np.divide(1, deviations, out=np.zeros_like(deviations), where=varies).astype(np.float32)


def assign_frames(
    words: NDArray[np.float32],
    scale: NDArray[np.float32] | None,
    frames: NDArray[np.float32],
    labels: NDArray[np.int32],
    distances: NDArray[np.float32],
    n_threads: int,
) -> float:
    """Find the codeword of every frame and return the inertia."""
    search = _core.NearestWord(words, scale)
    inertia = 0.0
    for rows in blocks(len(frames), BLOCK_FRAMES):
        search.assign(frames[rows], labels[rows], distances[rows], n_threads)
        inertia += float(distances[rows].sum(dtype=np.float64))
    return inertia


def first_words(
    frames: NDArray[np.float32],
    scale: NDArray[np.float32] | None,
    n_words: int,
    rng: np.random.Generator,
    n_threads: int,
) -> NDArray[np.float32]:
    """Draw frames to start from, each batch in proportion to the squared distance from those before.

    With one frame a batch this is k-means++ (Arthur and Vassilvitskii, 2007); in 20 batches it takes a
    fraction of the time of one Lloyd iteration and the codewords end as good.
    """
    if len(frames) > _SEED_FRAMES * n_words:
        frames = frames[np.sort(rng.choice(len(frames), _SEED_FRAMES * n_words, replace=False))]
    labels = np.empty(len(frames), np.int32)
    distances, nearest = np.empty((2, len(frames)), np.float32)
    nearest[:] = np.inf
    picks = rng.choice(len(frames), 1)
    words = [frames[picks]]
    for batch in np.diff(np.unique(np.linspace(1, n_words, 21).astype(int))):
        assign_frames(words[-1], scale, frames, labels, distances, n_threads)
        np.minimum(nearest, distances, out=nearest)
        weights = nearest.astype(np.float64)
        if np.count_nonzero(weights) < batch:
            # Too few frames that are no codeword yet: any will do, and those that stay empty move later.
            weights[:] = 1
        words.append(frames[rng.choice(len(frames), batch, replace=False, p=weights / weights.sum())])
    return np.concatenate(words)


def moved_words(
    words: NDArray[np.float32],
    frames: NDArray[np.float32],
    labels: NDArray[np.int32],
    distances: NDArray[np.float32],
    rng: np.random.Generator,
    n_threads: int,
) -> NDArray[np.float32]:
    """Return the mean of the frames of each codeword.

    A codeword without frames takes a frame drawn in proportion to the squared distance from its codeword,
    as k-means++ would place the next one.
    """
    sums = np.zeros(words.shape, np.float64)
    counts = np.zeros(len(words), np.int64)
    for rows in blocks(len(frames), BLOCK_FRAMES):
        _core.add_to_words(frames[rows], labels[rows], sums, counts, n_threads)
    moved = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        weights = distances.astype(np.float64)
        if np.count_nonzero(weights) < len(empty):
            raise InputError(
                f"the frames hold only {len(words) - len(empty)} distinct values, fewer than n_words = "
                f"{len(words)}: ask for fewer codewords"
            )
        moved[empty] = frames[rng.choice(len(frames), len(empty), replace=False, p=weights / weights.sum())]
    return moved


def checked_frames(frames: ArrayLike, n_dims: int | None = None, song: str = "") -> NDArray[np.float32]:
    of_song = f" of song {song!r}" if song else ""
    try:
        data = np.ascontiguousarray(frames, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"frames{of_song} must be numbers, (n_frames, n_dims): {error}") from None
    if data.ndim != 2 or not data.shape[1] or data.shape[1] != (n_dims or data.shape[1]):
        wanted = f"(n_frames, {n_dims or 'n_dims'})"
        raise InputError(f"frames{of_song} must have shape {wanted}; got {data.shape}")
    if not np.isfinite(data.sum(dtype=np.float64)):
        row = int(np.flatnonzero(~np.isfinite(data).all(axis=1))[0])
        raise InputError(f"frames{of_song} must be finite; frame {row} is not")
    return data
