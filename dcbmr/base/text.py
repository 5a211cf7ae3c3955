"""Lists of ids as text files, rows as text, and text of others made harmless."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


_BREAKS = re.compile(r"[\0\t\r\n]")
# What a terminal obeys, or what turns the rest of the line round: controls of ASCII and of Latin-1, but for
# tab and line break, separators of lines and paragraphs, embeddings, overrides and isolates of direction.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Return a text with spaces in the place of tabs, line breaks and NUL, as a cell of a table has it."""
    return _BREAKS.sub(" ", text)


def harmless(text: str) -> str:
    """Return a text of others, such as a title, with what a terminal would obey shown in its place.

    Controls of ASCII become their pictures (ESC is U+241B), others, and those that turn the direction of what
    follows, U+FFFD. Tabs and line breaks stay: see :func:`one_line`.
    """
    return _CONTROLS.sub(lambda found: _picture(ord(found[0])), text)


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def escaped(json_text: str) -> str:
    """Return JSON that means the same, with escapes in the place of what a terminal would obey."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def latex_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows, which share their keys, as a LaTeX tabular with the rules of the package booktabs."""
    numeric = [all(isinstance(row[name], int | float | None) for row in rows) for name in rows[0]]
    lines = [[str(name) for name in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    cells = [" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in line) for line in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
            r"\toprule",
            rf"{cells[0]} \\",
            r"\midrule",
            *(rf"{line} \\" for line in cells[1:]),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows, which share their keys, as a table: names to the left, figures to the right."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [any(isinstance(row[name], int | float) for row in rows) for name in rows[0]]
    lines = (
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    )
    return "\n".join(lines)


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:.5f}" if isinstance(value, float) else str(value)
