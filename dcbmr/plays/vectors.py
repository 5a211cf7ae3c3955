"""Vectors of songs that were made elsewhere, read block by block: NumPy's files, Parquet, TSV or CSV.

Nothing in such a file is executed: pickled objects are refused, whatever they are called.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import BadZipFile, ZipExtFile, ZipFile

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray
from pyarrow import types

from dcbmr.base.arrays import blocks
from dcbmr.base.scratch import ScratchRows
from dcbmr.base.text import read_lines
from dcbmr.errors import InputError
from dcbmr.plays.arrow import columns_of, in_words, is_parquet
from dcbmr.plays.columns import VECTORS, as_number
from dcbmr.plays.delimited import Delimited, check_file

_BLOCK_BYTES = 1 << 24
_BUFFER_BYTES = 1 << 16  # of each column of Parquet: there may be a thousand
_AT_ONCE_BYTES = 1 << 26  # of columns of Parquet, each of which has a page or two in memory
_ZIP_ERRORS = (BadZipFile, zlib.error, NotImplementedError)  # the last of ways to compress that nobody uses
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_BREAKS = "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
Block = tuple[list[str], NDArray[np.float32]]
_Found = tuple[list[str], NDArray[Any]]

WANTED = (
    "wanted .npy with the ids beside it in .ids.txt, .npz with the arrays ids and vectors, or Parquet, TSV "
    "or CSV with a column of ids called song"
)


def read_vectors(path: str | Path) -> Generator[Block]:
    """Yield ids and vectors, (n, n_dims) float32, of some songs at a time; at least one block.

    Parameters
    ----------
    path : path
        ``NAME.npy``, (n_songs, n_dims), with the ids one a line in ``NAME.ids.txt`` beside it; ``.npz`` with
        the arrays ``ids`` and ``vectors``; Parquet with a column of ids and one of lists, or one of numbers
        for each dimension; TSV, CSV or semicolons, plain or compressed, with the ids in the first column, or
        in the one that a first line calls song, id or the like.

    Raises
    ------
    InputError
        The file cannot be read, holds pickled objects or no vectors; an id is empty or there twice; a number
        is not finite; vectors differ in length.
    """
    path = Path(path)
    check_file(path, VECTORS)
    seen: set[str] = set()
    n_dims = None
    try:
        with closing(_blocks(path)) as found:
            for ids, given in found:
                n_dims = n_dims or given.shape[1]
                if given.shape[1] != n_dims:
                    raise InputError(f"{path}: vectors of {n_dims} and of {given.shape[1]} dimensions")
                with np.errstate(over="ignore"):  # what is too large for float32 is found below
                    vectors = np.ascontiguousarray(given, np.float32)
                _check(path, ids, vectors, seen)
                if ids:
                    yield ids, vectors
    except (pa.ArrowException, csv.Error, *_ZIP_ERRORS, OSError, EOFError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not seen:
        raise InputError(f"{path} holds no vectors; {WANTED}")


def names_of_dimensions(path: str | Path) -> list[str]:
    """Return what the columns of a table are called, none where the file has no names or only numbers.

    The file is one that :func:`read_vectors` reads.
    """
    path = Path(path)
    if path.suffix in (".npy", ".npz"):
        return []
    if is_parquet(path):
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
        song = columns_of(path, VECTORS, schema, None)[0]
        names = _columns_of_numbers(path, [field for field in schema if field.name != song])
        if types.is_nested(schema.field(names[0]).type):
            return []
    else:
        text = Delimited.sniff(path, VECTORS, None)
        names = [name for place, name in enumerate(text.names or []) if place != text.places[0]]
    return [] if all(name.isdecimal() for name in names) else names


def _check(path: Path, ids: Sequence[str], vectors: NDArray[np.float32], seen: set[str]) -> None:
    """Raise InputError for ids that cannot be, or are there twice, and for numbers that are not finite."""
    for song in ids:
        if not song or any(letter in song for letter in _BREAKS):
            raise InputError(f"{path}: the id {song!r} of vector {len(seen) + 1:,} is empty or holds a break")
        if song in seen:
            raise InputError(f"{path}: song {song!r} is there twice")
        seen.add(song)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        vector = vectors[bad[0]]
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InputError(
            f"{path}: the vector of song {ids[bad[0]]!r} is not finite: {vector[place]} in dimension "
            f"{place + 1}"
        )


def _blocks(path: Path) -> Generator[_Found]:
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    if start == _NPY:
        return _npy(path)
    if start.startswith(_ZIP):
        return _npz(path)
    if start.startswith(b"\x80") or path.suffix in (".npy", ".npz", ".pkl", ".pickle"):
        raise InputError(f"{path} {_PICKLED}; {WANTED}")
    return _parquet(path) if is_parquet(path) else _text(path)


_PICKLED = "holds pickled objects or is damaged, and is not read, since pickled objects may execute anything"


def _npy(path: Path) -> Generator[_Found]:
    beside = path.with_suffix(".ids.txt")
    if not beside.is_file():
        with path.open("rb") as file:
            _header(path, file)  # of pickled objects nobody needs to write ids
        raise InputError(f"{path} needs its songs' ids beside it, one a line, in {beside}")
    ids = [line.removeprefix("\ufeff").removesuffix("\r") for line in read_lines(beside)]
    with path.open("rb") as file:
        yield from _array(path, file, ids, str(beside))


def _npz(path: Path) -> Generator[_Found]:
    with ZipFile(path) as arrays:
        there = [name.removesuffix(".npy") for name in arrays.namelist()]
        if not {"ids", "vectors"} <= set(there):
            raise InputError(f"{path} has the arrays {', '.join(there) or 'none'}; wanted ids and vectors")
        with arrays.open("ids.npy") as file:
            shape, _, dtype = _header(path, file)
            if len(shape) != 1 or dtype.kind not in "USiu":
                raise InputError(f"{path}: ids are {dtype} of shape {shape}; wanted texts, (n_songs,)")
            values = np.frombuffer(file.read(), dtype)
            if len(values) != shape[0]:
                raise InputError(f"{path} is truncated")
            ids = list(map(str, (np.char.decode(values, "utf-8") if dtype.kind == "S" else values).tolist()))
        with arrays.open("vectors.npy") as file:
            yield from _array(path, file, ids, "the array ids")


def _array(path: Path, file: IO[bytes], ids: Sequence[str], where: str) -> Generator[_Found]:
    """Yield the rows of an array that a file holds, some at a time."""
    shape, in_columns, dtype = _header(path, file)
    _check_array(path, shape, dtype, len(ids), where)
    with ExitStack() as stack:
        if in_columns and isinstance(file, ZipExtFile):  # where one cannot go back and forth
            aside = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, aside)
            aside.seek(0)
            file = aside
        start = file.tell()
        for rows in _cut(shape, dtype):
            if in_columns:
                vectors = np.empty((rows.stop - rows.start, shape[1]), dtype)
                for column in range(shape[1]):
                    file.seek(start + (column * shape[0] + rows.start) * dtype.itemsize)
                    vectors[:, column] = _read(path, file, len(vectors), dtype)
            else:
                n_numbers = (rows.stop - rows.start) * shape[1]
                vectors = _read(path, file, n_numbers, dtype).reshape(-1, shape[1])
            yield list(ids[rows]), vectors


def _header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether columns come first (Fortran's order), and the type of an array."""
    try:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, in_columns, dtype = read(file)
    except (ValueError, KeyError, SyntaxError, TokenError, MemoryError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if dtype.hasobject:
        raise InputError(f"{path} {_PICKLED}; save ids as np.array(ids, dtype=str), vectors as float32")
    return shape, in_columns, dtype


def _check_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], n_ids: int, where: str) -> None:
    if len(shape) != 2 or shape[1] == 0 or dtype.kind not in "fiu":
        raise InputError(f"{path}: vectors are {dtype} of shape {shape}; wanted numbers, (n_songs, n_dims)")
    if n_ids != shape[0]:
        raise InputError(f"{path} has {shape[0]:,} vectors, {where} {n_ids:,} ids")


