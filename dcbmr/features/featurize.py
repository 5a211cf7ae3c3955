"""Audio files to a feature store: many at once, continued where it was, a bad file costing only itself."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from dcbmr.audio.decode import AudioError, check_piece, decode
from dcbmr.audio.files import Source, find_songs
from dcbmr.audio.frames import Extractor, Kind, Settings
from dcbmr.base.directory import kind_of, new_directory, read_config, refuse_existing
from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features.codebook import Codebook
from dcbmr.features.memory import MemoryFeatures
from dcbmr.features.store import FEATURES
from dcbmr.features.words import WordExtractor
from dcbmr.features.writer import StoreWriter, check_made_alike, create_store, encoded

FAILED = "failed.tsv"
_SPOOL_BYTES = 4 << 20
_COMMIT_S = 0.5  # the last commit is the only one that nothing else overlaps


@dataclass
class FeaturizeReport:
    """What a run did.

    Attributes
    ----------
    n_done : int
        Songs added to the store.
    n_present : int
        Songs that were there before.
    n_passed_over : int
        Files in the folder whose endings are no audio's.
    failed : Counter
        How many files failed of each cause; ``failed.tsv`` lists them.
    audio_s, seconds : float
        Length of the audio of the added songs, and the time the run took.
    """

    n_done: int = 0
    n_present: int = 0
    n_passed_over: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    seconds: float = 0.0


def featurize(
    source: Source,
    directory: str | os.PathLike[str],
    *,
    kinds: Iterable[Kind] = ("mel", "mfcc"),
    settings: Settings | None = None,
    n_mfcc: int = 13,
    deltas: int = 2,
    codebook: Codebook | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    n_threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FeaturizeReport:
    """Extract features of audio files into ``directory``, to be read with :class:`FeatureStore`.

    Several files are worked on at once, and written in the order of the list, so that the store does not
    depend on ``n_threads``. A file that cannot be used is skipped and listed in ``failed.tsv``.

    Parameters
    ----------
    source : path-like, mapping or iterable
        A folder, searched recursively but for what is hidden; a manifest (TSV or CSV: song, path; relative
        paths from its own folder); one audio file; a mapping from song id to path; or paths. Without a
        manifest, the id of a song is its file's name without the ending.
    directory : path-like
        Where to write.
    kinds : iterable of {"mel", "mfcc", "bow"}
        All cost little more than one: the spectrum is shared.
    settings : Settings, optional
        Of the extractor; the defaults are the paper's.
    n_mfcc, deltas : int
        See :class:`dcbmr.MFCC`.
    codebook : Codebook, optional
        Whose words the kind "bow" counts; the settings are then those of its frames.
    offset, duration : float, optional
        Seconds to pass over in each file, and to read at most.
    n_threads : int, optional
        Files worked on at once; None for every core.
    resume : bool
        Continue what was interrupted, or add new files; songs that are there are not read again, those
        that failed are tried again.
    overwrite : bool
        Replace what is there.
    progress : Progress, optional
        Told of every file, with ``failed`` and ``audio_s`` so far; it may raise to stop.

    Returns
    -------
    FeaturizeReport

    Raises
    ------
    InputError
        No audio; two files of one song; the directory exists, or was made with other settings.
    DcbmrError
        Writing failed, as on a full disk; what was finished before is kept, and ``resume`` continues.
    """
    began = time.monotonic()
    root = Path(directory)
    extractor = _extractor(tuple(dict.fromkeys(kinds)), settings, n_mfcc, deltas, codebook)
    n_threads = resolve_n_threads(n_threads)
    check_piece(offset, duration)
    piece = {"offset": offset, "duration": duration}
    report = FeaturizeReport()
    show = progress or silent
    is_new = not (resume and root.exists())
    if is_new:
        if not overwrite and kind_of(root) == FEATURES:
            raise InputError(f"{root} exists; --resume continues it, --overwrite replaces it")
        refuse_existing(root, kind=FEATURES, overwrite=overwrite)
    with find_songs(source) as songs:
        if is_new:
            config = {"kinds": list(extractor.kinds), **piece}
            with new_directory(root, kind=FEATURES, config=config, overwrite=overwrite) as beside:
                for kind in extractor.kinds:
                    create_store(beside / kind, extractor, kind)
        with _FeaturesWriter(root, extractor, piece) as writer:
            report.n_present = sum(map(songs.drop, writer.resume()))
            report.n_passed_over = songs.n_passed_over
            unread = [("", error) for error in songs.failed]
            n_todo = len(unread) + len(songs)
            run = _Run(extractor, offset, duration, root)
            with closing(run.in_order(songs, n_threads)) as results:
                for n_over, (song, result) in enumerate(chain(unread, results), 1):
                    if isinstance(result, AudioError):
                        writer.fail(song, result)
                        report.failed[result.cause] += 1
                    else:
                        writer.append(song, result)
                        report.n_done += 1
                        report.audio_s += result.audio_s
                    figures = {"failed": float(report.failed.total()), "audio_s": report.audio_s}
                    show("featurize", n_over, n_todo, figures)
    report.seconds = time.monotonic() - began
    return report


def _extractor(
    kinds: tuple[Kind, ...], settings: Settings | None, n_mfcc: int, deltas: int, codebook: Codebook | None
) -> Extractor:
    if ("bow" in kinds) != (codebook is not None):
        raise InputError("kind 'bow' and a codebook go together: give both or neither")
    if codebook is None:
        return Extractor(kinds, settings, n_mfcc=n_mfcc, deltas=deltas)
    extractor = WordExtractor(codebook, kinds)
    if settings not in (None, extractor.settings):
        raise InputError(f"the codebook is of frames with {extractor.settings}, not {settings}")
    return extractor


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Turn an error of the disk into one that ends the run, not only the file."""
    try:
        yield
    except OSError as error:
        full = "the disk is full; free some space and" if error.errno == errno.ENOSPC else f"{error};"
        raise DcbmrError(f"{root} could not be written: {full} continue with --resume") from error


