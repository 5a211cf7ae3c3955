"""Audio to codewords as it streams by: the frames a codebook is learned from, and the counts of songs.

No frame is kept but those of the sample, so that a corpus needs no store of its MFCCs.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable
from copy import copy
from functools import partial
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr.audio.decode import AudioError, decode
from dcbmr.audio.files import Source, find_songs
from dcbmr.audio.frames import Extractor, Frames, FrameSettings, JointStream, Kind
from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.features.codebook import Codebook, warn_of_few_frames


class WordExtractor(Extractor):
    """Counts codewords of samples as they stream by, alone or beside frames of other kinds.

    Rows of kind "bow" are pairs (codeword, count), codewords ascending, at the end of a stream.

    Parameters
    ----------
    codebook : Codebook
        One that knows the settings of its frames.
    kinds : iterable of {"bow", "mel", "mfcc"}
        What to hand out.
    """

    def __init__(self, codebook: Codebook, kinds: Iterable[Kind] = ("bow",)) -> None:
        config = codebook.frame_config_
        if not config:
            raise InputError(
                "this codebook does not know how its frames were made; learn it from audio or from a store"
            )
        kinds = tuple(kinds)
        mfcc = Extractor.from_config("mfcc", config)
        made = [kind for kind in kinds if kind not in ("bow", "mfcc")]
        super().__init__([*made, "mfcc"], mfcc.settings, n_mfcc=mfcc.n_mfcc, deltas=mfcc.deltas)
        self.made, self.kinds = self.kinds, kinds
        self.codebook = codebook

    def n_dims(self, kind: Kind) -> int:
        """Return the length of a row of ``kind``."""
        return 2 if kind == "bow" else super().n_dims(kind)

    def config(self, kind: Kind) -> dict[str, Any]:
        """Return what the rows of ``kind`` depend on, for JSON."""
        if kind != "bow":
            return super().config(kind)
        return {**super().config("mfcc"), "n_words": self.codebook.n_words, "codebook": self.codebook.digest}

    def stream(self) -> JointStream:
        """Return a stream that hands out all kinds."""
        return _WordStream(self)


class _WordStream(JointStream):
    def __init__(self, extractor: WordExtractor) -> None:
        super().__init__(extractor)
        self._wanted, self._kinds = extractor.kinds, extractor.made
        self._codebook = extractor.codebook
        self._counts = np.zeros(extractor.codebook.n_words, np.int64)

    def accept(self, samples: ArrayLike) -> dict[Kind, Frames]:
        return self._counted(super().accept(samples))

    def finish(self) -> dict[Kind, Frames]:
        found = self._counted(super().finish())
        if "bow" in self._wanted:
            words = np.flatnonzero(self._counts)
            found["bow"] = np.column_stack([words, self._counts[words]])
        return found

    def _counted(self, found: dict[Kind, Frames]) -> dict[Kind, Frames]:
        self._codebook.count(found["mfcc"], self._counts)
        return {kind: rows for kind, rows in found.items() if kind in self._wanted}


def bag_of_words_of_file(path: str | os.PathLike[str], codebook: Codebook) -> NDArray[np.int64]:
    """Return how often each codeword occurs in an audio file, (n_words,), without keeping its frames.

    Raises
    ------
    InputError
        The file cannot be used, or the codebook does not know the settings of its frames.
    """
    extractor = WordExtractor(codebook)
    stream = extractor.stream()
    for block in decode(path, extractor.settings.sr):
        stream.accept(block)
    counts = np.zeros(codebook.n_words, np.int64)
    words, times = np.asarray(stream.finish()["bow"]).T
    counts[words] = times
    return counts


class FrameSample:
    """A random sample of frames of any number of songs, in bounded memory.

    Every frame is given a random key, and those of the lowest keys are kept. Keys come from the seed, the
    song's id and the frame alone, so that the sample does not depend on how songs come to be read.

    Parameters
    ----------
    max_frames : int
        Most frames to keep; twice as many are held in between.
    n_dims : int
    random_state : int
    """

    def __init__(self, max_frames: int, n_dims: int, random_state: int) -> None:
        if max_frames < 1:
            raise InputError(f"max_frames must be at least 1; got {max_frames}")
        self._max, self._seed = max_frames, random_state
        self._keys = np.empty(2 * max_frames)
        self._held = np.empty((2 * max_frames, n_dims), np.float32)
        self._n = 0
        self._limit = 1.0
        self.n_seen = 0

    def keys_of(self, song: str) -> np.random.Generator:
        """Return the generator of the keys of a song's frames."""
        return np.random.default_rng([self._seed, zlib.crc32(song.encode("utf-8", "surrogateescape"))])

    def chosen(self, keys: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which keys may still be among the lowest; any thread may ask."""
        chosen: NDArray[np.bool_] = keys < self._limit
        return chosen

    def add(self, keys: NDArray[np.float64], frames: Frames, n_seen: int) -> None:
        """Add frames of a song, of ``n_seen``, with their keys; songs in a fixed order, on one thread."""
        self.n_seen += n_seen
        for begin in range(0, len(keys), self._max):
            part = slice(begin, begin + self._max)
            n = len(keys[part])
            if self._n + n > len(self._keys):
                self._shrink()
            self._keys[self._n : self._n + n] = keys[part]
            self._held[self._n : self._n + n] = frames[part]
            self._n += n

    def frames(self) -> Frames:
        """Return the sample, (n_frames, n_dims), in the order of adding."""
        self._shrink()
        return self._held[: self._n]

    def _shrink(self) -> None:
        if self._n > self._max:
            lowest = np.sort(np.argpartition(self._keys[: self._n], self._max)[: self._max])
            self._keys[: self._max] = self._keys[lowest]
            self._held[: self._max] = self._held[lowest]
            self._n = self._max
            self._limit = float(self._keys[: self._n].max())


def fit_codebook_to_audio(
    source: Source,
    codebook: Codebook,
    *,
    max_frames: int = 1_000_000,
    without: Collection[str] = (),
    settings: FrameSettings | None = None,
    n_mfcc: int = 13,
    deltas: int = 2,
    progress: Progress | None = None,
) -> list[AudioError]:
    """Learn a codebook from audio files, read once, of whose frames only a sample is kept.

    Parameters
    ----------
    source : path-like, mapping or iterable
        As for :func:`dcbmr.featurize`.
    codebook : Codebook
        The one to fit; its seed draws the sample too, its threads read the files.
    max_frames : int
        Frames in the sample, drawn evenly over all frames of all songs: a million of 39 dimensions hold
        330 MB while they are drawn. The sample does not depend on the number of threads.
    without : collection of str
        Songs to leave out: those that are held out.
    settings, n_mfcc, deltas
        Of the frames; see :class:`dcbmr.MFCC`.
    progress : Progress, optional
        Told of the files ("read audio"), then as by :meth:`Codebook.fit`.

    Returns
    -------
    list of AudioError
        Files that could not be used; they were skipped.

    Warns
    -----
    UserWarning
        There are fewer than 50 frames a codeword.
    """
    extractor = Extractor(["mfcc"], settings, n_mfcc=n_mfcc, deltas=deltas)
    report = progress or silent
    sample = FrameSample(max_frames, extractor.n_dims("mfcc"), codebook.random_state)
    codebook.check_settings(n_frames=max_frames)
    with find_songs(source) as songs:
        for song in without:
            songs.drop(song)
        failed, n_songs = songs.failed, len(songs)
        used: list[str] = []
        choose = partial(_chosen, extractor, sample)
        with OrderedPool(choose, n_threads=codebook.n_threads) as pool:
            for n_over, ((song, _), result) in enumerate(pool.in_order(songs), 1):
                if isinstance(result, AudioError):
                    failed.append(result)
                else:
                    sample.add(*result)
                    used.append(song)
                report("read audio", n_over, n_songs, {})
    if failed and not sample.n_seen:
        raise InputError(f"no file could be used; the first: {failed[0]}")
    frames = sample.frames()
    warn_of_few_frames(codebook.n_words, len(frames), sample.n_seen, len(used))
    codebook.fit(frames, frame_config=extractor.config("mfcc"), song_ids=used, progress=progress)
    return failed


_Chosen = tuple[NDArray[np.float64], Frames, int]


def _chosen(
    extractor: Extractor, sample: FrameSample, file: tuple[str, str], cancelled: Event
) -> _Chosen | AudioError:
    """Read a song; return the frames that may be in the sample, their keys, and how many frames it has."""
    song, path = file
    generator = sample.keys_of(song)
    stream = extractor.stream()
    kept: list[tuple[NDArray[np.float64], Frames]] = []
    n_seen = 0

    def keep(frames: Frames) -> None:
        nonlocal n_seen
        n_seen += len(frames)
        keys = generator.random(len(frames))
        chosen = sample.chosen(keys)
        kept.append((keys[chosen], frames[chosen]))

    try:
        for block in decode(path, extractor.settings.sr):
            if cancelled.is_set():
                raise AudioError(path, "was interrupted")
            keep(stream.accept(block)["mfcc"])
        keep(stream.finish()["mfcc"])
    except AudioError as error:
        return copy(error)  # without its traceback, which holds on to the stream
    return np.concatenate([k for k, _ in kept]), np.concatenate([f for _, f in kept]), n_seen
