"""Lines of published text files, checked to be of the form that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.datasets.published import SourceFiles

_BLOCK_BYTES = 1 << 22


def lines_of(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank, plain or compressed.

    Raises
    ------
    InputError
        The file cannot be read, or a line is not in this encoding.
    """
    number, rest = 0, b""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            while True:
                block = stream.read(_BLOCK_BYTES)
                *lines, rest = (rest + block).split(b"\n")
                if not block:
                    lines.append(rest)
                for line in lines:
                    number += 1
                    if text := line.decode(encoding).removesuffix("\r"):
                        yield number, text
                if not block:
                    return
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: no text in {encoding.upper()}") from error
    except (pa.ArrowException, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def fields_of_lines(
    files: SourceFiles, path: Path, columns: Sequence[str], *, separator: str = "\t", encoding: str = "utf-8"
) -> Iterator[list[str]]:
    """Yield the fields of each line of a file whose first line names the columns.

    Raises
    ------
    InputError
        The first line names others, which is another version of the data set; a line has more or fewer.
    """
    lines = lines_of(path, encoding)
    _, first = next(lines, (0, ""))
    if first.removeprefix("\ufeff").split(separator) != list(columns):
        raise files.another_version(path, f"a first line of {', '.join(columns)}", f"{first[:200]!r}")
    for number, line in lines:
        fields = line.split(separator)
        if len(fields) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(fields)} columns, where the first line has {len(columns)}"
            )
        yield fields
