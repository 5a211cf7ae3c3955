"""Append songs to the store of one kind; see :mod:`dcbmr.features.stored_kind` for what lies on disk."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr import _core
from dcbmr.base.directory import NO_ROOM, write_config
from dcbmr.base.settings import check_settings
from dcbmr.contract.features import FeatureConfig
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features.stored_kind import (
    INDEX,
    STORE,
    Entry,
    _index_of,
    read_feature_config,
    read_index,
    shard_path,
)

_MAX_SHARD_BYTES = 1 << 30


def encoded(rows: NDArray[Any], dtype: str) -> bytes:
    """Return the bytes of rows as they are stored."""
    if dtype == "<f2":
        return _core.to_half(rows).tobytes()  # as for reading, NumPy takes ten times as long
    return rows.astype(dtype, copy=False).tobytes()


def link(source: Path | str, place: Path | str) -> None:
    """Give a file a second name, or copy it where the disk has none."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copy2(source, place)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn an error of the disk into one that ends the run, not only the file."""
    try:
        yield
    except OSError as error:
        what = error.strerror or error
        then = "free some space and continue" if error.errno in NO_ROOM else "continue"
        raise DcbmrError(f"{directory} could not be written: {what}; {then} with --resume") from error


def create_store(directory: Path, config: FeatureConfig) -> None:
    """Write the empty store of one kind into a new ``directory``."""
    directory.mkdir()
    write_config(directory, kind=STORE, config=config.to_json())
    (directory / INDEX).touch()