def features_of_files(
    paths: Iterable[str | os.PathLike[str]], kind: Kind, config: Mapping[str, Any]
) -> MemoryFeatures:
    """Return the features of audio files in memory, with the settings ``config`` of a store.

    Raises
    ------
    InputError
        A file cannot be used, or is shorter than a frame.
    """
    extractor = Extractor.from_config(kind, dict(config))
    songs, frames = [], []
    for path in paths:
        songs.append(Path(path).stem)
        frames.append(np.concatenate([part[kind] for part, _ in _frames(os.fspath(path), extractor)]))
        if not len(frames[-1]):
            raise _too_short(os.fspath(path), extractor)
    return MemoryFeatures(kind, songs, frames)


@dataclass
class _Extracted:
    """The frames of a song on their way to the store, in memory or, if large, in a temporary file."""

    audio_s: float
    n_frames: dict[Kind, int]
    crc32: dict[Kind, int]
    frames: dict[Kind, IO[bytes]]

    def close(self) -> None:
        for frames in self.frames.values():
            frames.close()


_Result = _Extracted | AudioError


def _close(future: Future[_Result]) -> None:
    if not future.cancelled() and not future.exception():
        result = future.result()
        if isinstance(result, _Extracted):
            result.close()


class _Run:
    """Extracts songs on several threads."""

    def __init__(self, extractor: Extractor, offset: float, duration: float | None, root: Path) -> None:
        self._extractor, self._root = extractor, root
        self._offset, self._duration = offset, duration
        self._cancelled = threading.Event()

    def in_order(
        self, songs: Iterable[tuple[str, str]], n_threads: int
    ) -> Generator[tuple[str, _Result], None, None]:
        """Yield the results of songs in their order, with a bounded number in hand."""
        todo = iter(songs)
        ahead: deque[tuple[str, Future[_Result]]] = deque()
        pool = ThreadPoolExecutor(n_threads, "featurize")
        try:
            while True:
                for song, path in islice(todo, 8 * n_threads - len(ahead)):
                    ahead.append((song, pool.submit(self._one, song, path)))
                if not ahead:
                    return
                song, future = ahead[0]
                yield song, future.result()
                _close(future)
                ahead.popleft()
        finally:
            self._cancelled.set()
            pool.shutdown(cancel_futures=True)
            for _, future in ahead:
                _close(future)

    def _one(self, song: str, path: str) -> _Result:
        spools = {kind: self._spool() for kind in self._extractor.kinds}
        result = _Extracted(0.0, dict.fromkeys(spools, 0), dict.fromkeys(spools, 0), spools)
        whole = False
        try:
            _check_names(song, path)
            self._fill(result, path)
            whole = True
            return result
        except AudioError as error:
            return copy(error)  # without its traceback, which holds on to the stream
        except DcbmrError:
            raise
        except Exception as error:  # a decoder's own mistake must not end the run either
            return AudioError(path, "could not be decoded", f": {type(error).__name__}: {error}")
        finally:
            if not whole:
                result.close()

    def _fill(self, result: _Extracted, path: str) -> None:
        for frames, n_samples in _frames(path, self._extractor, self._offset, self._duration):
            if self._cancelled.is_set():
                raise AudioError(path, "was interrupted")
            result.audio_s += n_samples / self._extractor.settings.sr
            for kind, rows in frames.items():
                data = encoded(rows, kind)
                result.n_frames[kind] += len(rows)
                result.crc32[kind] = zlib.crc32(data, result.crc32[kind])
                with _writing(self._root):
                    result.frames[kind].write(data)
        if not all(result.n_frames.values()):
            raise _too_short(path, self._extractor, result.audio_s)

    def _spool(self) -> IO[bytes]:
        return tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=str(self._root))


