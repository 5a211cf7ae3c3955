"""The files that the songs of a store were made of: as they were then, and what has become of them.

``sources.tsv`` stands beside the kinds and has a line for each line of their indexes, in the same order: the
song, the size of its file in bytes, the time of its last change in ns, what was found damaged in it, its path
as a JSON string, and the outline of its sound (dcbmr.features.outline), which older lines lack. Numbers
of -1 say that the file is not known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from dcbmr.audio.files import SongFiles
from dcbmr.base.directory import reading
from dcbmr.base.scratch import Scratch, as_text
from dcbmr.errors import InputError

SOURCES = "sources.tsv"
_ANY_NAME = "surrogateescape"
_SCHEMA = "CREATE TABLE files (song BLOB PRIMARY KEY, path BLOB, size INTEGER, mtime_ns INTEGER);"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The file of a song, as it was when its features were made; one line of ``sources.tsv``."""

    song: str
    path: str = ""  # absolute
    size: int = -1  # bytes
    mtime_ns: int = -1
    damage: str = ""
    outline: str = ""

    @classmethod
    def now(cls, song: str, path: str) -> Self:
        """Return a file as it is; OSError where it is not."""
        found = os.stat(path)
        return cls(song, os.path.abspath(path), found.st_size, found.st_mtime_ns)

    def line(self) -> str:
        """Return the file as it is written."""
        damage = " ".join(self.damage.split())
        path = json.dumps(self.path, ensure_ascii=False)
        return f"{self.song}\t{self.size}\t{self.mtime_ns}\t{damage}\t{path}\t{self.outline}\n"

    @property
    def is_known(self) -> bool:
        """Whether size and time are known: stores made before they were kept do not know them."""
        return self.size >= 0

    def at(self, path: str) -> SourceFile | None:
        """Return the song's file as it is now at ``path``: None where it is gone, for certain."""
        try:
            return SourceFile.now(self.song, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):  # it may not be looked at
            return self

    def lay_in(self, folder: str) -> bool:
        """Return whether the file lay somewhere below ``folder``, an absolute path."""
        return self.is_known and self.path.startswith(os.path.join(folder, ""))


def encoded(source: SourceFile) -> bytes:
    """Return the bytes of a line."""
    return source.line().encode("utf-8", _ANY_NAME)


def read_sources(root: Path) -> Iterator[SourceFile]:
    """Yield the lines of ``sources.tsv``; a last line without its end is not read."""
    with reading(root / SOURCES), (root / SOURCES).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                fields = line[:-1].decode("utf-8", _ANY_NAME).split("\t")
                song, size, mtime_ns, damage, path, *outline = fields
                yield SourceFile(song, json.loads(path), int(size), int(mtime_ns), damage, *outline)
            except (ValueError, TypeError):
                raise InputError(f"{root / SOURCES}, line {number} is damaged: {line!r}") from None


class KnownFiles:
    """The newest file of each song of a store, for any number of songs."""

    def __init__(self) -> None:
        self._tables = Scratch("the list of the songs that are there", _SCHEMA)

    def put(self, file: SourceFile) -> None:
        """Take note of a file, in place of an older one."""
        values = (file.song, file.path, file.size, file.mtime_ns)
        self._tables.run("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", *values)

    def update(self, file: SourceFile) -> None:
        """Change what is known of the file of a song; also while the list is read."""
        values = (file.path, file.size, file.mtime_ns, file.song)
        self._tables.run("UPDATE files SET path = ?, size = ?, mtime_ns = ? WHERE song = ?", *values)

    def remove(self, song: str) -> None:
        """Forget a song."""
        self._tables.run("DELETE FROM files WHERE song = ?", song)

    def newest(self, file: SourceFile) -> SourceFile:
        """Return a file with what is known now of the song's; as it is where nothing is."""
        row = self._tables.run("SELECT path, size, mtime_ns FROM files WHERE song = ?", file.song).fetchone()
        if row is None:
            return file
        return replace(file, path=as_text(row[0]), size=row[1], mtime_ns=row[2])

    def __contains__(self, song: str) -> bool:
        found = self._tables.run("SELECT count(*) FROM files WHERE song = ?", song).fetchone()
        return bool(found[0])

    def __len__(self) -> int:
        return int(self._tables.run("SELECT count(*) FROM files").fetchone()[0])

    def __iter__(self) -> Iterator[SourceFile]:
        for song, path, size, mtime_ns in self._tables.run("SELECT * FROM files ORDER BY rowid"):
            yield SourceFile(as_text(song), as_text(path), size, mtime_ns)

    def close(self) -> None:
        """Let go of the list."""
        self._tables.close()


@dataclass
class Changes:
    """What has become of the files of the songs of a store.

    Attributes
    ----------
    n_same, n_changed, n_gone : int
        Of the songs that the source lists: files that are as they were, are not, and are no more.
    vanished : list of SourceFile
        Files that the source would list if they were there.
    n_elsewhere : int
        Songs that the source says nothing of.
    moved : bool
        Whether a file lies elsewhere than it did, or was not known.
    """

    n_same: int = 0
    n_changed: int = 0
    n_gone: int = 0
    vanished: list[SourceFile] = field(default_factory=list)
    n_elsewhere: int = 0
    moved: bool = False


def find_changes(songs: SongFiles, known: KnownFiles, *, prune: bool = False) -> Changes:
    """Take those out of ``songs`` whose files are as they were when they were read, and count the others.

    A song that is not in ``songs`` may be of another source; it has vanished only if its file lay in the
    folder of this one. Where a store does not know its files, those there are now are taken for them. Files
    that have moved are brought up to date in ``known``.

    Raises
    ------
    InputError
        More than half of the files are gone, as when a disk is missing, unless ``prune``.
    """
    found = Changes()
    folder = None if songs.folder is None else os.path.abspath(songs.folder)
    for then in known:
        path = songs.path_of(then.song)
        if path is None:
            if folder is not None and then.lay_in(folder) and then.at(then.path) is None:
                found.vanished.append(then)
            else:
                found.n_elsewhere += 1
            continue
        now = then.at(path)
        if now is None:
            found.n_gone += 1
        elif then.is_known and (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
            found.n_changed += 1
        else:
            songs.drop(then.song)
            found.n_same += 1
            if now.path != then.path:
                known.update(now)
                found.moved = True
    n_lost = found.n_gone + len(found.vanished)
    n_here = found.n_same + found.n_changed
    if n_lost > n_here and not prune:
        raise InputError(
            f"{n_lost} of the {n_lost + n_here} files that songs were made of are gone: is a disk missing? "
            "The features stay; --prune takes such songs out"
        )
    return found
