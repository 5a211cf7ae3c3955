"""Tables as programs get them, TSV and JSON, and as people do: fitted to the terminal, with bars."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dcbmr.base.text import escaped, harmless, one_line
from dcbmr.cli._bars import BAR, Mark, Scale

if TYPE_CHECKING:
    from rich.console import RenderableType

# Columns that give way where a terminal is narrow, to so many cells: names of songs are cut, those of models
# folded. Other texts are folded between their words, and figures stay whole.
_LEAST = {"artist": 8, "title": 8, "called": 8, "model": 11}
_CUT = ("artist", "title", "called")
# Columns that are left out, one after the other, where even that is too wide.
_LEFT_OUT = ("alike", "artist", "below best, 95 %", "auc, 95 %", "lift", "title", "called")
_GAP = 2  # cells between columns
_WIDTH_PIPED = 200
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_LEFT_TO_RIGHT_MARK = "\u200e"


def table_options(command: Any) -> Any:
    """``--json`` and ``--tsv``: how a command prints its rows; a table for people when neither is given."""
    command = click.option(
        "--tsv", "form", flag_value="tsv", type=click.UNPROCESSED, help="Print tab-separated values."
    )(command)
    return click.option("--json", "form", flag_value="json", type=click.UNPROCESSED, help="Print JSON.")(
        command
    )


def of_column(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Mark]]:
    """Return the bars of a column of rows, with the intervals of its numbers where the rows have them."""
    return {name: [Mark(row[name], row.get(f"{name}_low"), row.get(f"{name}_high")) for row in rows]}


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    form: str | None,
    title: str | None = None,
    header: bool = True,
    bars: Mapping[str, Sequence[Mark]] | None = None,
    digits: Mapping[str, int] | None = None,
) -> None:
    """Print rows, which share their keys, as JSON, as TSV (without ``header``: more of it) or as a table.

    For tables ``bars`` has a mark for each row, by the column that a terminal shows them beside, and
    ``digits`` how many decimals a column has, where not five.
    """
    if form == "json":
        readable = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")
        click.echo(escaped(json.dumps(list(rows), indent=2, ensure_ascii=not readable)))
        return
    columns = list(rows[0]) if rows else []
    if form == "tsv":
        if header:
            click.echo("\t".join(columns))
        lines = ("\t".join(_cell(row[column]) for column in columns) + "\n" for row in rows)
        text = "".join(lines)
        click.echo(harmless(text) if sys.stdout.isatty() else text, nl=False)
        return
    _print_table(rows, columns, title, bars or {}, digits or {})


def print_evaluation(rows: Sequence[Mapping[str, Any]], *, form: str | None) -> None:
    """Print the rows of an evaluation, for people less of them, with the intervals of the mAP as bars."""
    from dcbmr.evaluation.table import map_column, shown_rows

    if form:
        print_rows(rows, form=form)
    else:
        bars = of_column(rows, map_column(rows))
        print_rows(shown_rows(rows), form=None, bars=bars, digits={"auc": 4, "lift": 2})


def _cell(value: Any, digits: int | None = None) -> str:
    """Return a value as text in one line, numbers with all their digits if None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if digits is None else f"{value:.{digits}f}"
    return one_line(str(value))


def _print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    title: str | None,
    bars: Mapping[str, Sequence[Mark]],
    digits: Mapping[str, int],
) -> None:
    """Print a table; on a terminal with bars, where there is room, and with long names cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    live = sys.stdout.isatty()
    # Not a terminal: as wide as the rows are, so that nothing is cut when piped.
    console = Console(width=None if live else _WIDTH_PIPED)
    plain = console.options.ascii_only or console.is_dumb_terminal
    cells = {}
    for name in columns:
        texts = [_shown(_cell(row[name], digits.get(name, 5)), console.encoding) for row in rows]
        if name not in _CUT or any(texts):
            cells[name] = texts
    figures = {name for name in cells if all(isinstance(row[name], int | float | None) for row in rows)}
    fit = _fit(cells, figures, console.width, len(bars)) if live else None
    if title is not None:
        heading = _shown(one_line(title), console.encoding)
        console.print(Text(_fitted(heading, console.width, plain), style="table.title"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    content: list[list[RenderableType]] = []
    for name, texts in cells.items():
        width = None if fit is None else fit.widths.get(name, 0)
        if width == 0:
            continue
        numeric = name in figures
        # Where it is narrow, words are folded; no figure is cut.
        table.add_column(
            Text(name.replace(" ", "\n") if numeric else name),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
            max_width=width,
        )
        if width is not None and name in _CUT:
            texts = [_fitted(text, width, plain) for text in texts]
        content.append([Text(text) for text in texts])
        if name in bars and fit is not None and fit.has_bars:
            scale = Scale.of(bars[name])
            table.add_column(Text(scale.ends), no_wrap=True)
            content.append([scale.draw(mark, plain=plain) for mark in bars[name]])
    for line in zip(*content, strict=True):
        table.add_row(*line)
    console.print(table)
    if fit is not None and (left_out := cells.keys() - fit.widths):
        narrow = ", ".join(name for name in cells if name in left_out)
        click.echo(f"not shown, the terminal being narrow: {narrow}", err=True)


def _shown(text: str, encoding: str) -> str:
    """Return a text that no terminal obeys, with codes for letters that the locale cannot write."""
    return harmless(text).encode(encoding, "backslashreplace").decode(encoding)


class _Fit(NamedTuple):
    """How a table fits a terminal: the width of each column that is shown, and whether bars are."""

    widths: dict[str, int]
    has_bars: bool


def _fit(cells: Mapping[str, Sequence[str]], figures: Collection[str], width: int, n_bars: int) -> _Fit:
    """Fit columns to a terminal: the longest of the texts are made alike, as far as they must give way."""
    from rich.cells import cell_len

    def longest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    own, least = {}, {}
    for name, texts in cells.items():
        own[name] = longest([name, *texts])
        words = longest(word for text in (name, *texts) for word in text.split())
        least[name] = min(own[name], _LEAST.get(name, words))
        if name in figures:
            own[name] = least[name]

    def room() -> int:
        return width - 1 - sum(least[name] + _GAP for name in least)

    for name in _LEFT_OUT:
        if name in least and room() < 0:
            del own[name], least[name]
    of_bars = n_bars * (BAR + _GAP)
    has_bars = room() >= of_bars
    more = room() - (of_bars if has_bars else 0)
    widths = least
    for level in range(min(max(own.values(), default=0), width)):
        wider = {name: max(min(own[name], level + 1), least[name]) for name in own}
        if sum(wider.values()) - sum(least.values()) > more:
            break
        widths = wider
    return _Fit(widths, has_bars)


def _fitted(text: str, width: int, plain: bool) -> str:
    """Return a name of at most so many cells, after which the line goes on from left to right."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        end = "..." if plain else "…"
        text = set_cell_size(text, width - len(end)).rstrip() + end
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        text += _LEFT_TO_RIGHT_MARK  # else terminals that know directions take the figures after it along
    return text
