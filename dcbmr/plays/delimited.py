"""Delimited text (TSV, CSV, semicolons; plain or compressed): how it is to be read, out of its start."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa

from dcbmr.errors import InputError
from dcbmr.plays.columns import (
    Columns,
    Layout,
    as_number,
    choose_columns,
    is_header,
    parse_columns,
)
from dcbmr.plays.numbers import check_numbers, check_places

_START_BYTES = 1 << 16
_LONGEST_LINE = 1 << 23
_BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class Delimited:
    """A delimited text file, and how it is to be read.

    Attributes
    ----------
    path : Path
    delimiter : str
        Between tabs a quote is a letter like any other; between commas and semicolons it quotes.
    header : int
        Number of the line that names the columns; 0 without one.
    width : int
        Columns of the first line.
    places : list of int or None
        The column of each role of the layout.
    names : list of str or None
        What the first line calls the columns; None without a header.
    """

    path: Path
    delimiter: str
    header: int
    width: int
    places: list[int | None]
    names: list[str] | None

    @classmethod
    def sniff(cls, path: Path, layout: Layout, columns: Columns) -> Self:
        """Look at the start of a file; raise InputError when no such table can be read from it."""
        named = parse_columns(layout, columns)
        lines = _first_lines(path, layout)
        first = next((number for number, line in enumerate(lines) if line.strip("\r\t ")), None)
        if first is None:
            raise InputError(f"{path} is empty; wanted lines of {layout.wanted}")
        delimiter = next((d for d in "\t,;" if d in lines[first]), "\t")
        fields = fields_of(lines[first], delimiter)
        has_header = is_header(layout, fields, named)
        names = fields if has_header else None
        places = choose_columns(path, layout, names, len(fields), named)
        sample = [fields_of(line, delimiter) for line in lines[first + has_header :] if line]
        sample = [row for row in sample if len(row) == len(fields)]
        if layout.number is not None and sample:
            if names is None and named is None:
                check_places(path, layout, sample)
            elif (place := places[layout.number]) is not None:
                numbers = [number for row in sample if (number := as_number(row[place])) is not None]
                roles = places[: len(layout.roles)]
                labels = [names[at] if names else str(at + 1) for at in roles if at is not None]
                check_numbers(path, layout, labels, np.array(numbers), by_place=False)
        return cls(path, delimiter, first + 1 if has_header else 0, len(fields), places, names)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number and the fields of every line that is not blank, without the header."""
        with pa.input_stream(str(self.path), compression="detect") as stream:
            text = io.TextIOWrapper(cast(Any, stream), "utf-8-sig", newline="")
            reader = csv.reader(text, **dialect(self.delimiter))
            for fields in reader:
                if fields and reader.line_num > self.header:
                    yield reader.line_num, fields

    def batches(self, types: Mapping[int, Any]) -> Iterator[pa.RecordBatch]:
        """Yield the columns at some places, parsed as the types of Arrow that are given, in this order.

        Raises
        ------
        pyarrow.ArrowException
            A line is not as it should be; :meth:`explain` finds it.
        """
        import pyarrow.csv as pacsv

        names = [f"f{i}" for i in range(self.width)]
        with pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(
                column_names=names, skip_rows=self.header, block_size=_BLOCK_BYTES
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.delimiter, quote_char='"' if self.delimiter != "\t" else False
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=[names[place] for place in types],
                column_types={names[place]: kind for place, kind in types.items()},
                null_values=[],
            ),
        ) as reader:
            yield from reader

    def explain(self, error: Exception, fault_of: Callable[[Sequence[str]], str | None]) -> InputError:
        """Find the first line that is wrong, and say what is: ``fault_of`` looks at its fields."""
        with pa.input_stream(str(self.path), compression="detect") as stream:
            for number, line in enumerate(_lines(stream), start=1):
                if line.strip(b"\r") and number > self.header and (fault := self._fault(line, fault_of)):
                    return InputError(f"{self.path}, line {number}: {fault}")
        return InputError(f"{self.path} cannot be read: {error}")

    def _fault(self, line: bytes, fault_of: Callable[[Sequence[str]], str | None]) -> str | None:
        try:
            decoded = line.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            return "no text in UTF-8"
        fields = fields_of(decoded, self.delimiter)
        if len(fields) != self.width:
            return f"{len(fields)} columns, where the first line has {self.width}"
        return fault_of(fields)


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _first_lines(path: Path, layout: Layout) -> list[str]:
    """Return the whole lines among the first bytes; the first one must be in UTF-8, others may not be."""
    start = b""
    with pa.input_stream(str(path), compression="detect") as stream:
        # A line of vectors may be long; one that never ends is no text.
        while len(start) < _START_BYTES or (b"\n" not in start and len(start) < _LONGEST_LINE):
            if not (block := stream.read(_START_BYTES)):
                break
            start += block
    if b"\0" in start:
        raise InputError(
            f"{path} is a binary file, or text in UTF-16; wanted {layout.what} as text in UTF-8 (or .gz, "
            ".zst, .bz2 of it) or as Parquet"
        )
    lines = start.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if len(start) >= _START_BYTES and len(lines) > 1:
        lines.pop()  # it may be truncated
    try:
        next((line for line in lines if line.strip()), b"").decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8; wanted lines of {layout.wanted}") from None
    return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]


def dialect(delimiter: str) -> dict[str, Any]:
    """Return the arguments of ``csv.reader``."""
    return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL}


def fields_of(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line."""
    return next(csv.reader([line], **dialect(delimiter)))


def check_file(path: Path, layout: Layout) -> None:
    """Raise InputError unless ``path`` is a file with something in it."""
    if not path.is_file():
        found = (
            "is no file, but a directory"
            if path.is_dir()
            else "is no file"
            if path.exists()
            else "does not exist"
        )
        raise InputError(f"{path} {found}; wanted {layout.what}: {layout.wanted}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; wanted lines of {layout.wanted}")
