"""Triplets of user, song and count out of files or a frame, block by block.

pyarrow parses and decompresses. Where it, or a count, says that a text is wrong, the text is read once
more, slowly, to name the line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.plays.arrow import (
    ID_TYPE,
    as_ids,
    as_numbers,
    check_counts,
    columns_of,
    compacted,
    is_parquet,
)
from dcbmr.plays.columns import PLAYS, Columns, Layout, as_number, refusal
from dcbmr.plays.delimited import Delimited, check_file
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.plays.sources import Source, files_of
from dcbmr.plays.sums import PlaySums
from dcbmr.plays.times import WANTED, BadTime, as_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_ROWS = 1 << 18
_MOST = float(np.finfo(np.float32).max)
_TYPES = {
    "user": ID_TYPE,
    "song": ID_TYPE,
    "count": pa.float64(),
    "time": pa.string(),
    "seconds": pa.string(),
}
Triplets = tuple[Sequence[str], Sequence[str], csr_array]
Names = Mapping[str, str]  # of the columns, by their roles
Block = Mapping[str, Any]  # arrays of Arrow, by their roles


class Sums(Protocol):
    """What rows are added to as they are read."""

    def add(self, block: Block, counts: NDArray[np.float32], /) -> None:
        """Add rows: columns by their roles, ids as DictionaryArrays of Arrow, and a count of each."""


@dataclass(frozen=True)
class PartRead:
    """What some rows of plays came to."""

    sums: PlaySums
    n_rows: int
    n_kept: int
    stage: str
    wanted: PlayFilter


def read_triplets(
    source: Source, columns: Columns, wanted: PlayFilter, progress: Progress = silent
) -> Triplets:
    """Return user ids, song ids and counts (n_users, n_songs) float32; see ``PlayCounts.read``."""
    sums = PlaySums()
    read_into(sums, source, columns, wanted, progress)
    return sums.finish()


def read_into(sums: Sums, source: Source, columns: Columns, wanted: PlayFilter, progress: Progress) -> None:
    """Add the rows of files of plays, those that count."""
    with files_of(source) as files:
        rows = _Rows(sums, wanted, progress)
        for file in files:
            _read_file(file, columns, rows)
        check_rows(files, rows.n_rows, rows.n_kept, wanted)


def read_row_groups(path: Path, groups: Sequence[int], columns: Columns, wanted: PlayFilter) -> PartRead:
    """Return the rows of some row groups of a Parquet file, those that count, added up."""
    sums = PlaySums()
    rows = _Rows(sums, wanted, silent)
    _read_file(path, columns, rows, groups)
    return PartRead(sums, rows.n_rows, rows.n_kept, rows.stage, wanted)


def _read_file(path: Path, columns: Columns, rows: _Rows, groups: Sequence[int] | None = None) -> None:
    check_file(path, PLAYS)
    try:
        if is_parquet(path):
            _read_parquet(path, columns, rows, groups)
            return
        text = Delimited.sniff(path, PLAYS, columns)
        places = {
            role: place for role, place in zip(PLAYS.all_roles, text.places, strict=True) if place is not None
        }
        names = {role: text.names[place] if text.names else str(place + 1) for role, place in places.items()}
        used = rows.columns(path, PLAYS, names)
        try:
            for batch in text.batches({places[role]: _TYPES[role] for role in used}):
                rows.add(dict(zip(used, batch.columns, strict=True)), names)
        except (pa.ArrowException, _BadValue, BadTime) as error:
            raise text.explain(error, partial(_fault, {role: places[role] for role in used})) from error
    except (
        pa.ArrowException, csv.Error, _BadValue, BadTime, OSError, EOFError, UnicodeDecodeError
    ) as error:  # fmt: skip
        raise InputError(f"{path} cannot be read: {error}") from error


def triplets_of(where: str, table: Any, layout: Layout, columns: Columns) -> Triplets:
    """Return the same out of a table of Arrow, which is called ``where`` in an error."""
    sums = PlaySums()
    rows = _Rows(sums, PlayFilter(), silent)
    try:
        names = _names(columns_of(where, layout, table.schema, columns))
        used = rows.columns(where, layout, names)
        batches = table.select([names[role] for role in used]).to_batches()
        _add_batches(where, layout, used, batches, names, columns, rows)
        check_rows([where], rows.n_rows, rows.n_kept, PlayFilter())
    except (pa.ArrowException, _BadValue) as error:
        raise InputError(f"{where}: no plays: {error}") from error
    return sums.finish()


def _read_parquet(path: Path, columns: Columns, rows: _Rows, groups: Sequence[int] | None) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = _names(columns_of(path, PLAYS, file.schema_arrow, columns))
        used = rows.columns(path, PLAYS, names)
        order = [names[role] for role in used]
        read = file.iter_batches(_BLOCK_ROWS, row_groups=groups, columns=order)
        batches = (batch.select(order) for batch in read)
        _add_batches(path, PLAYS, used, batches, names, columns, rows)


def _names(columns: Sequence[str | None]) -> Names:
    roles = zip(PLAYS.all_roles, columns, strict=True)
    return {role: name for role, name in roles if name is not None}


def _add_batches(
    where: object,
    layout: Layout,
    used: Sequence[str],
    batches: Iterable[Any],
    names: Names,
    columns: Columns,
    rows: _Rows,
) -> None:
    for number, batch in enumerate(batches):
        if number == 0 and "count" in used:
            check_counts(where, layout, batch.select([names[role] for role in layout.roles]), columns)
        arrays = dict(zip(used, batch.columns, strict=True))
        ids = {role: as_ids(arrays[role]) for role in ("user", "song")}
        counts = {"count": as_numbers(arrays["count"])} if "count" in used else {}
        rows.add({**arrays, **ids, **counts}, names)


class _BadValue(ValueError):
    """A count that is a number and no count."""


class _Rows:
    """Rows as they are read, of which those that are wanted are added up."""

    def __init__(self, sums: Sums, wanted: PlayFilter, progress: Progress) -> None:
        self._sums = sums
        self._filter = wanted
        self._progress = progress
        self.n_rows = self.n_kept = 0
        self.stage = "read counts"

    def columns(self, where: object, layout: Layout, names: Names) -> list[str]:
        """Return the roles of the columns to read.

        Raises
        ------
        InputError
            A column is missing that the filter looks at.
        """
        if missing := [role for role in self._filter.roles if role not in names]:
            problem = f"no column is known to hold the {' and the '.join(missing)} of each play"
            known = [name for role, name in names.items() if role in layout.roles]
            more = [f"{role}={names.get(role, role.upper())}" for role in self._filter.roles]
            raise refusal(where, layout, problem, [*known, *more])
        return [role for role in layout.roles if role in names] + self._filter.roles

    def add(self, block: Block, names: Names) -> None:
        users, songs = block["user"], block["song"]
        for role, column in block.items():
            if role in PLAYS.roles and column.null_count:
                raise _BadValue(f"a {role} is missing")
        for ids in (users, songs):  # a dictionary may hold a null
            if ids.dictionary.null_count or pc.any(pc.equal(ids.dictionary, "")).as_py():
                raise _BadValue("an id is empty")
        self.n_rows += len(users)
        if "count" in block:
            values = block["count"].to_numpy(zero_copy_only=False)
            good = (values >= 0) & (values <= _MOST)  # false for NaN
            if not good.all():
                raise _BadValue(f"the count {values[~good][0]} is not a finite number of plays")
        else:
            values = np.ones(len(users))
        keep = self._filter.keep(block, names)
        if not keep.all():
            values = values[keep]
            block = {role: column.filter(pa.array(keep)) for role, column in block.items()}
            # Anew, so that nobody is numbered who has only rows that do not count.
            block |= {role: compacted(block[role]) for role in ("user", "song")}
        self._sums.add(block, values.astype(np.float32))
        self.n_kept += len(values)
        self.stage = "read counts" if "count" in block else "count plays"
        self._progress(self.stage, self.n_rows, None, self._filter.left_out)


def check_rows(files: Sequence[object], n_rows: int, n_kept: int, wanted: PlayFilter) -> None:
    """Raise InputError where files have no rows, or none that counts."""
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    if not n_rows:
        raise InputError(f"{where}: no plays in it; wanted rows of {PLAYS.wanted}")
    if not n_kept:
        raise InputError(f"{where}: none of {n_rows:,} rows counts: {wanted.why_none()}")


def _fault(places: Mapping[str, int], fields: Sequence[str]) -> str | None:
    values = {role: fields[place] for role, place in places.items()}
    if fault := _number_fault("count", values.get("count", "1")):
        return fault
    if not values["user"] or not values["song"]:
        return f"the {'song' if values['user'] else 'user'} is empty"
    if (time := values.get("time", "").strip()) and as_moment(time) is None:
        return f"the time {time!r} is none; wanted {WANTED}"
    seconds = values.get("seconds", "").strip()
    return _number_fault("seconds", seconds) if seconds else None


def _number_fault(role: str, text: str) -> str | None:
    value = as_number(text)
    if value is None:
        return f"the {role} {text!r} is not a number"
    if math.isnan(value) or value > _MOST:
        return f"the {role} {text!r} is not finite"
    return f"the {role} {text!r} is negative" if value < 0 else None
