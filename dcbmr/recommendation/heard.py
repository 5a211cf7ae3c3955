"""Songs that only their audio files tell about, predicted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError
from dcbmr.audio.files import find_songs
from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack


@dataclass(frozen=True, eq=False, repr=False)
class Heard:
    """Songs that were predicted from audio files.

    Attributes
    ----------
    song_ids : list of str
        The files' names without the ending.
    song_factors : ndarray of shape (n_songs, width), float32
        Their predictions.
    failed : dict of str to str
        The files that could not be used, and why.
    """

    song_ids: list[str]
    song_factors: NDArray[np.float32]
    failed: dict[str, str]

    def __repr__(self) -> str:
        n_songs, width = self.song_factors.shape
        return f"Heard(n_songs={n_songs}, width={width}, n_failed={len(self.failed)})"


def hear(
    model: Model | Stack,
    paths: Iterable[Path | str],
    *,
    vectors: FeatureStore | None = None,
    progress: Progress | None = None,
) -> Heard:
    """Predict songs from audio files: each of ``paths`` a file, or a folder that is searched for audio.

    ``vectors`` are those that no audio tells; see :meth:`dcbmr.Model.predict_files`.

    A file that cannot be used is skipped and named in the result; InputError when none can be used. One file
    is in memory at a time.
    """
    report = progress or silent
    files: dict[str, str] = {}
    failed: dict[str, str] = {}
    for path in paths:
        if not Path(path).exists():
            raise InputError(
                f"{path} does not exist; wanted an audio file, or a folder or a manifest of them"
            )
        with find_songs(Path(path)) as found:
            failed |= {str(folder.path): folder.reason for folder in found.failed}
            for song, file in found:
                if files.setdefault(song, file) != file:
                    raise InputError(f"two files of the song {song!r}: {files[song]} and {file}; rename one")
    songs: list[str] = []
    factors: list[NDArray[np.float32]] = []
    for n_done, (song, file) in enumerate(files.items(), 1):
        try:
            factors.append(model.predict_files([file], vectors=vectors))
            songs.append(song)
        except AudioError as error:
            failed[file] = error.reason
        report("predict", n_done, len(files), {})
    if not songs:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in list(failed.items())[:3])
        raise InputError(f"none of the {len(files)} audio files can be used: {reasons}")
    return Heard(songs, np.concatenate(factors), failed)
