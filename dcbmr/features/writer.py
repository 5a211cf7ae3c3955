"""Append songs to a feature store; see :mod:`dcbmr.features.stored_kind` for what lies on disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr import _core
from dcbmr.audio.frames import Extractor, Kind
from dcbmr.base.directory import read_config, write_config
from dcbmr.base.settings import check_settings
from dcbmr.contract.kinds import find_kind
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features.stored_kind import _STORE, INDEX, Entry, _index_of, _shard_path, read_index

_MAX_SHARD_BYTES = 1 << 30


def encoded(rows: NDArray[Any], kind: Kind) -> bytes:
    """Return the bytes of rows of ``kind`` as they are stored."""
    if find_kind(kind).dtype == "<f2":
        return _core.to_half(rows).tobytes()  # as for reading, NumPy takes ten times as long
    return rows.astype(find_kind(kind).dtype, copy=False).tobytes()


def create_store(directory: Path, extractor: Extractor, kind: Kind) -> None:
    """Write the empty store of one kind into a new ``directory``."""
    directory.mkdir()
    write_config(directory, kind=_STORE, config=_settings(extractor, kind))
    (directory / INDEX).touch()


def _settings(extractor: Extractor, kind: Kind) -> dict[str, Any]:
    layout = {"dtype": find_kind(kind).dtype, "n_dims": extractor.n_dims(kind)}
    return {"feature": kind, **extractor.config(kind), **layout}


def check_made_alike(directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise InputError where the ``config`` of a directory to be continued holds other ``settings``."""
    found = {name: config.get(name) for name in settings}
    check_settings(
        settings,
        found,
        f"{directory} was made",
        remedy="give the same settings, or another output directory",
    )


class StoreWriter:
    """Appends songs to the store of one kind. One writer at a time, which a lock on the index enforces."""

    def __init__(self, directory: Path, extractor: Extractor, kind: Kind) -> None:
        self._directory, self.kind = directory, kind
        config = read_config(directory, kind=_STORE)
        check_made_alike(directory, _settings(extractor, kind), config)
        self.dtype = np.dtype(find_kind(kind).dtype)
        self._row_bytes = extractor.n_dims(kind) * self.dtype.itemsize
        self._index: IO[bytes] = _index_of(directory).open("r+b", buffering=0)
        try:
            fcntl.flock(self._index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._index.close()
            raise InputError(f"{directory} is being written by another process") from None
        self._pending = bytearray()  # lines of the index
        self._shard: IO[bytes] | None = None
        self._number, self._n_rows = 0, 0

    def index(self) -> Iterator[Entry]:
        """Yield the songs that are in the store."""
        return read_index(self._directory)

    def keep(self, entry: Entry) -> None:
        """Pass over an entry, in the order of the index: it stays in the store."""
        if (entry.shard, entry.row) < (self._number, self._n_rows):
            raise InputError(f"{self._directory / INDEX} is damaged: song {entry.song!r} lies within another")
        self._index.seek(len(entry.line().encode()), os.SEEK_CUR)
        self._number, self._n_rows = entry.shard, entry.row + entry.n_frames

    def cut(self) -> None:
        """Remove what was not kept, and begin to append."""
        self._index.truncate()
        for path in self._directory.glob("[0-9]*.bin"):
            if int(path.stem) > self._number:
                path.unlink()
        self._open_shard()

    def _open_shard(self) -> None:
        path = _shard_path(self._directory, self._number)
        self._shard = path.open("ab", buffering=0)
        size = self._n_rows * self._row_bytes
        if self._shard.tell() < size:
            raise InputError(f"{path} is cut off: {size} bytes are indexed; see dcbmr featurize --check")
        self._shard.truncate(size)

    def append(self, song: str, frames: IO[bytes], n_frames: int, crc32: int) -> None:
        """Write the bytes of a song's frames; they count from the next commit on."""
        size = n_frames * self._row_bytes
        if self._n_rows and self._n_rows * self._row_bytes + size > _MAX_SHARD_BYTES:
            self._sync_shard()
            self._number, self._n_rows = self._number + 1, 0
            self._open_shard()
        assert self._shard is not None
        left = size
        while left:
            piece = memoryview(frames.read(min(left, 1 << 22)))
            left -= len(piece)
            if not piece:
                raise DcbmrError(f"{self._directory}: {left} bytes of song {song!r} are missing")
            while piece:
                piece = piece[self._shard.write(piece) :]
        self._pending += Entry(song, self._number, self._n_rows, n_frames, crc32).line().encode()
        self._n_rows += n_frames

    def commit(self) -> None:
        """Make what was appended part of the store, also should the machine stop."""
        if not self._pending:
            return
        assert self._shard is not None
        os.fsync(self._shard)
        while self._pending:
            del self._pending[: self._index.write(self._pending)]
        os.fsync(self._index)

    def _sync_shard(self) -> None:
        if self._shard is not None:
            os.fsync(self._shard)
            self._shard.close()

    def close(self) -> None:
        """Release the files; what was not committed is not part of the store."""
        if self._shard is not None:
            self._shard.close()
        self._index.close()
