"""What a page is told beside the model or the experiment: songs, tags, audio."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcbmr.base.progress import Progress
from dcbmr.plays.songs import SongTable, read_songs
from dcbmr.plays.tags import SongTags
from dcbmr.report.audio import audio_paths, embedded_audio, embedded_windows


@dataclass(frozen=True)
class Sources:
    """Files that a page is made of, beside the model or the experiment.

    Attributes
    ----------
    page : path
        The file of the page: paths of audio are relative to it.
    songs : path, optional
        Song, artist and title.
    tags : path, optional
        Song, tag and, optionally, weight.
    audio : path, optional
        A folder of audio, or a manifest.
    embed_audio : bool
        Put short clips of up to ``MOST_EMBEDDED`` songs into the page, in place of paths.
    random_state : int
        Seed of the map.
    """

    page: Path
    songs: Path | None = None
    tags: Path | None = None
    audio: Path | None = None
    embed_audio: bool = False
    random_state: int = 0

    def or_else(self, known: Mapping[str, Path]) -> Sources:
        """Return these, and of what is not given what is ``known``, as far as it is still there."""
        missing = {name: path for name, path in known.items() if getattr(self, name) is None}
        there = {name: path for name, path in missing.items() if path.exists()}
        if gone := [os.fspath(path) for name, path in missing.items() if name not in there]:
            warnings.warn(
                f"{', '.join(gone)}: not there, and on the page as far as artists and titles are remembered; "
                "--songs, --tags and --audio say where they are",
                stacklevel=2,
            )
        return replace(self, **there)  # type: ignore[arg-type]

    def song_table(self, remembered: SongTable) -> SongTable:
        """Return the table of songs, and what it leaves open as it is remembered."""
        return remembered if self.songs is None else read_songs(self.songs).over(remembered)

    def song_tags(self) -> SongTags | None:
        """Read the tags, where there are any."""
        return None if self.tags is None else SongTags.read(self.tags)

    def audio_urls(self, song_ids: Sequence[str], progress: Progress | None) -> dict[str, str]:
        """Return where the audio of songs is, or, embedded, that of the first of them."""
        if self.audio is None:
            return {}
        if self.embed_audio:
            return embedded_audio(self.audio, song_ids, progress=progress)
        return audio_paths(self.audio, self.page, song_ids)

    def clips(self, windows: Sequence[tuple[str, float, float]], progress: Progress | None) -> list[str]:
        """Return the sound of windows (song, and from which second to which) where it is embedded, or ""."""
        if self.audio is None or not self.embed_audio:
            return [""] * len(windows)
        return embedded_windows(self.audio, windows, progress=progress)

    def flags(self) -> list[str]:
        """Return these as flags of ``dcbmr report``."""
        named = {"--songs": self.songs, "--tags": self.tags, "--audio": self.audio}
        words = [word for flag, path in named.items() if path is not None for word in (flag, str(path))]
        words += ["--embed-audio"] if self.embed_audio else []
        words += ["--seed", str(self.random_state)] if self.random_state else []
        return [*words, "-o", str(self.page)]
