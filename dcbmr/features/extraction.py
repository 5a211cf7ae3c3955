"""A song's file to its features, on any thread: what featurize does with each file."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import IO

import numpy as np

from dcbmr.audio.decode import AudioError, decode_at
from dcbmr.contract.features import FeatureConfig
from dcbmr.errors import DcbmrError
from dcbmr.features.outline import OutlineMaker
from dcbmr.features.recipe import TIMEOUT_S, Recipe
from dcbmr.features.song_streams import Rows
from dcbmr.features.sources import SourceFile
from dcbmr.features.writer import encoded, writing

_SPOOL_BYTES = 4 << 20
_NO_FRAMES = np.empty((0, 0), np.float32)


@dataclass(eq=False)
class Extracted:
    """The features of a song on their way to the store, in memory or, if large, in a temporary file."""

    file: SourceFile
    audio_s: float
    n_frames: dict[str, int]
    crc32: dict[str, int]
    frames: dict[str, IO[bytes]]

    def close(self) -> None:
        """Let go of the frames."""
        for frames in self.frames.values():
            frames.close()


class SongExtractor:
    """Extracts songs, each on any thread; a bad file costs only itself.

    Parameters
    ----------
    recipe : Recipe
    offset, duration : float
        Seconds to skip in each file, and to read at most (None: all).
    timeout_s : float
        What a plugin of others may take for a kind of a song.
    directory : Path
        Where large songs wait for their turn.
    """

    def __init__(
        self, recipe: Recipe, *, offset: float, duration: float | None, timeout_s: float, directory: Path
    ) -> None:
        self._recipe, self._directory = recipe, directory
        self._offset, self._duration, self._timeout_s = offset, duration, timeout_s
        self._dtypes = {config.kind: config.dtype for config in recipe.configs}

    def __call__(self, song_and_path: tuple[str, str], cancelled: Event) -> Extracted | AudioError:
        """Return the frames of a song, or what is wrong with its file."""
        song, path = song_and_path
        spools = {kind: self._spool() for kind in self._recipe.kinds}
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
        made = made_rows(
            path,
            self._recipe,
            offset=self._offset,
            duration=self._duration,
            damage=damage,
            cancelled=cancelled,
            timeout_s=self._timeout_s,
        )
        outline = OutlineMaker()
        for found, seconds in made:
            outline.accept(found.get("mel", _NO_FRAMES))
            if cancelled.is_set():
                raise AudioError(path, "was interrupted")
            result.audio_s += seconds
            for kind, rows in found.items():
                data = encoded(rows, self._dtypes[kind])
                result.n_frames[kind] += len(rows)
                result.crc32[kind] = zlib.crc32(data, result.crc32[kind])
                with writing(self._directory):
                    result.frames[kind].write(data)
        for config in self._recipe.configs:
            if not result.n_frames[config.kind]:
                raise too_short(path, config, result.audio_s)
        result.file = replace(file, damage=_in_words(damage), outline=outline.finish())

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


def made_rows(
    path: str,
    recipe: Recipe,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    damage: list[str] | None = None,
    cancelled: Event | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[tuple[Rows, float]]:
    """Yield the rows of each kind of a file as they become ready, and the seconds of audio they came of."""
    with recipe.begin(path, cancelled=cancelled, timeout_s=timeout_s) as streams:
        blocks = decode_at(path, recipe.rates, offset=offset, duration=duration, damage=damage)
        for sr, block in blocks:
            yield streams.accept(sr, block), len(block) / sr if sr == recipe.rates[0] else 0.0
        yield streams.finish(), 0.0


def too_short(path: str, config: FeatureConfig, audio_s: float | None = None) -> AudioError:
    """Return what is said of a file that gave nothing of a kind."""
    found = "" if audio_s is None else f" ({audio_s:.3f} s)"
    settings = config.settings
    if config.shape == "frames" and {"n_fft", "sr"} <= settings.keys():
        needs = f": a frame needs {settings['n_fft']} samples at {settings['sr']:g} Hz"
    else:
        needs = f": it gives nothing of kind {config.kind!r}"
    return AudioError(path, "is too short", found + needs)


def _check_names(song: str, path: str) -> None:
    """Refuse ids that the text files of the later steps could not hold."""
    try:
        song.encode()
    except UnicodeEncodeError:
        raise AudioError(path, "its name is not UTF-8; rename it, or give a manifest") from None
    if not song or any(character in song for character in "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        raise AudioError(path, "the song's id is empty or holds a tab or a line break; rename it")
