"""Audio files to a feature store: many at once, continued where it was, a bad file costing only itself."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from dcbmr._threads import resolve_n_threads
from dcbmr.audio import AudioError, decode
from dcbmr.codebook import Codebook
from dcbmr.directory import new_directory, read_config, refuse_existing
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features import Extractor, Kind, Settings
from dcbmr.song_files import Source, find_songs
from dcbmr.store import DTYPES, FeatureStore, MemoryFeatures, StoreWriter, create_store
from dcbmr.words import WordExtractor

FAILED = "failed.tsv"
_FEATURES = "features"
_SPOOL_BYTES = 4 << 20
_COMMIT_S = 0.5  # the last commit is the only one that nothing else overlaps

Progress = Callable[[int, int | None, Mapping[str, float]], None]


@dataclass(frozen=True)
class Failure:
    """A file that gave no features, and why."""

    song: str
    path: str
    reason: str


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
    failed : list of Failure
    audio_s, seconds : float
        Length of the audio of the added songs, and the time the run took.
    """

    n_done: int = 0
    n_present: int = 0
    n_passed_over: int = 0
    failed: list[Failure] = field(default_factory=list)
    audio_s: float = 0.0
    seconds: float = 0.0

    def causes(self) -> dict[str, int]:
        """Return how many files failed of each cause, the most frequent first."""
        return dict(Counter(failure.reason for failure in self.failed).most_common())


class _DiskError(DcbmrError):
    """Writing failed: that ends the run, not only the file."""


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
        A folder, searched recursively; a manifest (TSV or CSV: song, path; relative paths from its own
        folder); one audio file; a mapping from song id to path; or paths. Without a manifest, the id of a
        song is its file's name without the ending.
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
    progress : callable, optional
        ``progress(n_files_over, n_files, figures)`` after every file.

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
    songs, n_passed_over = find_songs(source)
    report = FeaturizeReport(n_passed_over=n_passed_over)
    piece = {"offset": offset, "duration": duration}
    if not (resume and root.exists()):
        if root.exists() and not overwrite:
            raise InputError(f"{root} exists; --resume continues it, --overwrite replaces it")
        refuse_existing(root, overwrite=True)
        config = {"kinds": list(extractor.kinds), **piece}
        with new_directory(root, kind=_FEATURES, config=config, overwrite=overwrite) as beside:
            for kind in extractor.kinds:
                create_store(beside / kind, extractor, kind)
    with _FeaturesWriter(root, extractor, piece) as writer:
        present = writer.songs & songs.keys()
        report.n_present = len(present)
        n_todo = len(songs) - len(present)
        todo = ((song, songs[song]) for song in songs if song not in present)
        run = _Run(extractor, offset, duration, root)
        try:
            with closing(run.in_order(todo, n_threads)) as results:
                for n_over, result in enumerate(results, 1):
                    if isinstance(result, Failure):
                        report.failed.append(result)
                    else:
                        writer.append(result)
                        report.n_done += 1
                        report.audio_s += result.audio_s
                    if progress is not None:
                        figures = {"failed": float(len(report.failed)), "audio_s": report.audio_s}
                        progress(n_over, n_todo, figures)
        except OSError as error:
            raise _disk_error(root, error) from error
        finally:
            # Also after Ctrl-C or an error: what was finished counts.
            _finish(root, writer, report)
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


def _finish(root: Path, writer: _FeaturesWriter, report: FeaturizeReport) -> None:
    try:
        writer.commit()
        _write_failures(root / FAILED, report.failed)
    except OSError as error:
        raise _disk_error(root, error) from error


def _disk_error(root: Path, error: OSError) -> _DiskError:
    full = "the disk is full; free some space and" if error.errno == errno.ENOSPC else f"{error};"
    return _DiskError(f"{root} could not be written: {full} continue with --resume")


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
        frames.append(np.concatenate([part[kind] for part, _ in _frames(Path(path), extractor)]))
        if not len(frames[-1]):
            raise _too_short(Path(path), extractor)
    return MemoryFeatures(kind, songs, frames)


@dataclass
class _Extracted:
    """The frames of a song on their way to the store, in memory or, if large, in a temporary file."""

    song: str
    audio_s: float
    n_frames: dict[Kind, int]
    crc32: dict[Kind, int]
    frames: dict[Kind, IO[bytes]]

    def close(self) -> None:
        for frames in self.frames.values():
            frames.close()


def _close(future: Future[_Extracted | Failure]) -> None:
    if not future.cancelled() and not future.exception() and isinstance(song := future.result(), _Extracted):
        song.close()


