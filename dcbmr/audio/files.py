"""Which audio files there are: a folder, a manifest or a list, and the song of each."""

from __future__ import annotations

import csv
import filecmp
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from dcbmr.audio.decode import AUDIO_ENDINGS, AudioError, is_audio
from dcbmr.base.scratch import Scratch, as_text
from dcbmr.errors import InputError
from dcbmr.plays.columns import MANIFEST, choose_columns, is_header

Source = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]]

_SCHEMA = """
    CREATE TABLE files (song BLOB PRIMARY KEY, path BLOB);
    CREATE INDEX by_path ON files (path);
    CREATE TABLE more (song BLOB, path BLOB); -- files of songs that have one already
    CREATE INDEX more_of ON more (song);
    CREATE TABLE folders (path BLOB PRIMARY KEY); -- to be entered
    CREATE TABLE entered (device_and_inode BLOB PRIMARY KEY);
"""
_SHOWN = 5  # songs in a message


class SongFiles:
    """Pairs (song, path): those of a folder by path, others in the order given.

    There may be millions, so they are kept in a temporary file; :func:`find_songs` makes one.

    Attributes
    ----------
    folder : str or None
        The folder that holds the files, or the manifest.
    n_skipped : int
        Files in the folder whose endings are no audio's.
    n_copies : int
        Files left out because another one of the same song has the same bytes.
    failed : list of AudioError
        Folders that could not be read.
    """

    def __init__(self, tables: Scratch, source: Source) -> None:
        self._tables = tables
        self.folder: str | None = None
        self.n_skipped = self.n_copies = 0
        self.failed: list[AudioError] = []
        self._order = "rowid"
        for song, path in self._pairs(source):
            if not tables.run("INSERT OR IGNORE INTO files VALUES (?, ?)", song, path).rowcount:
                tables.run("INSERT INTO more VALUES (?, ?)", song, path)
        self._leave_out_copies()

    def __len__(self) -> int:
        return int(self._tables.run("SELECT count(*) FROM files").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for song, path in self._tables.run(f"SELECT song, path FROM files ORDER BY {self._order}"):
            yield as_text(song), as_text(path)

    def path_of(self, song: str) -> str | None:
        """Return the file of a song; None where there is none."""
        found = self._tables.run("SELECT path FROM files WHERE song = ?", song).fetchone()
        return as_text(found[0]) if found else None

    def drop(self, song: str) -> bool:
        """Take a song out, and return whether it was there."""
        return self._tables.run("DELETE FROM files WHERE song = ?", song).rowcount == 1

    def _leave_out_copies(self) -> None:
        """Keep the first file of each song; InputError names the songs whose files differ."""
        n_conflicts = 0
        shown: list[str] = []
        for (name,) in self._tables.run("SELECT DISTINCT song FROM more ORDER BY song"):
            song = as_text(name)
            more = self._tables.run(f"SELECT path FROM more WHERE song = ? ORDER BY {self._order}", song)
            paths = [str(self.path_of(song)), *(as_text(path) for (path,) in more)]
            if self._order == "path":  # a folder hands out its files in any order
                paths.sort()
                self._tables.run("UPDATE files SET path = ? WHERE song = ?", paths[0], song)
            different = [path for path in paths[1:] if not _are_copies(paths[0], path)]
            self.n_copies += len(paths) - 1
            if different:
                n_conflicts += 1
                if len(shown) < _SHOWN:
                    shown.append(f"{song!r}: {paths[0]} and {different[0]}")
        if n_conflicts:
            n_songs = "1 song has" if n_conflicts == 1 else f"{n_conflicts} songs have"
            rest = "; ..." if n_conflicts > len(shown) else ""
            raise InputError(
                f"{n_songs} several files that differ: {'; '.join(shown)}{rest}. The id of a song is its "
                "file's name without its ending: rename them, or give a manifest (song, path) with own ids"
            )

    def _pairs(self, source: Source) -> Iterable[tuple[str, str]]:
        if isinstance(source, Mapping):
            return ((song, os.fspath(path)) for song, path in source.items())
        if not isinstance(source, str | os.PathLike):
            return ((_song_of(path), os.fspath(path)) for path in source)
        if not os.path.exists(source):
            wanted = "" if is_audio(source) else "; wanted a folder of audio, an audio file or a manifest"
            raise InputError(f"{source} does not exist{wanted}")
        if os.path.isdir(source):
            self._order = "path"
            self.folder = os.fspath(source)
            return ((_song_of(path), path) for path in self._walk(self.folder))
        if is_audio(source):
            return [(_song_of(source), os.fspath(source))]
        self.folder = os.path.dirname(source)
        return _read_manifest(Path(source))

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield all audio files below ``folder``; links are followed, each folder is entered once."""
        self._tables.run("INSERT INTO folders VALUES (?)", folder)
        # Always the first: which of two links to a folder is followed must not depend on the disk's order.
        while first := self._tables.run("SELECT min(path) FROM folders").fetchone()[0]:
            folder = as_text(first)
            self._tables.run("DELETE FROM folders WHERE path = ?", folder)
            try:
                yield from self._enter(folder)
            except OSError as error:
                self.failed.append(AudioError(folder, f"cannot be read: {error.strerror or error}"))

    def _enter(self, folder: str) -> Iterator[str]:
        found = os.stat(folder)
        if not self._tables.run(
            "INSERT OR IGNORE INTO entered VALUES (?)", f"{found.st_dev} {found.st_ino}"
        ).rowcount:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    self._tables.run("INSERT OR IGNORE INTO folders VALUES (?)", entry.path)
                elif is_audio(entry.path):
                    yield entry.path
                else:
                    self.n_skipped += 1


@contextmanager
def find_songs(source: Source) -> Iterator[SongFiles]:
    """Lend the file of each song until the block ends.

    Raises
    ------
    InputError
        There is no audio, or a song has two files that differ.
    """
    with closing(Scratch("the list of songs", _SCHEMA)) as tables:
        songs = SongFiles(tables, source)
        if not len(songs):
            if songs.failed:
                raise songs.failed[0]
            if not isinstance(source, str | os.PathLike) or not os.path.isdir(source):
                raise InputError(f"{source} names no song")
            n_files, endings = songs.n_skipped, " ".join(sorted(AUDIO_ENDINGS))
            found = f"of {n_files} files none ends in {endings}" if n_files else "it holds no files"
            raise InputError(f"{source} holds no audio: {found}")
        yield songs


def _are_copies(first: str, second: str) -> bool:
    """Return whether two files are one, or have the same bytes."""
    if first == second:
        return True
    try:
        return os.path.samefile(first, second) or filecmp.cmp(first, second, shallow=False)
    except (OSError, ValueError):  # ValueError: a zero byte in a path
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a link to itself
        return False


def _song_of(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _read_manifest(file: Path) -> Iterator[tuple[str, str]]:
    try:
        # Paths may be of any bytes; the names of songs are checked later, one by one.
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as text:
            first = text.readline()
            if "\0" in first:
                raise InputError(f"{file} is no manifest: it is not UTF-8 text")
            rows = csv.reader(chain([first], text), delimiter="\t" if "\t" in first else ",")
            width, song, path = 2, 0, 1
            for row in rows:
                if rows.line_num == 1 and is_header(MANIFEST, row, None):
                    width = len(row)
                    places = choose_columns(file, MANIFEST, row, width, None)
                    song, path = [place for place in places if place is not None]
                elif row:
                    if len(row) != width or not row[song] or not row[path]:
                        wanted = f"wanted {width} columns, with song and path"
                        raise InputError(f"{file}, line {rows.line_num}: {wanted}, got {row}")
                    yield row[song], os.path.join(os.path.dirname(file), row[path])
    except csv.Error as error:
        raise InputError(f"{file} is no manifest: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