def _frames(
    path: str, extractor: Extractor, offset: float = 0.0, duration: float | None = None
) -> Iterator[tuple[dict[Kind, Any], int]]:
    """Yield the frames of a file as they become ready, and the number of samples they came of."""
    stream = extractor.stream()
    for block in decode(path, extractor.settings.sr, offset=offset, duration=duration):
        yield stream.accept(block), len(block)
    yield stream.finish(), 0


def _too_short(path: str, extractor: Extractor, audio_s: float | None = None) -> AudioError:
    settings = extractor.settings
    found = "" if audio_s is None else f" ({audio_s:.3f} s)"
    needs = f": a frame needs {settings.n_fft} samples at {settings.sr:g} Hz"
    return AudioError(path, "is too short", found + needs)


def _check_names(song: str, path: str) -> None:
    """Refuse ids that the text files of the later steps could not hold."""
    try:
        song.encode()
    except UnicodeEncodeError:
        raise AudioError(path, "its name is not UTF-8; rename it, or give a manifest") from None
    if not song or any(character in song for character in "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        raise AudioError(path, "the song's id is empty or holds a tab or a line break; rename it")


class _FeaturesWriter:
    """The stores of all kinds of a directory, which hold the same songs in the same order; and what failed.

    On leaving, also by Ctrl-C or an error, what was finished is made part of the directory.
    """

    def __init__(self, root: Path, extractor: Extractor, piece: Mapping[str, Any]) -> None:
        config = read_config(root, kind=FEATURES)
        check_made_alike(root, {"kinds": list(extractor.kinds), **piece}, config)
        self._root = root
        self._writers: list[StoreWriter] = []
        try:
            for kind in extractor.kinds:
                self._writers.append(StoreWriter(root / kind, extractor, kind))
        except BaseException:
            self._close()
            raise
        self._committed = time.monotonic()

    def resume(self) -> Iterator[str]:
        """Yield the songs that are there, and begin to append."""
        # A kill between two commits leaves one kind ahead of the other.
        for entries in zip(*(writer.index() for writer in self._writers), strict=False):
            song = entries[0].song
            if any(entry.song != song for entry in entries):
                raise InputError(f"{self._root} is damaged: song {song!r} is not at one place in all kinds")
            for writer, entry in zip(self._writers, entries, strict=True):
                writer.keep(entry)
            yield song
        for writer in self._writers:
            writer.cut()
        (self._root / FAILED).unlink(missing_ok=True)

    def append(self, song: str, found: _Extracted) -> None:
        with _writing(self._root):
            for writer in self._writers:
                frames = found.frames[writer.kind]
                frames.seek(0)
                writer.append(song, frames, found.n_frames[writer.kind], found.crc32[writer.kind])
            if time.monotonic() - self._committed > _COMMIT_S:
                self._commit()

    def fail(self, song: str, error: AudioError) -> None:
        cells = (song, error.path, error.reason)
        line = "\t".join(" ".join(cell.split()) for cell in cells) + "\n"
        with _writing(self._root), (self._root / FAILED).open("ab") as text:
            if text.tell() == 0:
                text.write(b"song\tpath\treason\n")
            text.write(line.encode(errors="backslashreplace"))

    def _commit(self) -> None:
        for writer in self._writers:
            writer.commit()
        self._committed = time.monotonic()

    def _close(self) -> None:
        for writer in self._writers:
            writer.close()

    def __enter__(self) -> _FeaturesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with _writing(self._root):
                self._commit()
        finally:
            self._close()
