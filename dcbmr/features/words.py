"""Audio to codewords as it streams by: the frames a codebook is learned from, and the counts of songs.

No frame is kept but those of the sample, so that a corpus needs no store of its MFCCs.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from copy import copy
from functools import partial
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError, decode
from dcbmr.audio.files import SongFiles, Source, find_songs
from dcbmr.audio.frames import MFCC, Frames
from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.contract.features import FeatureConfig, FeatureSpec
from dcbmr.errors import InputError
from dcbmr.features.codebook import MAX_FRAMES, Codebook, warn_of_few_frames

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine

_MOST_FILES = 32  # that a worker reads at a time: all of their frames come back while the sample has room
_BLOCKS_A_WORKER = 8  # where that leaves enough files

WORDS = FeatureSpec(
    "bow",
    "dcbmr.features.words:Words",
    "counts of the codewords nearest to a song's MFCCs",
    dtype="<u4",
    is_streaming=True,
    made_of=("mfcc",),
)


class Words:
    """Counts codewords of frames as they stream by: the extractor of the kind "bow", which the host makes.

    Its rows are pairs (codeword, count), codewords ascending, at the end of a stream.

    Parameters
    ----------
    codebook : Codebook
        One that knows the settings of its frames.
    sources : mapping of str to FeatureConfig
        What the MFCCs are.

    Raises
    ------
    InputError
        The codebook was learned from other frames, or does not know from which.
    """

    sr = 0.0  # it takes frames
    n_dims = 2

    def __init__(self, codebook: Codebook, *, sources: Mapping[str, FeatureConfig]) -> None:
        if not codebook.frame_config_:
            raise InputError(
                "this codebook does not know how its frames were made; learn it from audio or from a store"
            )
        check_settings(
            sources["mfcc"].settings,
            codebook.frame_config_,
            "the codebook was learned from frames",
            remedy="give these settings, or learn another codebook",
        )
        self.codebook = codebook

    @property
    def config(self) -> dict[str, Any]:
        """What the counts depend on, beside the frames."""
        return {"n_words": self.codebook.n_words, "codebook": self.codebook.digest}

    def stream(self) -> _WordStream:
        """Begin a song."""
        return _WordStream(self.codebook)


class _WordStream:
    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook
        self._counts = np.zeros(codebook.n_words, np.int64)

    def accept(self, frames: Mapping[str, Frames]) -> NDArray[np.int64]:
        self._codebook.count(frames["mfcc"], self._counts)
        return np.empty((0, 2), np.int64)

    def finish(self) -> NDArray[np.int64]:
        words = np.flatnonzero(self._counts)
        return np.column_stack([words, self._counts[words]])


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

    Attributes
    ----------
    seed : int
    limit : float
        No key above it is among the lowest.
    n_seen : int
        Frames of all songs so far.
    """

    def __init__(self, max_frames: int, n_dims: int, random_state: int) -> None:
        if max_frames < 1:
            raise InputError(f"max_frames must be at least 1; got {max_frames}")
        self._max, self.seed = max_frames, random_state
        self._keys = np.empty(2 * max_frames)
        self._held = np.empty((2 * max_frames, n_dims), np.float32)
        self._n = 0
        self.limit = 1.0
        self.n_seen = 0

    def keys_of(self, song: str) -> np.random.Generator:
        """Return the generator of the keys of a song's frames."""
        return np.random.default_rng([self.seed, zlib.crc32(song.encode("utf-8", "surrogateescape"))])

    def chosen(self, keys: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which keys may still be among the lowest; any thread may ask."""
        chosen: NDArray[np.bool_] = keys < self.limit
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
            self.limit = float(self._keys[: self._n].max())


def fit_codebook_to_audio(
    source: Source,
    codebook: Codebook,
    *,
    max_frames: int = MAX_FRAMES,
    without: Collection[str] = (),
    params: Mapping[str, Any] | None = None,
    engine: RayEngine | None = None,
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
    params : mapping, optional
        Of the frames; see :class:`dcbmr.MFCC`.
    engine : RayEngine, optional
        Where to read the files: on its workers, which all see them. The codewords are learned here, and are
        the same.
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
    extractor = MFCC(**(params or {}))
    report = progress or silent
    sample = FrameSample(max_frames, extractor.n_dims, codebook.random_state)
    codebook.check_settings(n_frames=max_frames)
    with find_songs(source) as songs:
        for song in without:
            songs.drop(song)
        failed, n_songs = songs.failed, len(songs)
        used: list[str] = []
        if engine is None:
            reading = _read(songs, extractor, sample, codebook.n_threads)
        else:
            reading = _read_on_workers(engine, songs, params or {}, sample)
        with closing(reading) as results:
            for n_over, (song, result) in enumerate(results, 1):
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
    codebook.fit(frames, frame_config=extractor.config, song_ids=used, progress=progress)
    return failed


_Chosen = tuple[NDArray[np.float64], Frames, int]
_Read = tuple[str, _Chosen | AudioError]


def _read(
    songs: Iterable[tuple[str, str]], extractor: MFCC, sample: FrameSample, n_threads: int | None
) -> Generator[_Read]:
    """Yield each song, and what of it may be in the sample."""
    with OrderedPool(partial(_chosen, extractor, sample), n_threads=n_threads) as pool:
        for (song, _), result in pool.in_order(songs):
            yield song, result


def _read_on_workers(
    engine: RayEngine, songs: SongFiles, params: Mapping[str, Any], sample: FrameSample
) -> Generator[_Read]:
    for _, path in islice(songs, 1):
        engine.check_sees(path, "the audio")
    n_files = min(max(len(songs) // (_BLOCKS_A_WORKER * engine.n_workers), 1), _MOST_FILES)
    rest = ((song, os.path.abspath(path)) for song, path in songs)
    blocks = iter(lambda: list(islice(rest, n_files)), [])
    # Of later blocks less comes back: what the sample has by then leaves little room.
    tasks = ((block, sample.limit) for block in blocks)
    how = engine.share((params, sample.seed))
    for block in engine.map(_read_block, tasks, how, what="files"):
        yield from block


def _read_block(
    task: tuple[Sequence[tuple[str, str]], float], how: tuple[Mapping[str, Any], int]
) -> list[_Read]:
    """What a worker does: read some files."""
    songs, limit = task
    params, seed = how
    extractor = MFCC(**params)
    sample = FrameSample(1, extractor.n_dims, seed)
    sample.limit = limit
    return list(_read(songs, extractor, sample, None))


def _chosen(
    extractor: MFCC, sample: FrameSample, file: tuple[str, str], cancelled: Event
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
        for block in decode(path, extractor.sr):
            if cancelled.is_set():
                raise AudioError(path, "was interrupted")
            keep(stream.accept(block))
        keep(stream.finish())
    except AudioError as error:
        return copy(error)  # without its traceback, which holds on to the stream
    return np.concatenate([k for k, _ in kept]), np.concatenate([f for _, f in kept]), n_seen
