"""Rows of text out of a table that a person may have made: TSV or CSV, plain or compressed, or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dcbmr.errors import InputError
from dcbmr.plays.arrow import check_counts, columns_of, is_parquet
from dcbmr.plays.columns import Columns, Layout
from dcbmr.plays.delimited import Delimited, check_file

_BLOCK_ROWS = 1 << 16


def read_rows(path: Path, layout: Layout, columns: Columns) -> Iterator[tuple[int, list[str | None]]]:
    """Yield the number of each line and its fields by role, None for one that need not be and is not there.

    Raises
    ------
    InputError
        The file cannot be read, or its columns are not understood; a line lacks what a table needs.
    """
    check_file(path, layout)
    try:
        yield from (_parquet_rows if is_parquet(path) else _text_rows)(path, layout, columns)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error
    except (pa.ArrowException, csv.Error, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _text_rows(path: Path, layout: Layout, columns: Columns) -> Iterator[tuple[int, list[str | None]]]:
    text = Delimited.sniff(path, layout, columns)
    needed = [place for place in text.places[: layout.n_needed] if place is not None]
    for number, fields in text.rows():
        if len(fields) <= max(needed):
            raise InputError(
                f"{path}, line {number}: wanted {layout.wanted}; got {text.delimiter.join(fields)!r}"
            )
        yield number, [fields[p] if p is not None and p < len(fields) else None for p in text.places]


def _parquet_rows(path: Path, layout: Layout, columns: Columns) -> Iterator[tuple[int, list[str | None]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = columns_of(path, layout, file.schema_arrow, columns)
        number = 0
        there = [name for name in names if name is not None]
        for batch in file.iter_batches(_BLOCK_ROWS, columns=there):
            if number == 0 and layout.number is not None and layout.number < len(there):
                check_counts(path, layout, batch.select(there), columns)
            fields = [
                [None] * len(batch) if name is None else batch.column(name).cast(pa.string()).to_pylist()
                for name in names
            ]
            for row in zip(*fields, strict=True):
                number += 1
                yield number, list(row)
