"""Bag of words of audio: codewords of frames by k-means, and how often each occurs in a song.

The conventional features of "Deep content-based music recommendation" (section 4.1): frames are assigned
to the nearest of 4000 means, a song is the count of each, and principal components keep 95 % of the
variance of those counts.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr import _core
from dcbmr.base.arrays import blocks, read_tensors
from dcbmr.base.directory import new_directory, read_config, reading
from dcbmr.base.estimator import Estimator
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.features.seen import digests, seen

if TYPE_CHECKING:
    from dcbmr.contract.contract import SongFeatures
from dcbmr.features.kmeans import (
    BLOCK_FRAMES,
    assign_frames,
    checked_frames,
    first_words,
    inverse_deviations,
    moved_words,
)

# Fewer frames a codeword and the means are those of chance; faiss warns at 39.
_FEW_FRAMES = 50
MAX_FRAMES = 1_000_000  # to learn from, unless more or fewer are asked for


class Codebook(Estimator):
    """Codewords that frames are replaced by: the means of k-means.

    Parameters
    ----------
    n_words : int
        Number of codewords; the paper's 4000.
    n_iterations : int
        Most Lloyd iterations.
    tolerance : float
        Stop when an iteration lowers the inertia by less than this share of it; 0 never stops early.
    standardize : bool
        Measure distances in standard deviations of each dimension of the frames learned from. As they
        are, the loudness of MFCCs, which varies a hundred times as much as their slopes, is all that
        codewords tell apart. (Of standardized frames the mean makes no difference, so that codewords
        stay in the units of the frames.)
    n_threads : int, optional
        Threads to use; None for every core. The codewords do not depend on it.
    random_state : int
        Seed of the first codewords.

    Attributes
    ----------
    words_ : ndarray of shape (n_words, n_dims), float32
        In the units of the frames.
    scale_ : ndarray of shape (n_dims,), float32, or None
        What differences are multiplied with before they are squared: one over the standard deviation of
        each dimension, 0 where it does not vary. None where frames are not standardized.
    inertia_ : float
        Sum of the squared distances of the fitted frames to their codewords.
    inertias_ : list of float
        The inertia that each iteration found, before it moved the codewords.
    n_frames_ : int
        How many frames the codewords were learned from.
    frame_config_ : dict
        Settings of the extractor that made the frames, where known; empty if not.
    songs_ : ndarray of shape (n_songs,), uint64, or None
        A digest of the id of each song that the frames were drawn from, for :meth:`seen`; None where the
        songs are not known.
    """

    words_: NDArray[np.float32]
    scale_: NDArray[np.float32] | None
    inertia_: float
    inertias_: list[float]
    n_frames_: int
    frame_config_: dict[str, Any]
    songs_: NDArray[np.uint64] | None

    def __init__(
        self,
        *,
        n_words: int = 4000,
        n_iterations: int = 25,
        tolerance: float = 1e-4,
        standardize: bool = True,
        n_threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_words = n_words
        self.n_iterations = n_iterations
        self.tolerance = tolerance
        self.standardize = standardize
        self.n_threads = n_threads
        self.random_state = random_state

    def fit(
        self,
        frames: ArrayLike,
        *,
        frame_config: Mapping[str, Any] | None = None,
        song_ids: Iterable[str] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn the codewords from frames held in memory.

        Parameters
        ----------
        frames : array-like of shape (n_frames, n_dims)
            Also a data frame. At least ``n_words`` distinct frames, all finite; they are taken as float32.
        frame_config : mapping, optional
            Settings of the extractor that made them, to be kept with the codewords.
        song_ids : iterable of str, optional
            The songs that they were drawn from, of which digests are kept with the codewords.
        progress : Progress, optional
            Told of every iteration, with the inertia; it may raise to stop.

        Returns
        -------
        Codebook
            self
        """
        data = checked_frames(frames)
        n_frames = len(data)
        self.check_settings(n_frames=n_frames)
        n_threads = resolve_n_threads(self.n_threads)
        report = progress or silent
        rng = np.random.default_rng(self.random_state)
        scale = inverse_deviations(data) if self.standardize else None
        words = first_words(data, scale, self.n_words, rng, n_threads)
        labels = np.empty(n_frames, np.int32)
        distances = np.empty(n_frames, np.float32)
        self.inertias_ = []
        for iteration in range(self.n_iterations):
            self.inertias_.append(assign_frames(words, scale, data, labels, distances, n_threads))
            words = moved_words(words, data, labels, distances, rng, n_threads)
            report("k-means", iteration + 1, self.n_iterations, {"inertia": self.inertias_[-1]})
            if iteration and self.inertias_[-2] - self.inertias_[-1] < self.tolerance * self.inertias_[-2]:
                break
        self.words_, self.scale_ = words, scale
        self.inertia_ = assign_frames(words, scale, data, labels, distances, n_threads)
        self.n_frames_ = n_frames
        self.frame_config_ = dict(frame_config or {})
        self.songs_ = None if song_ids is None else digests(song_ids)
        self.__dict__.pop("_search", None)
        return self

    def check_settings(self, *, n_frames: int | None = None) -> None:
        """Raise InputError for settings that nothing can be learned with, or not from ``n_frames`` frames."""
        if self.n_words < 1 or self.n_iterations < 0 or not self.tolerance >= 0:
            raise InputError(
                f"n_words must be at least 1, n_iterations and tolerance at least 0; got {self.n_words}, "
                f"{self.n_iterations} and {self.tolerance}"
            )
        resolve_n_threads(self.n_threads)
        if n_frames is not None and n_frames < self.n_words:
            cure = "give more or ask for fewer codewords"
            raise InputError(f"{n_frames} frames are fewer than n_words = {self.n_words}: {cure}")

    def assign(self, frames: ArrayLike) -> NDArray[np.int32]:
        """Return the number of the nearest codeword of each frame, (n_frames,); of equal ones the lowest."""
        data = checked_frames(frames, n_dims=self._fitted().shape[1])
        labels = np.empty(len(data), np.int32)
        n_threads = resolve_n_threads(self.n_threads)
        for rows in blocks(len(data), BLOCK_FRAMES):
            self._nearest_word.assign(data[rows], labels[rows], None, n_threads)
        return labels

    def bag_of_words(self, frames: ArrayLike) -> NDArray[np.int64]:
        """Return how many of the frames are nearest to each codeword, shape (n_words,)."""
        return np.bincount(self.assign(frames), minlength=len(self._fitted()))

    def count(self, frames: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """Add the codewords of frames (n_frames, n_dims) to ``counts`` (n_words,), on the calling thread."""
        labels = np.empty(len(frames), np.int32)
        self._nearest_word.assign(checked_frames(frames, self._fitted().shape[1]), labels, None, 1)
        counts += np.bincount(labels, minlength=len(counts))

    @property
    def digest(self) -> str:
        """Tells these codewords, and how distances to them are measured, from all others: eight digits."""
        of_words = zlib.crc32(np.ascontiguousarray(self._fitted()).data)
        return f"{of_words if self.scale_ is None else zlib.crc32(self.scale_.data, of_words):08x}"

    def seen(self, song_ids: Sequence[str]) -> list[str]:
        """Return those of ``song_ids`` that it was learned from; none where that is not known."""
        return seen(song_ids, self.songs_)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the codebook to a directory of its own."""
        from safetensors.numpy import save_file

        words = self._fitted()
        config = {
            "n_words": len(words),
            "n_dims": words.shape[1],
            "n_iterations": self.n_iterations,
            "tolerance": self.tolerance,
            "standardize": self.scale_ is not None,
            "random_state": self.random_state,
            "n_frames": self.n_frames_,
            "n_songs": None if self.songs_ is None else len(self.songs_),
            "inertia": self.inertia_,
            "inertias": self.inertias_,
            "frames": self.frame_config_,
        }
        with new_directory(Path(directory), kind="codebook", config=config, overwrite=overwrite) as beside:
            known = {"words": words, "scale": self.scale_, "songs": self.songs_}
            tensors = {name: tensor for name, tensor in known.items() if tensor is not None}
            save_file(tensors, beside / "codebook.safetensors")

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read what :meth:`save` wrote."""
        config = read_config(Path(directory), kind="codebook")
        with reading(directory):
            codebook = cls(
                n_words=config["n_words"],
                n_iterations=config["n_iterations"],
                tolerance=config["tolerance"],
                standardize=config.get("standardize", False),  # which older ones know nothing of
                n_threads=n_threads,
                random_state=config["random_state"],
            )
            names = ["words"]
            if codebook.standardize:
                names.append("scale")
            if config.get("n_songs") is not None:  # nor do they know their songs
                names.append("songs")
            tensors = read_tensors(Path(directory) / "codebook.safetensors", *names)
            codebook.words_ = tensors["words"]
            codebook.scale_, codebook.songs_ = tensors.get("scale"), tensors.get("songs")
            if codebook.words_.shape != (config["n_words"], config["n_dims"]):
                raise InputError(
                    f"{directory}: the codewords have shape {codebook.words_.shape}, the config says "
                    f"{(config['n_words'], config['n_dims'])}"
                )
            codebook.n_frames_ = config["n_frames"]
            codebook.inertia_ = config["inertia"]
            codebook.inertias_ = config["inertias"]
            codebook.frame_config_ = config["frames"]
            return codebook

    def _fitted(self) -> NDArray[np.float32]:
        if not hasattr(self, "words_"):
            raise InputError("this codebook has no codewords yet: call fit or load first")
        return self.words_

    @property
    def _nearest_word(self) -> _core.NearestWord:
        # Made once: packing the codewords costs as much as searching a few thousand frames.
        if "_search" not in self.__dict__:
            self._search = _core.NearestWord(self._fitted(), self.scale_)
        return self._search


def fit_codebook(
    features: SongFeatures,
    *,
    n_words: int = 4000,
    n_iterations: int = 25,
    tolerance: float = 1e-4,
    standardize: bool = True,
    max_frames: int = MAX_FRAMES,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Codebook:
    """Learn a codebook from a random sample of the frames of all songs.

    Parameters
    ----------
    features : SongFeatures
        Songs of kind "mfcc".
    n_words, n_iterations, tolerance, standardize, n_threads, random_state
        As for :class:`Codebook`.
    max_frames : int
        Most frames in the sample, which is drawn without replacement and evenly over all frames; a million
        frames of 39 dimensions take 156 MB.
    progress : Progress, optional
        As for :meth:`Codebook.fit`.

    Warns
    -----
    UserWarning
        There are fewer than 50 frames a codeword.
    """
    codebook = Codebook(
        n_words=n_words,
        n_iterations=n_iterations,
        tolerance=tolerance,
        standardize=standardize,
        n_threads=n_threads,
        random_state=random_state,
    )
    if max_frames < 1:
        raise InputError(f"max_frames must be at least 1; got {max_frames}")
    n_frames = int(np.sum(features.n_frames))
    codebook.check_settings(n_frames=min(n_frames, max_frames))
    sample = _sample(features, max_frames, random_state)
    warn_of_few_frames(n_words, len(sample), n_frames, len(features.song_ids))
    return codebook.fit(
        sample, frame_config=frame_config(features), song_ids=features.song_ids, progress=progress
    )


def warn_of_few_frames(n_words: int, n_sample: int, n_frames: int, n_songs: int) -> None:
    """Warn where a sample of ``n_frames`` frames of songs holds too few of them for so many codewords."""
    if n_sample >= _FEW_FRAMES * n_words:
        return
    more = "more songs" if n_sample == n_frames else f"a larger sample (max_frames, of {n_frames:,} frames)"
    warnings.warn(
        f"{n_words:,} codewords of {n_sample:,} frames of {n_songs:,} songs: fewer than {_FEW_FRAMES} frames "
        f"a codeword, so that many of them are chance; give {more}, or ask for at most "
        f"{max(1, n_sample // _FEW_FRAMES):,} codewords (n_words)",
        stacklevel=3,
    )


def _sample(features: SongFeatures, max_frames: int, random_state: int) -> NDArray[np.float32]:
    """Draw at most ``max_frames`` frames without replacement, evenly over all frames of all songs."""
    n_frames = np.asarray(features.n_frames, np.int64)
    ends = np.cumsum(n_frames)
    total = int(ends[-1]) if len(ends) else 0
    if total <= max_frames:
        picks = np.arange(total)
    else:
        # A stream of its own, so that the sample does not hang on how many codewords are drawn from it.
        rng = np.random.default_rng([random_state, 1])
        picks = np.sort(rng.choice(total, max_frames, replace=False, shuffle=False))
    sample = np.empty((len(picks), features.n_dims), np.float32)
    cuts = np.searchsorted(picks, np.concatenate([[0], ends]))
    for song in np.flatnonzero(np.diff(cuts)):
        rows = slice(cuts[song], cuts[song + 1])
        sample[rows] = features.frames(int(song))[picks[rows] - (ends[song] - n_frames[song])]
    return sample


def frame_config(features: SongFeatures) -> dict[str, Any]:
    """Return all that the frames depend on, where the features know it; empty where not."""
    return dict(getattr(features, "settings", {}))


def check_frames(codebook: Codebook, config: Mapping[str, Any]) -> None:
    """Raise InputError where frames of these settings are other ones than a codebook was learned from."""
    check_settings(
        {name: value for name, value in codebook.frame_config_.items() if name in config},
        {name: value for name, value in config.items() if name in codebook.frame_config_},
        "the features were made",
        remedy="these are the codebook's: featurize with them, or learn another codebook",
    )
