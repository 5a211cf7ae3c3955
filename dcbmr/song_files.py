"""Which audio files there are: a folder, a manifest or a list, and the song of each."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from dcbmr.audio import AUDIO_ENDINGS
from dcbmr.errors import InputError

Source = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]]

_ANY_NAME = ("utf-8", "surrogateescape")  # also of bytes that are no UTF-8


class SongFiles(Mapping[str, str]):
    """The path of each song, in the order given; some hundred bytes a song, as there may be a million.

    Raises
    ------
    InputError
        Two paths of one song.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        text, ends, hashes = bytearray(), array("q", [0]), array("q")
        for song, path in pairs:
            text += song.encode(*_ANY_NAME) + b"\0" + path.encode(*_ANY_NAME)
            ends.append(len(text))
            hashes.append(hash(song))
        self._text, self._ends = text, np.asarray(ends)
        self._order = np.argsort(np.asarray(hashes), kind="stable")
        self._hashes = np.asarray(hashes)[self._order]
        for i in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]):
            (song, first), (other, second) = (self._pair(at) for at in self._order[i : i + 2])
            if song == other:
                raise InputError(
                    f"two files of the song {song!r}: {first} and {second}; rename one, or give a manifest"
                )

    def _pair(self, at: int) -> tuple[str, str]:
        song, path = self._text[self._ends[at] : self._ends[at + 1]].split(b"\0", 1)
        return song.decode(*_ANY_NAME), path.decode(*_ANY_NAME)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return (self._pair(at)[0] for at in range(len(self)))

    def __getitem__(self, song: str) -> str:
        begin, end = (np.searchsorted(self._hashes, hash(song), side) for side in ("left", "right"))
        for at in self._order[begin:end]:
            found, path = self._pair(at)
            if found == song:
                return path
        raise KeyError(song)


def find_songs(
    source: Source,
) -> tuple[SongFiles, int]:
    """Return the path of each song, in a fixed order, and how many files were passed over as no audio."""
    n_passed_over = 0
    pairs: Iterable[tuple[str, str]]
    if isinstance(source, Mapping):
        pairs = ((song, os.fspath(path)) for song, path in source.items())
    elif not isinstance(source, str | os.PathLike):
        pairs = ((Path(path).stem, os.fspath(path)) for path in source)
    elif not Path(source).exists():
        raise InputError(f"{source} does not exist; wanted a folder of audio or a manifest (song, path)")
    elif Path(source).is_dir():
        n_passed_over = sum(_ending(path) not in AUDIO_ENDINGS for path in _walk(Path(source)))
        audio = (path for path in _walk(Path(source)) if _ending(path) in AUDIO_ENDINGS)
        pairs = ((Path(path).stem, path) for path in audio)
    elif _ending(source) in AUDIO_ENDINGS:
        pairs = [(Path(source).stem, os.fspath(source))]
    else:
        pairs = _read_manifest(Path(source))
    songs = SongFiles(pairs)
    if not songs:
        endings = " ".join(sorted(AUDIO_ENDINGS))
        raise InputError(f"{source} holds no audio (of {n_passed_over} files none ends in {endings})")
    return songs, n_passed_over


def _ending(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(path)[1].lower()


def _walk(folder: Path) -> Iterator[str]:
    """Yield all files below ``folder`` in a fixed order; links are followed, each folder is entered once."""
    entered = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (os.path.join(parent, name) for name in sorted(files) if not name.startswith("."))


def _read_manifest(file: Path) -> list[tuple[str, str]]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no manifest: it is not UTF-8 text ({error.reason})") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    delimiter = "\t" if any("\t" in line for line in lines[:1]) else ","
    pairs = []
    for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1):
        if not row or (number == 1 and [cell.strip().lower() for cell in row] == ["song", "path"]):
            continue
        if len(row) != 2 or not all(row):
            raise InputError(f"{file}, line {number}: wanted two columns, song and path, got {row}")
        pairs.append((row[0], str(file.parent / row[1])))
    return pairs
