"""Triplets of user, song and count out of a file or a frame, block by block.

pyarrow parses and decompresses. Where it, or a count, says that a text is wrong, the text is read once
more, slowly, to name the line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array, csr_array

from dcbmr.errors import InputError
from dcbmr.plays.arrow import ID_TYPE, as_ids, as_numbers, check_counts, columns_of, is_parquet
from dcbmr.plays.columns import PLAYS, Columns, Layout, as_number
from dcbmr.plays.delimited import Delimited, check_file

_BLOCK_ROWS = 1 << 18
_BLOCKS_MERGED = 16  # blocks whose ids are gathered before they are made one table again
_MOST = float(np.finfo(np.float32).max)
Triplets = tuple[Sequence[str], Sequence[str], csr_array]


def read_triplets(path: Path, columns: Columns) -> Triplets:
    """Return user ids, song ids and counts (n_users, n_songs) float32; see ``PlayCounts.read``."""
    check_file(path, PLAYS)
    try:
        if is_parquet(path):
            return _read_parquet(path, columns)
        text = Delimited.sniff(path, PLAYS, columns)
        try:
            types = zip(text.places, (ID_TYPE, ID_TYPE, pa.float64()), strict=True)
            return _gather(path, text.batches({place: kind for place, kind in types if place is not None}))
        except (pa.ArrowException, _BadValue) as error:
            raise text.explain(error, partial(_fault, text)) from error
    except (pa.ArrowException, csv.Error, _BadValue, OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def triplets_of(where: str, table: Any, layout: Layout, columns: Columns) -> Triplets:
    """Return the same out of a table of Arrow, which is called ``where`` in an error."""
    table = table.select(columns_of(where, layout, table.schema, columns))
    try:
        return _gather(where, _encoded(where, layout, table.to_batches(), columns))
    except (pa.ArrowException, _BadValue) as error:
        raise InputError(f"{where}: no plays: {error}") from error


def _read_parquet(path: Path, columns: Columns) -> Triplets:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = columns_of(path, PLAYS, file.schema_arrow, columns)
        batches = file.iter_batches(_BLOCK_ROWS, columns=names)
        return _gather(path, _encoded(path, PLAYS, (batch.select(names) for batch in batches), columns))


def _encoded(where: object, layout: Layout, batches: Iterable[Any], columns: Columns) -> Iterator[Any]:
    for number, batch in enumerate(batches):
        if number == 0:
            check_counts(where, layout, batch, columns)
        user, song, count = batch.columns
        arrays = [as_ids(user), as_ids(song), as_numbers(count)]
        yield pa.RecordBatch.from_arrays(arrays, names=list(layout.roles))


class _BadValue(ValueError):
    """A count that is a number and no count."""


def _gather(where: object, batches: Iterator[pa.RecordBatch]) -> Triplets:
    users, songs = _Ids(), _Ids()
    counts: list[np.ndarray] = []
    for batch in batches:
        user, song, count = batch.columns
        for role, column in zip(PLAYS.roles, batch.columns, strict=True):
            if column.null_count:
                raise _BadValue(f"a {role} is missing")
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
        raise InputError(f"{where}: no plays in it; wanted rows of {PLAYS.wanted}")
    for ids in (user_ids, song_ids):
        if "" in ids or None in ids:  # a dictionary of Arrow may hold a null
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


def _fault(text: Delimited, fields: Sequence[str]) -> str | None:
    user, song, count = (fields[i] for i in text.places if i is not None)
    value = as_number(count)
    if value is None:
        return f"the count {count!r} is not a number"
    if math.isnan(value) or value > _MOST:
        return f"the count {count!r} is not finite"
    if value < 0:
        return f"the count {count!r} is negative"
    if not user or not song:
        return f"the {'song' if user else 'user'} is empty"
    return None