class _Run:
    """Extracts songs on several threads."""

    def __init__(self, extractor: Extractor, offset: float, duration: float | None, root: Path) -> None:
        self._extractor, self._root = extractor, root
        self._offset, self._duration = offset, duration
        self._cancelled = threading.Event()

    def in_order(
        self, todo: Iterator[tuple[str, str]], n_threads: int
    ) -> Generator[_Extracted | Failure, None, None]:
        """Yield results in the order of ``todo``, with a bounded number of songs in hand."""
        ahead: deque[Future[_Extracted | Failure]] = deque()
        pool = ThreadPoolExecutor(n_threads, "featurize")
        try:
            while True:
                for song, path in islice(todo, 8 * n_threads - len(ahead)):
                    ahead.append(pool.submit(self._one, song, path))
                if not ahead:
                    return
                yield ahead[0].result()
                _close(ahead.popleft())
        finally:
            self._cancelled.set()
            pool.shutdown(cancel_futures=True)
            for future in ahead:
                _close(future)

    def _one(self, song: str, path: str) -> _Extracted | Failure:
        spools = {kind: self._spool() for kind in self._extractor.kinds}
        result = _Extracted(song, 0.0, dict.fromkeys(spools, 0), dict.fromkeys(spools, 0), spools)
        whole = False
        try:
            _check_names(song, path)
            self._fill(result, Path(path))
            whole = True
            return result
        except AudioError as error:
            return Failure(song, path, error.reason)
        except DcbmrError:
            raise
        except Exception as error:  # a decoder's own mistake must not end the run either
            return Failure(song, path, f"could not be decoded: {type(error).__name__}: {error}")
        finally:
            if not whole:
                result.close()

    def _fill(self, result: _Extracted, path: Path) -> None:
        for frames, n_samples in _frames(path, self._extractor, self._offset, self._duration):
            if self._cancelled.is_set():
                raise AudioError(path, "was interrupted")
            result.audio_s += n_samples / self._extractor.settings.sr
            for kind, rows in frames.items():
                data = rows.astype(DTYPES[kind], copy=False).tobytes()
                result.n_frames[kind] += len(rows)
                result.crc32[kind] = zlib.crc32(data, result.crc32[kind])
                self._write(result.frames[kind], data)
        if not all(result.n_frames.values()):
            raise _too_short(path, self._extractor, result.audio_s)

    def _spool(self) -> IO[bytes]:
        return tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=str(self._root))

    def _write(self, spool: IO[bytes], data: bytes) -> None:
        try:
            spool.write(data)
        except OSError as error:
            raise _disk_error(self._root, error) from error


def _frames(
    path: Path, extractor: Extractor, offset: float = 0.0, duration: float | None = None
) -> Iterator[tuple[dict[Kind, Any], int]]:
    """Yield the frames of a file as they become ready, and the number of samples they came of."""
    stream = extractor.stream()
    for block in decode(path, extractor.settings.sr, offset=offset, duration=duration):
        yield stream.accept(block), len(block)
    yield stream.finish(), 0


def _too_short(path: Path, extractor: Extractor, audio_s: float | None = None) -> AudioError:
    settings = extractor.settings
    found = "" if audio_s is None else f" ({audio_s:.3f} s)"
    return AudioError(
        path, f"is too short{found}: a frame needs {settings.n_fft} samples at {settings.sr:g} Hz"
    )


def _check_names(song: str, path: str) -> None:
    """Refuse ids that the text files of the later steps could not hold."""
    try:
        song.encode()
    except UnicodeEncodeError:
        raise AudioError(path, "its name is not UTF-8; rename it") from None
    if not song or any(character in song for character in "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        raise AudioError(path, "the song's id is empty or holds a tab or a line break; rename it")


def _write_failures(file: Path, failed: list[Failure]) -> None:
    if not failed:
        file.unlink(missing_ok=True)
        return
    beside = file.with_name(f".{file.name}.partial")
    with beside.open("w", encoding="utf-8", errors="backslashreplace") as text:
        text.write("song\tpath\treason\n")
        for failure in failed:
            cells = (failure.song, failure.path, failure.reason)
            text.write("\t".join(" ".join(cell.split()) for cell in cells) + "\n")
    beside.replace(file)


class _FeaturesWriter:
    """The stores of all kinds of a directory, which hold the same songs in the same order."""

    def __init__(self, root: Path, extractor: Extractor, piece: Mapping[str, Any]) -> None:
        config = read_config(root, kind=_FEATURES)
        for name, wanted in {"kinds": list(extractor.kinds), **piece}.items():
            if config.get(name) != wanted:
                raise InputError(
                    f"{root} was made with {name} = {config.get(name)!r}, now it is {wanted!r}; "
                    "give the same settings or another output directory"
                )
        self._writers: list[StoreWriter] = []
        try:
            for kind in extractor.kinds:
                self._writers.append(StoreWriter(root / kind, extractor, kind))
            # A kill between two commits leaves one kind ahead of the other.
            indexes = [writer.index() for writer in self._writers]
            n_songs = min(map(len, indexes))
            for writer, index in zip(self._writers, indexes, strict=True):
                writer.keep(index[:n_songs])
            self.songs = {entry.song for entry in indexes[0][:n_songs]}
        except BaseException:
            self.close()
            raise
        self._committed = time.monotonic()

    def append(self, song: _Extracted) -> None:
        for writer in self._writers:
            frames = song.frames[writer.kind]
            frames.seek(0)
            writer.append(song.song, frames, song.n_frames[writer.kind], song.crc32[writer.kind])
        if time.monotonic() - self._committed > _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        for writer in self._writers:
            writer.commit()
        self._committed = time.monotonic()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def __enter__(self) -> _FeaturesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check(directory: str | os.PathLike[str]) -> dict[Kind, list[str]]:
    """Read all of a directory of features; return the damaged songs of each kind."""
    root = Path(directory)
    kinds = read_config(root, kind=_FEATURES)["kinds"]
    return {kind: FeatureStore.open(root, kind=kind).check() for kind in kinds}
