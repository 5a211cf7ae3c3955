"""Features of one kind on disk: read from a memory map.

A stored kind is a directory: ``config.json`` (what the features are, and were made with), shards
``00000.bin``, ``00001.bin``, ... of raw rows of ``n_dims`` numbers, and ``songs.tsv`` with a line a song:
its id, shard, first row, number of frames, and the CRC-32 of their bytes. A vector is one row. Rows are
written before the line that names them, and a line without its end is no line: whatever moment a writer dies
at, what the index names is whole. Nothing that a line names is ever written again: a song whose file has
changed gets a new line, which takes the place of the older one, and -1 frames say that a song was removed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr import _core
from dcbmr.audio.frames import Frames
from dcbmr.base.directory import CONFIG, read_config, reading
from dcbmr.contract.contract import SongFeatures
from dcbmr.contract.features import FeatureConfig
from dcbmr.contract.kinds import check_kind_name
from dcbmr.errors import InputError
from dcbmr.features.memory import MemoryFeatures, VectorFeatures, _FrameFeatures

INDEX = "songs.tsv"
STORE = "feature store"
_MOST = 1 << 48  # of frames, and of their numbers
_BROUGHT = "vectors"  # the origin, in the settings, of vectors that a user brought


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the frames of a song lie; one line of the index."""

    song: str
    shard: int
    row: int
    n_frames: int
    crc32: int

    @classmethod
    def removal(cls, song: str, shard: int, row: int) -> Self:
        """Return the entry that removes a song: written when the next frames would lie at ``row``."""
        return cls(song, shard, row, -1, 0)

    @property
    def removes(self) -> bool:
        """Whether the song is in the store no more."""
        return self.n_frames < 0

    @property
    def end(self) -> tuple[int, int]:
        """The shard and row behind the frames."""
        return self.shard, self.row + max(0, self.n_frames)

    def line(self) -> str:
        """Return the entry as it is written."""
        return f"{self.song}\t{self.shard}\t{self.row}\t{self.n_frames}\t{self.crc32:08x}\n"


def read_index(directory: Path) -> Iterator[Entry]:
    """Yield the lines of an index in the order of writing; a last line without its end is not read."""
    path = _index_of(directory)
    end = 0, 0
    with reading(path), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                song, shard, row, n_frames, crc = line[:-1].decode("utf-8").split("\t")
                entry = Entry(song, int(shard), int(row), int(n_frames), int(crc, 16))
                if max(entry.shard, entry.row, entry.n_frames) > _MOST or not 0 <= entry.crc32 < 1 << 32:
                    raise ValueError
            except ValueError:
                raise InputError(f"{path}, line {number} is damaged: {line!r}") from None
            if entry.row < 0 or (entry.shard, entry.row) < end:
                raise InputError(f"{path} is damaged: song {song!r} lies within another")
            end = entry.end
            yield entry


def _index_of(directory: Path) -> Path:
    if not (directory / INDEX).is_file():
        raise InputError(f"{directory} is damaged: it has no {INDEX}")
    return directory / INDEX


def read_feature_config(directory: Path, kind: str | None = None) -> FeatureConfig:
    """Return what a directory says of the features in it, which must be of ``kind`` unless that is None."""
    config = read_config(directory, kind=STORE)
    with reading(directory / CONFIG):
        found = FeatureConfig.from_json(config)
        check_kind_name(found.kind)
    for name, choices in (("shape", ("frames", "vectors")), ("dtype", ("<f4", "<f2", "<u4"))):
        if getattr(found, name) not in choices:
            raise InputError(f"{directory / CONFIG} is damaged: {name} is {getattr(found, name)!r}")
    is_whole = isinstance(found.n_dims, int) and found.n_dims >= 1 and isinstance(found.settings, dict)
    if not is_whole or (_is_words(found) and not isinstance(found.settings.get("n_words"), int)):
        raise InputError(f"{directory / CONFIG} is damaged: n_dims or settings are wrong")
    if found.kind != (kind or found.kind):
        raise InputError(f"{directory} holds {found.kind!r} features, not {kind!r}")
    return found