def check_made_alike(directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise InputError where the ``config`` of a directory to be continued holds other ``settings``."""
    found = {name: config.get(name) for name in settings}
    check_settings(
        settings,
        found,
        f"{directory} was made",
        remedy="give the same settings, or another output directory",
    )


class LineWriter:
    """Appends lines to a text file; a line counts from the commit on, also should the machine stop."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("r+b", buffering=0)
        self._pending = bytearray()

    @property
    def has_pending(self) -> bool:
        """Whether lines wait for the commit."""
        return bool(self._pending)

    def lock(self) -> bool:
        """Return whether no other process had locked the file, and lock it until it is closed."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def keep(self, line: bytes) -> None:
        """Go past a line, in the order of the file: it stays."""
        self._file.seek(len(line), os.SEEK_CUR)

    def cut(self) -> None:
        """Remove what was not kept, and begin to append."""
        self._file.truncate()

    def to_end(self) -> None:
        """Keep all lines, and begin to append."""
        self._file.seek(0, os.SEEK_END)

    def append(self, line: bytes) -> None:
        """Add a line."""
        self._pending += line

    def commit(self) -> None:
        """Write what was appended, and wait until it is on the disk."""
        if not self._pending:
            return
        while self._pending:
            del self._pending[: self._file.write(self._pending)]
        os.fsync(self._file)

    def close(self) -> None:
        """Release the file; what was not committed is lost."""
        self._file.close()


class StoreWriter:
    """Appends songs to the store of one kind. One writer at a time, which a lock on the index enforces."""

    def __init__(self, directory: Path, config: FeatureConfig) -> None:
        self._directory, self.kind = directory, config.kind
        found = read_feature_config(directory, config.kind)
        check_made_alike(directory, config.made_alike(), found.made_alike())
        self.dtype = np.dtype(found.dtype)
        self._row_bytes = found.n_dims * self.dtype.itemsize
        self._index = LineWriter(_index_of(directory))
        if not self._index.lock():
            self._index.close()
            raise InputError(f"{directory.parent} is being written by another process")
        self._shard: IO[bytes] | None = None
        self._number, self._n_rows = 0, 0

    def index(self) -> Iterator[Entry]:
        """Yield the lines of the index."""
        return read_index(self._directory)

    def keep(self, entry: Entry) -> None:
        """Go past an entry, in the order of the index: it stays in the store."""
        self._index.keep(entry.line().encode())
        self._number, self._n_rows = entry.end

    def cut(self) -> None:
        """Remove what was not kept, and begin to append."""
        self._index.cut()
        for path in self._directory.glob("[0-9]*.bin"):
            if int(path.stem) > self._number:
                path.unlink()
        self._open_shard()

    def _open_shard(self) -> None:
        path = shard_path(self._directory, self._number)
        self._shard = path.open("ab", buffering=0)
        size = self._n_rows * self._row_bytes
        if self._shard.tell() < size:
            raise InputError(f"{path} is truncated: {size} bytes are indexed; see dcbmr featurize --check")
        self._shard.truncate(size)

    def append(self, song: str, frames: IO[bytes], n_frames: int, crc32: int) -> None:
        """Write the bytes of a song's frames; from the next commit on they are the song's."""
        left = n_frames * self._row_bytes
        shard = self._with_room_for(left)
        while left:
            piece = memoryview(frames.read(min(left, 1 << 22)))
            left -= len(piece)
            if not piece:
                raise DcbmrError(f"{self._directory}: {left} bytes of song {song!r} are missing")
            while piece:
                piece = piece[shard.write(piece) :]
        self._index.append(Entry(song, self._number, self._n_rows, n_frames, crc32).line().encode())
        self._n_rows += n_frames

    def append_vectors(self, songs: Sequence[str], vectors: NDArray[Any]) -> None:
        """Write vectors, (n_songs, n_dims), at once."""
        data = memoryview(encoded(vectors, self.dtype.str))
        shard = self._with_room_for(len(data))
        for place, song in enumerate(songs):
            crc32 = zlib.crc32(data[place * self._row_bytes : (place + 1) * self._row_bytes])
            self._index.append(Entry(song, self._number, self._n_rows + place, 1, crc32).line().encode())
        while data:
            data = data[shard.write(data) :]
        self._n_rows += len(songs)

    def _with_room_for(self, size: int) -> IO[bytes]:
        """Return the shard to write so many bytes to: a new one where the last is full."""
        if self._n_rows and self._n_rows * self._row_bytes + size > _MAX_SHARD_BYTES:
            self._sync_shard()
            self._number, self._n_rows = self._number + 1, 0
            self._open_shard()
        assert self._shard is not None
        return self._shard

    def append_rows(self, song: str, rows: NDArray[Any]) -> None:
        """Write the frames of a song, (n_frames, n_dims), or its vector, (1, n_dims)."""
        data = encoded(rows, self.dtype.str)
        self.append(song, io.BytesIO(data), len(rows), zlib.crc32(data))

    def adopt(self, shard: Path, entries: Sequence[Entry]) -> None:
        """Make a shard that was written elsewhere one of the store, for the songs of some of its entries."""
        assert self._shard is not None
        if self._n_rows:
            self._sync_shard()
            self._number += 1
        else:
            self._shard.close()
        place = shard_path(self._directory, self._number)
        place.unlink(missing_ok=True)
        link(shard, place)
        _, self._n_rows = entries[-1].end
        self._open_shard()
        for entry in entries:
            self._index.append(replace(entry, shard=self._number).line().encode())

    def remove(self, song: str) -> None:
        """Take a song out of the store from the next commit on; its frames stay where they are."""
        self._index.append(Entry.removal(song, self._number, self._n_rows).line().encode())

    def mend(self, entry: Entry, frames: IO[bytes]) -> None:
        """Write the bytes of a song again where the index says that they lie; the index stays as it is."""
        place = entry.row * self._row_bytes
        shard = os.open(shard_path(self._directory, entry.shard), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while piece := frames.read(1 << 22):
                while piece:
                    n_written = os.pwrite(shard, piece, place)
                    piece, place = piece[n_written:], place + n_written
        finally:
            os.close(shard)

    def commit(self) -> None:
        """Make what was appended part of the store, also should the machine stop."""
        if not self._index.has_pending:
            return
        assert self._shard is not None
        os.fsync(self._shard)
        self._index.commit()

    def _sync_shard(self) -> None:
        if self._shard is not None:
            os.fsync(self._shard)
            self._shard.close()

    def close(self) -> None:
        """Release the files; what was not committed is not part of the store."""
        if self._shard is not None:
            self._shard.close()
        self._index.close()