def _cut(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[slice]:
    return blocks(shape[0], max(1, _BLOCK_BYTES // (shape[1] * max(4, dtype.itemsize))))


def _read(path: Path, file: IO[bytes], n_numbers: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the next numbers of an array."""
    data = file.read(n_numbers * dtype.itemsize)
    if len(data) < n_numbers * dtype.itemsize:
        raise InputError(f"{path} is truncated")
    return np.frombuffer(data, dtype)


def _parquet(path: Path) -> Generator[_Found]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        schema = file.schema_arrow
        song = columns_of(path, VECTORS, schema, None)[0]
        assert song is not None
        columns = _columns_of_numbers(path, [field for field in schema if field.name != song])
        is_list = types.is_nested(schema.field(columns[0]).type)
        for number in range(file.metadata.num_row_groups):
            group = _RowGroup(path, file, number)
            parts = [columns] if is_list else group.in_parts(columns)
            if len(parts) > 1:
                yield from _in_turn(group, song, parts)
                continue
            for batch in group.batches([song, *columns]):
                ids = batch.column(song).cast(pa.string()).to_pylist()
                found = [batch.column(name) for name in columns]
                yield ids, _of_lists(path, ids, found[0]) if is_list else _of_columns(found)


class _RowGroup:
    """What Parquet keeps together: some rows, column by column, each in pages that are read one by one."""

    def __init__(self, path: Path, file: Any, number: int) -> None:
        self.path = path
        self._file, self._number = file, number
        self._about = file.metadata.row_group(number)
        n_bytes = self._about.total_byte_size // max(1, self._about.num_rows)
        n_bytes = max(n_bytes, 4 * self._about.num_columns)
        self._n_rows = min(1 << 16, max(64, _BLOCK_BYTES // n_bytes))

    def in_parts(self, columns: Sequence[str]) -> list[list[str]]:
        """Return the columns in parts that may be read at once, whatever the size of a page."""
        about = (self._about.column(i) for i in range(self._about.num_columns))
        size_of = {column.path_in_schema: column.total_uncompressed_size for column in about}
        parts: list[list[str]] = [[]]
        size = 0
        for name in columns:
            size += size_of[name]
            if size > _AT_ONCE_BYTES and parts[-1]:
                parts.append([])
                size = size_of[name]
            parts[-1].append(name)
        return parts

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield rows as many at a time as are some 16 MiB, whole; InputError where a value is missing."""
        for batch in self._file.iter_batches(self._n_rows, row_groups=[self._number], columns=list(columns)):
            for name in columns:
                if batch.column(name).null_count:
                    raise InputError(f"{self.path}: column {name!r} lacks a value")
            yield batch


def _in_turn(group: _RowGroup, song: str, parts: Sequence[Sequence[str]]) -> Generator[_Found]:
    """Yield the rows of a row group whose columns are too large for one pass: parts of them are put aside."""
    aside = []
    for columns in parts:
        aside.append(ScratchRows(f"vectors of {group.path}", len(columns)))
        for batch in group.batches(columns):
            aside[-1].append(_of_columns([batch.column(name) for name in columns]))
    first = 0
    for batch in group.batches([song]):
        ids = batch.column(song).cast(pa.string()).to_pylist()
        yield ids, np.hstack([part.read(first, first + len(ids)) for part in aside])
        first += len(ids)


def _is_list_of_numbers(kind: Any) -> bool:
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list) and in_words(kind.value_type) == "numbers"


def _columns_of_numbers(path: Path, fields: Sequence[Any]) -> list[str]:
    """Return the one column of lists, or else all columns, which must be numbers."""
    lists = [field.name for field in fields if _is_list_of_numbers(field.type)]
    if len(lists) == 1:
        return lists
    if lists:
        raise InputError(f"{path} has several columns of vectors: {', '.join(lists)}; leave one")
    for field in fields:
        if in_words(field.type) != "numbers":
            raise InputError(f"{path}: column {field.name!r} holds {in_words(field.type)}; leave it out")
    if not fields:
        raise InputError(f"{path} has no column beside the ids; {WANTED}")
    return [field.name for field in fields]


def _of_lists(path: Path, ids: Sequence[str], column: Any) -> NDArray[Any]:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    other = np.flatnonzero(lengths != lengths[:1])
    if len(other) or not lengths.all():
        row = int(other[0]) if len(other) else 0
        raise InputError(
            f"{path}: the vector of song {ids[row]!r} has {lengths[row]} dimensions, that of {ids[0]!r} "
            f"{lengths[0]}"
        )
    values = column.flatten()
    if values.null_count:
        raise InputError(f"{path}: a vector of the songs from {ids[0]!r} on lacks a number")
    return np.asarray(_numbers(values).reshape(len(ids), -1))


def _of_columns(columns: Sequence[Any]) -> NDArray[np.float32]:
    vectors = np.empty((len(columns[0]), len(columns)), np.float32)
    with np.errstate(over="ignore"):  # what is too large for float32 is found when all is checked
        for place, column in enumerate(columns):
            vectors[:, place] = _numbers(column)
    return vectors


def _numbers(array: Any) -> NDArray[Any]:
    if types.is_decimal(array.type) or types.is_dictionary(array.type):
        array = array.cast(pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _text(path: Path) -> Generator[_Found]:
    text = Delimited.sniff(path, VECTORS, None)
    song = text.places[0]
    numbers = [place for place in range(text.width) if place != song]
    if song is None or not numbers:
        raise InputError(f"{path} has no column beside the ids; {WANTED}")

    def fault(fields: Sequence[str]) -> str | None:
        wrong = next((fields[place] for place in numbers if as_number(fields[place]) is None), None)
        return None if wrong is None else f"{wrong!r} is not a number"

    try:
        for batch in text.batches({song: pa.string()} | dict.fromkeys(numbers, pa.float32())):
            ids, *columns = batch.columns
            yield ids.to_pylist(), _of_columns(columns)
    except pa.ArrowException as error:
        raise text.explain(error, fault) from error