class StoredKind(Mapping[str, Frames]):
    """The features of the songs of one kind of a :class:`dcbmr.FeatureStore`.

    ``stored[song]`` is an array of shape (n_frames, n_dims), float32; (n_dims,) of a kind with one vector a
    song.

    Attributes
    ----------
    config : FeatureConfig
        What the features are, and were made with.
    kind : str
    shape : {"frames", "vectors"}
    dtype : dtype
        As they are stored.
    n_dims : int
        Length of a frame or of a vector.
    settings : mapping
        All that the numbers depend on.
    song_ids : tuple of str
        In the order of writing.
    n_frames : ndarray of shape (n_songs,), int64
    """

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = Path(directory)
        self.config = read_feature_config(self.directory, kind)
        self.kind, self.shape = self.config.kind, self.config.shape
        self.n_dims, self.settings = self.config.n_dims, self.config.settings
        self.dtype = np.dtype(self.config.dtype)
        newest: dict[str, Entry] = {}
        for entry in read_index(self.directory):
            newest.pop(entry.song, None)
            if not entry.removes:
                newest[entry.song] = entry
        self._entries = list(newest.values())
        self._row_of = {song: row for row, song in enumerate(newest)}
        self.song_ids = tuple(self._row_of)
        self.n_frames = np.array([entry.n_frames for entry in self._entries], np.int64)
        self._shard_of = np.array([entry.shard for entry in self._entries], np.int64)
        self._first_row = np.array([entry.row for entry in self._entries], np.int64)
        if self.shape == "vectors" and not _is_words(self.config) and (self.n_frames != 1).any():
            song = self.song_ids[int(np.argmax(self.n_frames != 1))]
            raise InputError(f"{self.directory} is damaged: song {song!r} has not one vector")
        self._shards: dict[int, NDArray[Any]] = {}
        self.counted: dict[str, Any] = {}  # by codebook: see dcbmr.features.counted

    def __repr__(self) -> str:
        sizes = f"n_songs={len(self)}, n_dims={self.n_dims}, n_frames={self.n_frames.sum()}"
        return f"{type(self).__name__}({self.kind!r}, {sizes})"

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.song_ids)

    def __contains__(self, song: object) -> bool:
        return song in self._row_of

    def __getitem__(self, song: str) -> Frames:
        rows = self.raw(self._row_of[song]).astype(np.float32)
        return rows if self.shape == "frames" else rows[0]

    def raw(self, row: int) -> NDArray[Any]:
        """Return the frames of the song at ``row`` as they are stored: a view of the memory map."""
        entry = self._entries[row]
        return self._shard(entry.shard)[entry.row : entry.row + entry.n_frames]

    def _shard(self, number: int) -> NDArray[Any]:
        if number not in self._shards:
            rows = max((e.row + e.n_frames for e in self._entries if e.shard == number), default=0)
            path = shard_path(self.directory, number)
            width, dtype = self.n_dims, self.dtype
            if not path.is_file() or path.stat().st_size < rows * width * dtype.itemsize:
                raise InputError(f"{path} is missing or truncated; see dcbmr featurize --check")
            # A plain array over the map: slices of np.memmap are slow to make.
            self._shards[number] = np.asarray(
                np.memmap(path, dtype, "r", shape=(rows, width)) if rows else np.empty((0, width), dtype)
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
        if self.shape == "vectors":
            vectors = self._vectors(np.array(rows, np.int64))
            return VectorFeatures(self.kind, wanted, vectors, is_embedding=self.config.is_embedding)
        return StoreFeatures(self, wanted, rows)

    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some songs, (n, n_dims)."""
        vectors = np.empty((len(rows), self.n_dims), np.float32)
        shard_of = self._shard_of[rows]
        for number in np.unique(shard_of).tolist():
            here = shard_of == number
            vectors[here] = self._shard(number)[self._first_row[rows[here]]]
        return vectors

    def _find(self, song_ids: Iterable[str]) -> tuple[tuple[str, ...], list[int]]:
        wanted = tuple(song_ids)
        missing = [song for song in wanted if song not in self._row_of]
        if missing:
            raise InputError(
                f"{self.directory} lacks {len(missing)} of {len(wanted)} songs: "
                f"{', '.join(map(repr, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
            )
        return wanted, [self._row_of[song] for song in wanted]

    def marks(self, song_ids: Iterable[str]) -> NDArray[np.uint32]:
        """Return a number for each song, (n,): another once its features are others, 0 where it has none."""
        rows = (self._row_of.get(song) for song in song_ids)
        return np.array([0 if row is None else self._entries[row].crc32 for row in rows], np.uint32)

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


class StoredWords(StoredKind):
    """The codewords of songs: ``stored[song]`` holds the count of every codeword, (n_words,) float32.

    On disk a song is its pairs (codeword, count), codewords ascending, of unsigned numbers.
    """

    def __getitem__(self, song: str) -> Frames:
        counts = np.zeros(self.settings["n_words"], np.float32)
        words, times = self.raw(self._row_of[song]).T
        counts[words] = times
        return counts

    def features(self, song_ids: Iterable[str]) -> VectorFeatures:
        """Return the counts of some songs, sparse; see :meth:`StoredKind.features`."""
        wanted, rows = self._find(song_ids)
        counts = _counts([self.raw(row) for row in rows], self.settings["n_words"])
        return VectorFeatures(self.kind, wanted, counts)


def _counts(pairs: Sequence[NDArray[Any]], n_words: int) -> csr_array:
    """Return the counts of songs, (n_songs, n_words), of their pairs (codeword, count)."""
    words, times = np.concatenate([np.empty((0, 2), np.uint32), *pairs]).T
    indptr = np.concatenate([[0], np.cumsum([len(song) for song in pairs], dtype=np.int64)])
    parts = times.astype(np.float32), words.astype(np.int32), indptr
    return csr_array(parts, shape=(len(pairs), n_words))


def in_memory(config: FeatureConfig, song_ids: Sequence[str], rows: Sequence[NDArray[Any]]) -> SongFeatures:
    """Return the features of songs that are in no store: the rows of each, as they would be written."""
    if config.shape == "frames":
        return MemoryFeatures(config.kind, song_ids, rows)
    if _is_words(config):
        return VectorFeatures(config.kind, song_ids, _counts(rows, config.settings["n_words"]))
    vectors = np.concatenate([np.empty((0, config.n_dims), np.float32), *rows], dtype=np.float32)
    return VectorFeatures(config.kind, song_ids, vectors, is_embedding=config.is_embedding)


def brought_config(kind: str, n_dims: int, columns: Sequence[str]) -> FeatureConfig:
    """Return what is known of vectors that a user brings; ``columns`` name the dimensions, or are none.

    What has names are measures of their own, in units of their own; what has none is an embedding.
    """
    return FeatureConfig(
        kind=kind,
        shape="vectors",
        dtype="<f4",
        n_dims=n_dims,
        settings={"origin": _BROUGHT} | ({"columns": list(columns)} if columns else {}),
        is_embedding=not columns,
    )


def is_brought(config: FeatureConfig) -> bool:
    """Say whether a user brought these features: nothing here makes them of a new file of audio."""
    return config.settings.get("origin") == _BROUGHT


def check_brought(wanted: FeatureConfig, found: FeatureConfig, where: object) -> None:
    """Raise InputError where vectors that a user brought cannot be used with those ``wanted``.

    Their dimensions must be as many and, where both have names for them, have the same in the same order.
    """
    if found.n_dims != wanted.n_dims:
        raise InputError(
            f"{where} has vectors of {found.n_dims} dimensions, where {wanted.kind!r} has {wanted.n_dims}; "
            "wanted vectors that were made alike"
        )
    ours, theirs = wanted.settings.get("columns"), found.settings.get("columns")
    if ours and theirs and ours != theirs:
        place = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
        raise InputError(
            f"{where}: dimension {place + 1} is {theirs[place]!r}, where {wanted.kind!r} has "
            f"{ours[place]!r}; wanted the same columns in the same order"
        )


def _is_words(config: FeatureConfig) -> bool:
    return np.dtype(config.dtype).kind == "u"


class StoreFeatures(_FrameFeatures):
    """Some songs of a :class:`StoredKind` as :class:`dcbmr.SongFeatures`."""

    def __init__(self, store: StoredKind, song_ids: Sequence[str], rows: Sequence[int]) -> None:
        super().__init__(song_ids)
        self.kind, self.n_dims = store.kind, store.n_dims
        self.dtype, self.settings = store.dtype, store.settings
        self._store, self._store_rows = store, np.asarray(rows, np.int64)
        self.n_frames = store.n_frames[self._store_rows]

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes by name: they open the same files."""
        return _reopened, (os.path.abspath(self._store.directory), self.kind, tuple(self.song_ids))

    @property
    def stored(self) -> StoredKind:
        """What the songs are read from."""
        return self._store

    def __repr__(self) -> str:
        return f"StoreFeatures({self.kind!r}, n_songs={len(self.song_ids)}, n_dims={self.n_dims})"

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
        if self.dtype != np.float16:
            super()._read(songs, starts, out)
            return
        rows = self._store_rows[songs]
        numbers, shard = np.unique(self._store._shard_of[rows], return_inverse=True)
        # NumPy takes half precision apart number by number; the kernel is ten times as fast.
        shards = [self._store._shard(number).view(np.uint16) for number in numbers.tolist()]
        first = self._store._first_row[rows]
        to: NDArray[Any] = out.view(np.uint16) if out.dtype == np.float16 else out
        _core.read_windows(shards, shard, first, self.n_frames[songs], starts, to)


def _reopened(directory: str, kind: str, song_ids: Sequence[str]) -> SongFeatures:
    return open_kind(Path(directory), kind).features(song_ids)


def shard_path(directory: Path, number: int) -> Path:
    return directory / f"{number:05}.bin"


def open_kind(directory: Path, kind: str) -> StoredKind:
    """Open what a directory holds of a kind."""
    opener = StoredWords if _is_words(read_feature_config(directory, kind)) else StoredKind
    return opener(directory, kind)
