"""Triplets of user, song and count out of a file, block by block.

pyarrow parses and decompresses. Where it, or a count, says that the file is wrong, the file is read once
more, slowly, to name the line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from scipy.sparse import coo_array, csr_array

from dcbmr.errors import InputError

_BLOCK_BYTES = 1 << 24
_BLOCKS_MERGED = 16  # blocks whose ids are gathered before they are made one table again
_NAMES = ("user", "song", "count")
_MOST = float(np.finfo(np.float32).max)


def read_triplets(
    path: Path, columns: str | Sequence[str | int] | None
) -> tuple[Sequence[str], Sequence[str], csr_array]:
    """Return user ids, song ids and counts (n_users, n_songs) float32; see ``PlayCounts.read``."""
    if isinstance(columns, str):
        columns = columns.split(",")
    if columns is not None and len(columns) != 3:
        raise InputError(f"columns must name three: user, song and count; got {list(columns)}")
    if not path.is_file():
        found = (
            "is no file, but a directory"
            if path.is_dir()
            else "is no file"
            if path.exists()
            else "does not exist"
        )
        raise InputError(f"{path} {found}; wanted plays: user, song and count")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; wanted lines of user, song and count")
    try:
        if _is_parquet(path):
            batches = _parquet_batches(path, columns)
            return _gather(path, batches)
        text = _Text.sniff(path, columns)
        try:
            return _gather(path, text.batches())
        except (pa.ArrowException, _BadValue) as error:
            raise text.explain(error) from error
    except (pa.ArrowException, _BadValue, OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


class _BadValue(ValueError):
    """A count that is a number and no count."""


def _gather(path: Path, batches: Iterator[pa.RecordBatch]) -> tuple[Any, Any, csr_array]:
    users, songs = _Ids(), _Ids()
    counts: list[np.ndarray] = []
    for batch in batches:
        user, song, count = batch.columns
        if count.null_count or user.null_count or song.null_count:
            raise _BadValue("a value is missing")
        values = count.to_numpy(zero_copy_only=False)
        good = (values >= 0) & (values <= _MOST)  # false for NaN
        if not good.all():
            raise _BadValue(f"the count {values[~good][0]} is not a finite number of plays")
        users.add(user)
        songs.add(song)
        counts.append(values.astype(np.float32))
    user_ids, user_codes = users.finish()
    song_ids, song_codes = songs.finish()
    if not len(user_codes):
        raise InputError(f"{path} holds no plays: nothing follows its header")
    for ids in (user_ids, song_ids):
        if "" in ids:
            raise _BadValue("an id is empty")
    values = np.concatenate(counts)
    counts.clear()
    matrix = coo_array((values, (user_codes, song_codes)), shape=(len(user_ids), len(song_ids))).tocsr()
    return user_ids, song_ids, matrix


class _Ids:
    """Numbers for ids, in the order of their first appearance, out of dictionary-encoded blocks."""

    def __init__(self) -> None:
        self._pending: list[Any] = []  # DictionaryArray
        self._known: Any = None  # StringArray
        self._codes: list[np.ndarray] = []

    def add(self, block: Any) -> None:
        self._pending.append(block)
        if len(self._pending) == _BLOCKS_MERGED:
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        blocks = self._pending
        n_new = len(blocks)
        if self._known is not None:  # first, so that its numbers stay what they are
            blocks = [pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self._known), *blocks]
        merged: Any = pa.chunked_array(blocks).unify_dictionaries()
        self._codes += [chunk.indices.to_numpy() for chunk in merged.chunks[-n_new:]]
        self._known = merged.chunks[-1].dictionary
        self._pending = []

    def finish(self) -> tuple[list[str], np.ndarray]:
        self._merge()
        if self._known is None:
            return [], np.empty(0, np.int32)
        return self._known.to_pylist(), np.concatenate(self._codes)


_ID_TYPE = pa.dictionary(pa.int32(), pa.string())


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _parquet_batches(path: Path, columns: Sequence[str | int] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        chosen = _choose(path, columns, schema.names, len(schema.names))
        names = [schema.names[i] for i in chosen]
        if not _is_number(schema.field(chosen[2]).type):
            raise InputError(
                f"{path}: column {names[2]!r} holds {schema.field(chosen[2]).type}, not counts; "
                "name the columns of user, song and count"
            )
        for batch in file.iter_batches(1 << 18, columns=names):
            arrays = [batch.column(name) for name in names]
            ids: list[Any] = [
                array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
                for array in arrays[:2]
            ]
            try:
                encoded = [_as_id(array) for array in ids]
                yield pa.RecordBatch.from_arrays([*encoded, arrays[2].cast(pa.float64())], names=list(_NAMES))
            except pa.ArrowException as error:
                raise InputError(f"{path} cannot be read as plays: {error}") from error


def _as_id(array: Any) -> Any:
    return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary.cast(pa.string()))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _choose(
    path: Path, columns: Sequence[str | int] | None, names: Sequence[str] | None, width: int
) -> list[int]:
    """Return the positions of user, song and count among ``width`` columns."""
    if columns is None:
        if names and all(name in names for name in _NAMES):
            return [list(names).index(name) for name in _NAMES]
        if width < 3:
            shown = "one column" if width == 1 else f"{width} columns"
            raise InputError(
                f"{path} has {shown}; wanted user, song and count, separated by tabs, commas or semicolons"
            )
        return [0, 1, 2]
    chosen = []
    for column in columns:
        if names and column in names:
            chosen.append(list(names).index(str(column)))
        elif str(column).isdecimal() and 1 <= int(column) <= width:
            chosen.append(int(column) - 1)
        else:
            there = ", ".join(names) if names else f"{width}, without a header"
            raise InputError(f"{path} has no column {column!r}; its columns: {there}")
    if len(set(chosen)) != 3:
        raise InputError(f"columns must name three different columns; got {list(columns)}")
    return chosen


@dataclass
class _Text:
    """A delimited text file, and how it is to be read."""

    path: Path
    delimiter: str
    has_header: bool
    width: int
    chosen: list[int]

    @classmethod
    def sniff(cls, path: Path, columns: Sequence[str | int] | None) -> _Text:
        with pa.input_stream(str(path), compression="detect") as stream:
            start = stream.read(1 << 16)
        if b"\0" in start:
            raise InputError(f"{path} is a binary file; wanted text (or .gz, .zst) or Parquet with plays")
        if not start.strip():
            raise InputError(f"{path} is empty; wanted lines of user, song and count")
        first = next(line for line in start.split(b"\n") if line.strip())
        try:
            line = first.decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError:
            raise InputError(f"{path} is no text in UTF-8; wanted lines of user, song and count") from None
        delimiter = next((d for d in "\t,;" if d in line), "\t")
        fields = next(csv.reader([line], **_dialect(delimiter)))
        by_name = columns is not None and any(not str(c).isdecimal() for c in columns)
        named = columns is None and all(name in fields for name in _NAMES)
        chosen = _choose(path, columns, fields, len(fields))
        count = fields[chosen[2]].strip()
        has_header = by_name or named or (count != "" and _as_number(count) is None)
        return cls(path, delimiter, has_header, len(fields), chosen)

    def batches(self) -> Iterator[pa.RecordBatch]:
        names = [f"f{i}" for i in range(self.width)]
        wanted = [names[i] for i in self.chosen]
        with pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(
                column_names=names, skip_rows=int(self.has_header), block_size=_BLOCK_BYTES
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.delimiter, quote_char='"' if self.delimiter != "\t" else False
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted,
                column_types={wanted[0]: _ID_TYPE, wanted[1]: _ID_TYPE, wanted[2]: pa.float64()},
                null_values=[],
            ),
        ) as reader:
            yield from reader

    def explain(self, error: Exception) -> InputError:
        """Find the first line that is wrong, and say what is wrong with it."""
        with pa.input_stream(str(self.path), compression="detect") as stream:
            for number, line in enumerate(_lines(stream), start=1):
                if not line.strip(b"\r") or (number == 1 and self.has_header):
                    continue
                fault = self._fault(line)
                if fault:
                    return InputError(f"{self.path}, line {number}: {fault}")
        return InputError(f"{self.path} cannot be read: {error}")

    def _fault(self, line: bytes) -> str | None:
        try:
            text = line.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            return "no text in UTF-8"
        fields = next(csv.reader([text], **_dialect(self.delimiter)))
        if len(fields) != self.width:
            return f"{len(fields)} columns, where the first line has {self.width}"
        user, song, count = (fields[i] for i in self.chosen)
        value = _as_number(count)
        if value is None:
            return f"the count {count!r} is not a number"
        if math.isnan(value) or value > _MOST:
            return f"the count {count!r} is not finite"
        if value < 0:
            return f"the count {count!r} is negative"
        if not user or not song:
            return f"the {'song' if user else 'user'} is empty"
        return None


def _dialect(delimiter: str) -> dict[str, Any]:
    return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL}


def _as_number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest
