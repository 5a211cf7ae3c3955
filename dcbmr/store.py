"""Frames of many songs: on disk as a FeatureStore, in memory as MemoryFeatures.

A store of one kind is a directory: ``config.json`` (kind, dtype, all settings of the extractor), shards
``00000.bin``, ``00001.bin``, ... of raw rows of ``n_dims`` numbers, and ``songs.tsv`` with a line a song:
its id, shard, first row, number of frames, and the CRC-32 of their bytes. Frames are written before the
line that names them, and a line without its end is no line: whatever moment a writer dies at, what the
index names is whole.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from dcbmr import _core
from dcbmr.codebook import VectorFeatures
from dcbmr.directory import CONFIG, read_config, write_json
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features import Extractor, Frames, Kind

if TYPE_CHECKING:
    from dcbmr.contract import SongFeatures

INDEX = "songs.tsv"
DTYPES: dict[Kind, str] = {"mel": "<f2", "mfcc": "<f4", "bow": "<u4"}
_STORE = "feature store"
_MAX_SHARD_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the frames of a song lie; one line of the index."""

    song: str
    shard: int
    row: int
    n_frames: int
    crc32: int

    def line(self) -> str:
        """Return the entry as it is written."""
        return f"{self.song}\t{self.shard}\t{self.row}\t{self.n_frames}\t{self.crc32:08x}\n"


def read_index(directory: Path) -> Iterator[Entry]:
    """Yield the songs of a store in the order of writing; a last line without its end is not read."""
    path = _index_of(directory)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                song, shard, row, n_frames, crc = line[:-1].decode("utf-8").split("\t")
                yield Entry(song, int(shard), int(row), int(n_frames), int(crc, 16))
            except ValueError:
                raise InputError(f"{path}, line {number} is damaged: {line!r}") from None


def _index_of(directory: Path) -> Path:
    if not (directory / INDEX).is_file():
        raise InputError(f"{directory} is damaged: it has no {INDEX}")
    return directory / INDEX


class FeatureStore(Mapping[str, Frames]):
    """The frames of the songs of a store, read from a memory map.

    ``store[song]`` is an array of shape (n_frames, n_dims), float32. A store that another process is
    writing can be opened: it holds the songs that were finished at that time.

    Attributes
    ----------
    kind : {"mel", "mfcc", "bow"}
    config : dict
        Settings of the extractor.
    n_dims : int
        Length of a frame.
    song_ids : tuple of str
        In the order of writing.
    n_frames : ndarray of shape (n_songs,), int64
    """

    def __init__(self, directory: Path, kind: Kind) -> None:
        self.directory = Path(directory)
        self.config = read_config(self.directory, kind=_STORE)
        if missing := {"feature", "dtype", "n_dims"} - self.config.keys():
            raise InputError(f"{self.directory / CONFIG} is damaged: it lacks {', '.join(sorted(missing))}")
        if self.config["feature"] != kind:
            raise InputError(f"{directory} holds {self.config['feature']!r} features, not {kind!r}")
        self.kind: Kind = kind
        self.n_dims: int = self.config["n_dims"]
        self._entries = list(read_index(self.directory))
        self._row_of = {entry.song: i for i, entry in enumerate(self._entries)}
        if len(self._row_of) < len(self._entries):
            raise InputError(f"{self.directory / INDEX} is damaged: it names a song twice")
        self.song_ids = tuple(self._row_of)
        self.n_frames = np.array([entry.n_frames for entry in self._entries], np.int64)
        self._shard_of = np.array([entry.shard for entry in self._entries], np.int64)
        self._first_row = np.array([entry.row for entry in self._entries], np.int64)
        self._shards: dict[int, NDArray[Any]] = {}

    @classmethod
    def open(cls, directory: str | os.PathLike[str], kind: Kind = "mel") -> FeatureStore:
        """Open the features of one kind that :func:`featurize` wrote to ``directory``.

        Raises
        ------
        InputError
            There is no such store, or its settings are damaged or of another version.
        """
        root = Path(directory)
        if not (root / kind).is_dir():
            if not root.exists():
                raise InputError(f"{root} does not exist; wanted the output of dcbmr featurize")
            kinds = [name for name in DTYPES if (root / name / CONFIG).is_file()]
            has = f"it has {', '.join(kinds)}" if kinds else "it has none"
            raise InputError(f"{root} has no features of kind {kind!r}: {has}; see dcbmr featurize")
        return WordStore(root / kind, kind) if kind == "bow" else cls(root / kind, kind)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.song_ids)

    def __contains__(self, song: object) -> bool:
        return song in self._row_of

    def __getitem__(self, song: str) -> Frames:
        return self.raw(self._row_of[song]).astype(np.float32)

    def raw(self, row: int) -> NDArray[Any]:
        """Return the frames of the song at ``row`` as they are stored: a view of the memory map."""
        entry = self._entries[row]
        return self._shard(entry.shard)[entry.row : entry.row + entry.n_frames]

    def _shard(self, number: int) -> NDArray[Any]:
        if number not in self._shards:
            rows = max((e.row + e.n_frames for e in self._entries if e.shard == number), default=0)
            path = _shard_path(self.directory, number)
            dtype = np.dtype(self.config["dtype"])
            if not path.is_file() or path.stat().st_size < rows * self.n_dims * dtype.itemsize:
                raise InputError(f"{path} is missing or cut off; see dcbmr featurize --check")
            # A plain array over the map: slices of np.memmap are slow to make.
            self._shards[number] = np.asarray(
                np.memmap(path, dtype, "r", shape=(rows, self.n_dims)) if rows else np.empty((0, self.n_dims))
            )
        return self._shards[number]

    def blocks(self, n_songs: int = 256) -> Iterator[tuple[tuple[str, ...], list[Frames]]]:
        """Yield all songs in the order of writing: ids and frames of up to ``n_songs`` at a time."""
        for begin in range(0, len(self), n_songs):
            songs = self.song_ids[begin : begin + n_songs]
            yield songs, [self[song] for song in songs]

    def features(self, song_ids: Iterable[str]) -> SongFeatures:
        """Return the features of some songs, row by row.

        Raises
        ------
        InputError
            Some are not in the store: how many, and the first of them.
        """
        wanted, rows = self._find(song_ids)
        return StoreFeatures(self, wanted, rows)

    def _find(self, song_ids: Iterable[str]) -> tuple[tuple[str, ...], list[int]]:
        wanted = tuple(song_ids)
        missing = [song for song in wanted if song not in self._row_of]
        if missing:
            raise InputError(
                f"{self.directory} lacks {len(missing)} of {len(wanted)} songs: "
                f"{', '.join(map(repr, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
            )
        return wanted, [self._row_of[song] for song in wanted]

    def check(self) -> list[str]:
        """Read everything, and return the songs whose frames are not those that were written."""
        damaged = []
        for row, entry in enumerate(self._entries):
            try:
                whole = zlib.crc32(np.ascontiguousarray(self.raw(row)).data) == entry.crc32
            except InputError:
                whole = False
            if not whole:
                damaged.append(entry.song)
        return damaged


class WordStore(FeatureStore):
    """The words of songs: ``store[song]`` holds the count of every word, shape (n_words,), float32.

    On disk a song is its pairs (word, count), words ascending.
    """

    def __getitem__(self, song: str) -> Frames:
        counts = np.zeros(self.config["n_words"], np.float32)
        words, times = self.raw(self._row_of[song]).T
        counts[words] = times
        return counts

    def features(self, song_ids: Iterable[str]) -> VectorFeatures:
        """Return the counts of some songs, sparse; see :meth:`FeatureStore.features`."""
        wanted, rows = self._find(song_ids)
        pairs = [np.empty((0, 2), np.uint32), *(self.raw(row) for row in rows)]
        words, times = np.concatenate(pairs).T
        indptr = np.concatenate([[0], np.cumsum(self.n_frames[rows])])
        counts = csr_array(
            (times.astype(np.float32), words.astype(np.int32), indptr),
            shape=(len(rows), self.config["n_words"]),
        )
        return VectorFeatures("bow", wanted, counts)


class _FrameFeatures:
    """SongFeatures of shape "frames" over one array a song."""

    kind: str
    n_dims: int
    n_frames: NDArray[np.int64]

    def __init__(self, song_ids: Sequence[str]) -> None:
        self.song_ids = song_ids

    def _rows(self, song: int) -> NDArray[Any]:
        raise NotImplementedError

    def vectors(self) -> NDArray[np.float32]:
        """Raise: frames are no vectors."""
        raise InputError(f"features of kind {self.kind!r} have frames, not one vector a song")

    def frames(self, song: int) -> Frames:
        """Return the frames of row ``song``, (n_frames, n_dims) float32."""
        return np.asarray(self._rows(song), np.float32)

    def windows(
        self,
        songs: NDArray[np.int64],
        starts: NDArray[np.int64],
        length: int,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Return a window of each of ``songs``; see :meth:`dcbmr.SongFeatures.windows`."""
        songs, starts = np.asarray(songs, np.int64), np.asarray(starts, np.int64)
        shape = (len(songs), length, self.n_dims)
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype not in (np.float32, np.float16) or not out.flags.c_contiguous:
            raise InputError(
                f"out: wanted float32 or float16 of shape {shape}, C order, got {out.dtype} {out.shape}"
            )
        if len(starts) != len(songs):
            raise InputError(f"starts: wanted one of each of {len(songs)} songs, got {len(starts)}")
        empty = np.flatnonzero(self.n_frames[songs] == 0)
        if len(empty):
            raise InputError(f"song {self.song_ids[songs[empty[0]]]!r} has no frames to take a window of")
        self._read(songs, starts % self.n_frames[songs], out)
        return out

    def _read(self, songs: NDArray[np.int64], starts: NDArray[np.int64], out: NDArray[np.floating]) -> None:
        """Fill ``out`` (B, length, n_dims) with windows that start within their songs."""
        length = out.shape[1]
        for window, song, start in zip(out, songs.tolist(), starts.tolist(), strict=True):
            rows = self._rows(song)
            if start + length <= len(rows):
                window[...] = rows[start : start + length]
            else:
                window[...] = rows[np.arange(start, start + length) % len(rows)]


class StoreFeatures(_FrameFeatures):
    """Some songs of a :class:`FeatureStore` as :class:`dcbmr.SongFeatures`."""

    def __init__(self, store: FeatureStore, song_ids: Sequence[str], rows: Sequence[int]) -> None:
        super().__init__(song_ids)
        self.kind, self.n_dims = store.kind, store.n_dims
        self.config = store.config
        self._store, self._store_rows = store, np.asarray(rows, np.int64)
        self.n_frames = store.n_frames[self._store_rows]

    def _rows(self, song: int) -> NDArray[Any]:
        return self._store.raw(int(self._store_rows[song]))

    def frames(self, song: int) -> Frames:
        """Return the frames of row ``song``, (n_frames, n_dims) float32."""
        if self.n_frames[song] == 0:
            return np.empty((0, self.n_dims), np.float32)
        whole = np.empty((1, int(self.n_frames[song]), self.n_dims), np.float32)
        self._read(np.array([song]), np.zeros(1, np.int64), whole)
        return whole.reshape(whole.shape[1:])

    def _read(self, songs: NDArray[np.int64], starts: NDArray[np.int64], out: NDArray[np.floating]) -> None:
        if self._store.config["dtype"] != "<f2":
            super()._read(songs, starts, out)
            return
        rows = self._store_rows[songs]
        numbers, shard = np.unique(self._store._shard_of[rows], return_inverse=True)
        # NumPy takes half precision apart number by number; the kernel is ten times as fast.
        shards = [self._store._shard(number).view(np.uint16) for number in numbers.tolist()]
        first = self._store._first_row[rows]
        to: NDArray[Any] = out.view(np.uint16) if out.dtype == np.float16 else out
        _core.read_windows(shards, shard, first, self.n_frames[songs], starts, to)


class MemoryFeatures(_FrameFeatures):
    """Frames in memory as :class:`dcbmr.SongFeatures`.

    Parameters
    ----------
    kind : {"mel", "mfcc"}
    song_ids : sequence of str
    frames : sequence of arrays of shape (n_frames, n_dims), float32
        One for each song.
    """

    def __init__(self, kind: Kind, song_ids: Sequence[str], frames: Sequence[ArrayLike]) -> None:
        super().__init__(tuple(song_ids))
        self._frames = [np.asarray(rows, np.float32) for rows in frames]
        shapes = {rows.shape[1:] for rows in self._frames}
        if len(self._frames) != len(self.song_ids):
            raise InputError(f"frames: {len(self._frames)} arrays for {len(self.song_ids)} songs")
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise InputError("frames: wanted arrays of shape (n_frames, n_dims), all of one n_dims")
        self.kind = kind
        self.n_dims = shapes.pop()[0] if shapes else 0
        self.n_frames = np.array([len(rows) for rows in self._frames], np.int64)

    def _rows(self, song: int) -> NDArray[Any]:
        return self._frames[song]


def _shard_path(directory: Path, number: int) -> Path:
    return directory / f"{number:05}.bin"


def encoded(rows: NDArray[Any], kind: Kind) -> bytes:
    """Return the bytes of rows of ``kind`` as they are stored."""
    if DTYPES[kind] == "<f2":
        return _core.to_half(rows).tobytes()  # as for reading, NumPy takes ten times as long
    return rows.astype(DTYPES[kind], copy=False).tobytes()


def create_store(directory: Path, extractor: Extractor, kind: Kind) -> None:
    """Write the empty store of one kind into a new ``directory``."""
    from dcbmr import __version__

    directory.mkdir()
    header = {"kind": _STORE, "format_version": 1, "dcbmr_version": __version__}
    write_json(directory / CONFIG, {**header, **_settings(extractor, kind)})
    (directory / INDEX).touch()


def _settings(extractor: Extractor, kind: Kind) -> dict[str, Any]:
    layout = {"dtype": DTYPES[kind], "n_dims": extractor.n_dims(kind)}
    return {"feature": kind, **extractor.config(kind), **layout}


class StoreWriter:
    """Appends songs to the store of one kind. One writer at a time, which a lock on the index enforces."""

    def __init__(self, directory: Path, extractor: Extractor, kind: Kind) -> None:
        self._directory, self.kind = directory, kind
        config = read_config(directory, kind=_STORE)
        for name, wanted in _settings(extractor, kind).items():
            if config.get(name) != wanted:
                raise InputError(
                    f"{directory} was made with {name} = {config.get(name)!r}, now it is {wanted!r}; "
                    "give the same settings or another output directory"
                )
        self.dtype = np.dtype(DTYPES[kind])
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
