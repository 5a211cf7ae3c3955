"""The sound of songs on a page: beside it, by relative paths, or short pieces inside it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

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
                clips[song] = _clip(path)
            except AudioError:
                continue  # as in featurize, what cannot be read is left out
            report("clips", len(clips), MOST_EMBEDDED, {})
            if len(clips) == MOST_EMBEDDED:
                break
    return clips


def _clip(path: str) -> str:
    import soundfile

    blocks = list(decode(path, _SR))
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    n = int(CLIP_S * _SR)
    start = max(0, (len(samples) - n) // 2)
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples[start : start + n], -1, 1), _SR, format="OGG", subtype="VORBIS")
    return f"data:audio/ogg;base64,{base64.b64encode(file.getvalue()).decode()}"
