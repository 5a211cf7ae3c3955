"""The table of songs: artist and title of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcbmr.base.text import read_lines
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.plays.columns import Columns


@dataclass(frozen=True, eq=False)
class SongTable:
    """What is known of songs: song_ids, and of each its artist and title ("" where unknown)."""

    song_ids: list[str]
    artists: list[str]
    titles: list[str]

    def __repr__(self) -> str:
        n_artists = len(set(self.artists) - {""})
        return f"SongTable(n_songs={len(self.song_ids)}, n_artists={n_artists})"

    def artist_of(self) -> dict[str, str]:
        """Return the artist of every song that has one."""
        pairs = zip(self.song_ids, self.artists, strict=True)
        return {song: artist for song, artist in pairs if artist}


def read_songs(path: str | Path, *, columns: Columns = None) -> SongTable:
    """Read a table of songs: song, artist and, optionally, title.

    Parameters
    ----------
    path : path
        TSV, CSV or semicolons, plain, ``.gz``, ``.zst`` or ``.bz2``, or Parquet. Columns that a first line
        calls by usual names (song_id, track, artist_name, title, ...) may lie in any order, and either the
        artists or the titles may then be missing. Without such a line they are song, artist and title.
    columns : sequence of two or three, or a comma-separated str, optional
        The columns of song, artist and title: names of a header, or numbers from 1.

    Raises
    ------
    InputError
        The columns are not understood; a line lacks its song or artist, or a song is there twice; names
        the line.
    """
    from dcbmr.plays.columns import SONGS
    from dcbmr.plays.rows import read_rows

    path = Path(path)
    table = SongTable([], [], [])
    seen: set[str] = set()
    for number, (song, artist, title) in read_rows(path, SONGS, columns):
        if not song:
            raise InputError(f"{path}, line {number}: the song is empty")
        if song in seen:
            raise InputError(f"{path}, line {number}: song {song!r} is there twice")
        seen.add(song)
        table.song_ids.append(song)
        table.artists.append(artist or "")
        table.titles.append(title or "")
    return table


def read_song_list(path: Path) -> set[str]:
    """Read song ids, one a line, from a file that may be written by hand, on any system."""
    try:
        return {line.removeprefix("\ufeff").removesuffix("\r") for line in read_lines(path)}
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; wanted a list of songs, one a line"
        ) from None
