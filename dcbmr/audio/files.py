"""Which audio files there are: a folder, a manifest or a list, and the song of each."""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from dcbmr.audio.decode import AUDIO_ENDINGS, AudioError, is_audio
from dcbmr.errors import DcbmrError, InputError

Source = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]]

_ANY_NAME = ("utf-8", "surrogatepass")  # also of bytes that are no UTF-8
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA cache_size = -512; -- kiB
    CREATE TABLE files (song BLOB PRIMARY KEY, path BLOB);
    CREATE INDEX by_path ON files (path);
    CREATE TABLE folders (path BLOB PRIMARY KEY); -- to be entered
    CREATE TABLE entered (device_and_inode BLOB PRIMARY KEY);
"""


class SongFiles:
    """Pairs (song, path): those of a folder by path, others in the order given.

    There may be millions, so they are kept in a temporary file; :func:`find_songs` makes one.

    Attributes
    ----------
    n_passed_over : int
        Files in the folder whose endings are no audio's.
    failed : list of AudioError
        Folders that could not be read.
    """

    def __init__(self, database: sqlite3.Connection, source: Source) -> None:
        self._database = database
        self.n_passed_over = 0
        self.failed: list[AudioError] = []
        database.executescript(_SCHEMA)
        self._order = "rowid"
        for song, path in self._pairs(source):
            self._add(song, path)

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM files").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for song, path in self._run(f"SELECT song, path FROM files ORDER BY {self._order}"):
            yield _text(song), _text(path)

    def drop(self, song: str) -> bool:
        """Take a song out, and return whether it was there."""
        return self._run("DELETE FROM files WHERE song = ?", song).rowcount == 1

    def _run(self, statement: str, *values: str) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, [value.encode(*_ANY_NAME) for value in values])
        except sqlite3.Error as error:
            raise DcbmrError(f"the list of songs could not be kept in a temporary file: {error}") from error

    def _add(self, song: str, path: str) -> None:
        if not self._run("INSERT OR IGNORE INTO files VALUES (?, ?)", song, path).rowcount:
            first = self._run("SELECT path FROM files WHERE song = ?", song).fetchone()[0]
            both = " and ".join(sorted((_text(first), path)))
            raise InputError(f"two files of the song {song!r}: {both}; rename one, or give a manifest")

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
            return ((_song_of(path), path) for path in self._walk(os.fspath(source)))
        if is_audio(source):
            return [(_song_of(source), os.fspath(source))]
        return _read_manifest(Path(source))

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield all audio files below ``folder``; links are followed, each folder is entered once."""
        self._run("INSERT INTO folders VALUES (?)", folder)
        # Always the first: which of two links to a folder is followed must not depend on the disk's order.
        while first := self._run("SELECT min(path) FROM folders").fetchone()[0]:
            folder = _text(first)
            self._run("DELETE FROM folders WHERE path = ?", folder)
            try:
                yield from self._enter(folder)
            except OSError as error:
                self.failed.append(AudioError(folder, f"cannot be read: {error.strerror or error}"))

    def _enter(self, folder: str) -> Iterator[str]:
        found = os.stat(folder)
        if not self._run(
            "INSERT OR IGNORE INTO entered VALUES (?)", f"{found.st_dev} {found.st_ino}"
        ).rowcount:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    self._run("INSERT OR IGNORE INTO folders VALUES (?)", entry.path)
                elif is_audio(entry.path):
                    yield entry.path
                else:
                    self.n_passed_over += 1


@contextmanager
def find_songs(source: Source) -> Iterator[SongFiles]:
    """Lend the file of each song until the block ends.

    Raises
    ------
    InputError
        There is no audio, or two files of one song.
    """
    # Without a name, the database is a temporary file that only appears where its cache is too small.
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        songs = SongFiles(database, source)
        if not len(songs):
            if songs.failed:
                raise songs.failed[0]
            if not isinstance(source, str | os.PathLike) or not os.path.isdir(source):
                raise InputError(f"{source} names no song")
            n_files, endings = songs.n_passed_over, " ".join(sorted(AUDIO_ENDINGS))
            found = f"of {n_files} files none ends in {endings}" if n_files else "it holds no files"
            raise InputError(f"{source} holds no audio: {found}")
        yield songs


def _text(name: bytes) -> str:
    return name.decode(*_ANY_NAME)


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
            for row in rows:
                is_header = rows.line_num == 1 and [cell.strip().lower() for cell in row] == ["song", "path"]
                if not row or is_header:
                    continue
                if len(row) != 2 or not all(row):
                    raise InputError(
                        f"{file}, line {rows.line_num}: wanted two columns, song and path, got {row}"
                    )
                yield row[0], os.path.join(os.path.dirname(file), row[1])
    except csv.Error as error:
        raise InputError(f"{file} is no manifest: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
