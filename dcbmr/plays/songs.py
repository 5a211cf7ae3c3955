"""The table of songs: artist and title of each, and what a song is called by them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from dcbmr.base.spelling import close_names
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

    def title_of(self) -> dict[str, str]:
        """Return the title of every song that has one."""
        pairs = zip(self.song_ids, self.titles, strict=True)
        return {song: title for song, title in pairs if title}

    @classmethod
    def of(cls, artists: Mapping[str, str] | None, titles: Mapping[str, str] | None) -> SongTable:
        """Return the table of songs that have an artist, or a title."""
        artist, title = artists or {}, titles or {}
        songs = list(dict.fromkeys([*artist, *title]))
        return cls(songs, [artist.get(song, "") for song in songs], [title.get(song, "") for song in songs])

    def over(self, other: SongTable) -> SongTable:
        """Return what this table says, and what it leaves open as another one says."""
        return self.of(other.artist_of() | self.artist_of(), other.title_of() | self.title_of())

    @cached_property
    def has_titles(self) -> bool:
        """Whether any song has a title."""
        return any(self.titles)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {song: row for row, song in enumerate(self.song_ids)}

    def artist_and_title(self, song: str) -> tuple[str, str]:
        """Return both of a song, "" for what is not known."""
        row = self._row_of.get(song)
        return ("", "") if row is None else (self.artists[row], self.titles[row])

    def called(self, song: str) -> str:
        """Return "artist - title" of a song, as far as they are known."""
        return " - ".join(filter(None, self.artist_and_title(song)))

    def with_names(self, songs: Iterable[str]) -> list[str]:
        """Return ids, each with what the song is called."""
        return [f"{song} ({called})" if (called := self.called(song)) else song for song in songs]

    def songs_called(self, name: str, among: Container[str]) -> list[str]:
        """Return the songs of ``among`` whose artist or title is spelt nearly so, the closest first."""
        ids_of: dict[str, list[str]] = {}
        for song in filter(among.__contains__, self.song_ids):
            for known in filter(None, self.artist_and_title(song)):
                ids_of.setdefault(known.casefold(), []).append(song)
        close = close_names(name.casefold(), ids_of, n=2, cutoff=0.75)
        return list(dict.fromkeys(song for known in close for song in ids_of[known]))


class Named:
    """What splits and factors, which are dataclasses, have in common: songs of known artists and titles."""

    artists: Mapping[str, str] | None
    titles: Mapping[str, str] | None

    @cached_property
    def songs(self) -> SongTable:
        """Artists and titles, as far as they are known."""
        return SongTable.of(self.artists, self.titles)

    def named_by(self, songs: SongTable) -> Self:
        """Return the same with the artists and titles of a table of songs, and its own of other songs."""
        table = songs.over(self.songs)
        known = {"artists": table.artist_of() or None, "titles": table.title_of() or None}
        named: Self = replace(cast(Any, self), **known)
        return named


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
