"""Bag of words: how often each codeword occurs in each song."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.contract.contract import SongFeatures
from dcbmr.features.codebook import Codebook, check_frames, frame_config
from dcbmr.features.kmeans import BLOCK_FRAMES, checked_frames


def bag_of_words(
    features: SongFeatures,
    codebook: Codebook,
    *,
    n_threads: int | None = None,
    weighting: Literal["count", "sqrt"] = "count",
    progress: Progress | None = None,
) -> csr_array:
    """Count the codewords of every song.

    Parameters
    ----------
    features : SongFeatures
        Songs of kind "mfcc".
    codebook : Codebook
    n_threads : int, optional
        Threads to use; None for every core.
    weighting : {"count", "sqrt"}
        The counts, as in the paper, or their square roots, which hold back the codewords of long notes.
    progress : Progress, optional
        Told how many songs are counted.

    Returns
    -------
    csr_array of shape (n_songs, n_words), float32
        Codewords in ascending order within a song; a song without frames is an empty row.
    """
    if weighting not in ("count", "sqrt"):
        raise InputError(f"weighting must be 'count' or 'sqrt'; got {weighting!r}")
    words = codebook._fitted()
    if features.n_dims != words.shape[1]:
        raise InputError(
            f"the codebook is of frames of {words.shape[1]} dimensions, the {features.kind!r} features have "
            f"{features.n_dims}"
        )
    check_frames(codebook, frame_config(features))
    threads = resolve_n_threads(n_threads)
    report = progress or silent
    indptr, indices, counts = [np.zeros(1, np.int64)], [], []
    for songs in _song_blocks(features.n_frames):
        frames = [checked_frames(features.frames(i), features.n_dims, features.song_ids[i]) for i in songs]
        stacked = np.concatenate(frames)
        labels = np.empty(len(stacked), np.int32)
        codebook._nearest_word.assign(stacked, labels, None, threads)
        song_of_frame = np.repeat(np.arange(len(songs)), [len(f) for f in frames])
        keys, n = np.unique(song_of_frame * len(words) + labels, return_counts=True)
        indptr.append(indptr[-1][-1] + np.searchsorted(keys, np.arange(1, len(songs) + 1) * len(words)))
        indices.append(keys % len(words))
        counts.append(np.sqrt(n) if weighting == "sqrt" else n)
        report("count words", songs.stop, len(features.song_ids), {})
    return csr_array(
        (
            np.concatenate(counts or [np.empty(0)]).astype(np.float32),
            np.concatenate(indices or [np.empty(0)]).astype(np.int32),
            np.concatenate(indptr),
        ),
        shape=(len(features.song_ids), len(words)),
    )


def _song_blocks(n_frames: NDArray[np.int64]) -> Iterator[range]:
    """Runs of songs of about a block of frames together, or one song that is longer."""
    start, total = 0, 0
    for song, n in enumerate(n_frames.tolist()):
        if total and total + n > BLOCK_FRAMES:
            yield range(start, song)
            start, total = song, 0
        total += n
    if start < len(n_frames):
        yield range(start, len(n_frames))
