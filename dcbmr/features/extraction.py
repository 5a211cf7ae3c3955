"""A song's file to its frames, on any thread: what featurize does with each file."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import IO, Any

from dcbmr.audio.decode import AudioError, decode
from dcbmr.audio.frames import Extractor, Kind
from dcbmr.contract.registry import find_kind
from dcbmr.errors import DcbmrError
from dcbmr.features.sources import SourceFile
from dcbmr.features.writer import encoded, writing

_SPOOL_BYTES = 4 << 20


@dataclass(eq=False)
class Extracted:
    """The frames of a song on their way to the store, in memory or, if large, in a temporary file."""

    file: SourceFile
    audio_s: float
    n_frames: dict[Kind, int]
    crc32: dict[Kind, int]
    frames: dict[Kind, IO[bytes]]

    def close(self) -> None:
        """Let go of the frames."""
        for frames in self.frames.values():
            frames.close()


class SongExtractor:
    """Extracts songs, each on any thread; a bad file costs only itself.

    Parameters
    ----------
    extractor : Extractor
    offset, duration : float
        Seconds to skip in each file, and to read at most (None: all).
    directory : Path
        Where large songs wait for their turn.
    """

    def __init__(
        self, extractor: Extractor, *, offset: float, duration: float | None, directory: Path
    ) -> None:
        self._extractor, self._directory = extractor, directory
        self._offset, self._duration = offset, duration
        self._dtypes = {kind: find_kind(kind).dtype for kind in extractor.kinds}

    def __call__(self, song_and_path: tuple[str, str], cancelled: Event) -> Extracted | AudioError:
        """Return the frames of a song, or what is wrong with its file."""
        song, path = song_and_path
        spools = {kind: self._spool() for kind in self._extractor.kinds}
        result = Extracted(SourceFile(song), 0.0, dict.fromkeys(spools, 0), dict.fromkeys(spools, 0), spools)
        whole = False
        try:
            _check_names(song, path)
            self._fill(result, path, cancelled)
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

    def _fill(self, result: Extracted, path: str, cancelled: Event) -> None:
        damage: list[str] = []
        # Before it is read: should it change in between, it is taken for changed the next time.
        file = _as_it_is(result.file.song, path)
        for frames, n_samples in extracted_frames(
            path, self._extractor, offset=self._offset, duration=self._duration, damage=damage
        ):
            if cancelled.is_set():
                raise AudioError(path, "was interrupted")
            result.audio_s += n_samples / self._extractor.settings.sr
            for kind, rows in frames.items():
                data = encoded(rows, self._dtypes[kind])
                result.n_frames[kind] += len(rows)
                result.crc32[kind] = zlib.crc32(data, result.crc32[kind])
                with writing(self._directory):
                    result.frames[kind].write(data)
        if not all(result.n_frames.values()):
            raise too_short(path, self._extractor, result.audio_s)
        result.file = replace(file, damage=_in_words(damage))

    def _spool(self) -> IO[bytes]:
        return tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=str(self._directory))


def _as_it_is(song: str, path: str) -> SourceFile:
    try:
        return SourceFile.now(song, path)
    except OSError as error:
        raise AudioError(path, f"cannot be read: {error.strerror or error}") from None


def _in_words(damage: list[str]) -> str:
    if not damage:
        return ""
    more = f", and {len(damage) - 1} times more" if len(damage) > 1 else ""
    return f"part of it is lost: the decoder says {damage[0].rstrip('!.')}{more}"


def extracted_frames(
    path: str,
    extractor: Extractor,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    damage: list[str] | None = None,
) -> Iterator[tuple[dict[Kind, Any], int]]:
    """Yield the frames of a file as they become ready, and the number of samples they came of."""
    stream = extractor.stream()
    for block in decode(path, extractor.settings.sr, offset=offset, duration=duration, damage=damage):
        yield stream.accept(block), len(block)
    yield stream.finish(), 0


def too_short(path: str, extractor: Extractor, audio_s: float | None = None) -> AudioError:
    """Return what is said of a file without a single frame."""
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
