"""The table of songs: artist and title of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcbmr.errors import InputError


@dataclass(frozen=True)
class SongTable:
    """What is known of songs: song_ids, and of each its artist and title ("" where unknown)."""

    song_ids: list[str]
    artists: list[str]
    titles: list[str]

    def artist_of(self) -> dict[str, str]:
        """Return the artist of every song that has one."""
        pairs = zip(self.song_ids, self.artists, strict=True)
        return {song: artist for song, artist in pairs if artist}


def read_songs(path: str | Path) -> SongTable:
    """Read a table of songs: tab-separated song, artist and, optionally, title.

    A first line that names the columns (song, artist, title, in any order) is a header.

    Raises
    ------
    InputError
        For a line with too few columns or a song named twice; names the line.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    first = [name.strip().lower() for name in lines[0].split("\t")]
    has_header = "song" in first and "artist" in first
    order = [first.index(name) if name in first else -1 for name in ("song", "artist", "title")]
    song_at, artist_at, title_at = order if has_header else (0, 1, 2)
    table = SongTable([], [], [])
    seen: set[str] = set()
    for number, line in enumerate(lines[has_header:], start=1 + has_header):
        fields = line.rstrip("\r").split("\t")
        if fields == [""]:
            continue
        if len(fields) <= max(song_at, artist_at):
            raise InputError(
                f"{path}, line {number}: wanted song, artist and title between tabs; got {line!r}"
            )
        if fields[song_at] in seen:
            raise InputError(f"{path}, line {number}: song {fields[song_at]!r} is there twice")
        seen.add(fields[song_at])
        table.song_ids.append(fields[song_at])
        table.artists.append(fields[artist_at])
        table.titles.append(fields[title_at] if 0 <= title_at < len(fields) else "")
    if not table.song_ids and not has_header:
        raise InputError(f"{path} is empty; wanted lines of song, artist and title, between tabs")
    return table
