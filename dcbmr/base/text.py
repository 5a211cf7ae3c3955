"""Lists of ids as text files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dcbmr.errors import InputError


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write ids one a line; an id with a line break in it is refused."""
    lines = list(lines)
    for line in lines:
        if "\n" in line:
            raise InputError(f"the id {line!r} has a line break in it")
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


def read_lines(path: Path) -> Iterator[str]:
    """Read what :func:`write_lines` wrote."""
    with open(path, encoding="utf-8", newline="\n") as file:
        try:
            for line in file:
                yield line.removesuffix("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no text in UTF-8: {error}") from error
