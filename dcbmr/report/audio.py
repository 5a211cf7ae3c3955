"""The sound of songs on a page: beside it, by relative paths, or short pieces inside it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError, decode
from dcbmr.audio.files import find_songs
from dcbmr.base.progress import Progress, silent

MOST_EMBEDDED = 200
CLIP_S = 10.0
_SR = 22050


def audio_paths(source: Path, page: Path, song_ids: Sequence[str]) -> dict[str, str]:
    """Return where the audio of songs is, as URLs relative to the page.

    Parameters
    ----------
    source : path
        A folder of audio, or a manifest.
    page : path
        The file of the page.
    song_ids : sequence of str
        Songs that have no audio there are left out.
    """
    folder = page.resolve().parent
    with find_songs(source) as files:
        found = {song: files.path_of(song) for song in song_ids}
    return {
        song: quote(os.path.relpath(os.path.realpath(path), folder).replace(os.sep, "/"))
        for song, path in found.items()
        if path is not None
    }


def embedded_audio(
    source: Path, song_ids: Sequence[str], *, progress: Progress | None = None
) -> dict[str, str]:
    """Return up to ``MOST_EMBEDDED`` clips of ``CLIP_S`` seconds, the first that can be read, as data URLs.

    A clip is the middle of its song: mono, 22,050 Hz, Ogg Vorbis.
    """
    report = progress or silent
    clips: dict[str, str] = {}
    with find_songs(source) as files:
        for song in song_ids:
            path = files.path_of(song)
            if path is None:
                continue
            try:
                clips[song] = _as_url(_middle(_samples(path)))
            except AudioError:
                continue  # as in featurize, what cannot be read is left out
            report("clips", len(clips), MOST_EMBEDDED, {})
            if len(clips) == MOST_EMBEDDED:
                break
    return clips


def embedded_windows(
    source: Path, windows: Sequence[tuple[str, float, float]], *, progress: Progress | None = None
) -> list[str]:
    """Return pieces of songs, from one second to another, as data URLs.

    "" for one that cannot be read, and for all after the first ``MOST_EMBEDDED``.
    """
    report = progress or silent
    clips = [""] * len(windows)
    with find_songs(source) as files:
        for place, (song, start_s, end_s) in enumerate(windows[:MOST_EMBEDDED]):
            path = files.path_of(song)
            if path is not None:
                with suppress(AudioError):
                    clips[place] = _as_url(_samples(path, start_s, end_s - start_s))
            report("windows", place + 1, min(len(windows), MOST_EMBEDDED), {})
    return clips


def _samples(path: str, offset: float = 0.0, duration: float | None = None) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *decode(path, _SR, offset=offset, duration=duration)])


def _middle(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    n = int(CLIP_S * _SR)
    start = max(0, (len(samples) - n) // 2)
    return samples[start : start + n]


def _as_url(samples: NDArray[np.float32]) -> str:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), _SR, format="OGG", subtype="VORBIS")
    return f"data:audio/ogg;base64,{base64.b64encode(file.getvalue()).decode()}"
