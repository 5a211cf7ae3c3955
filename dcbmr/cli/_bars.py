"""Short bars beside the numbers of a column, for people who compare them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR = 10  # cells
_BLOCKS, _ASCII = ("├", "─", "┤", "●"), ("|", "-", "|", "o")


@dataclass(frozen=True)
class Mark:
    """A number that a bar shows, and the ends of its interval where it has one; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scale:
    """What the bars of a column share: from where to where they go, with zero on it."""

    low: float
    high: float
    has_intervals: bool

    @classmethod
    def of(cls, marks: Sequence[Mark]) -> Scale:
        """Return the scale that has room for all marks."""
        every = [number for mark in marks for number in (mark.value, mark.low, mark.high)]
        numbers = [0.0, *filter(_is_number, every)]
        return cls(min(numbers), max(numbers), any(_is_number(mark.low) for mark in marks))

    @property
    def ends(self) -> str:
        """What stands above the bars."""
        low, high = f"{self.low:.2g}", f"{self.high:.2g}"
        return low + high.rjust(BAR - len(low))

    def draw(self, mark: Mark, *, plain: bool) -> RenderableType:
        """Return a bar from zero, to the left if negative, or an interval; ``plain``: in ASCII."""
        from rich.bar import Bar

        if not _is_number(mark.value) or self.low == self.high:
            return ""
        if self.has_intervals:
            return self._interval(mark, mark.value, *(_ASCII if plain else _BLOCKS))
        # Where it lies between two cells, and bars on either side of it have one.
        zero = round(BAR * self.low / (self.low - self.high))
        zero = min(max(zero, self.low < 0), BAR - (self.high > 0))
        unit = max(self.high / max(BAR - zero, 1), -self.low / max(zero, 1))
        begin, end = sorted((zero, zero + mark.value / unit))
        if plain:
            return " " * round(begin) + ("-" if mark.value < 0 else "#") * (round(end) - round(begin))
        return Bar(BAR, begin, end, width=BAR)

    def _interval(self, mark: Mark, value: float, begin: str, line: str, end: str, number: str) -> str:
        """Return the number on the line from one end of its interval to the other."""
        cells = [" "] * BAR
        if _is_number(mark.low) and _is_number(mark.high):
            first, last = self._cell_of(mark.low), self._cell_of(mark.high)
            cells[first : last + 1] = line * (last + 1 - first)
            cells[first], cells[last] = begin, end
        cells[self._cell_of(value)] = number
        return "".join(cells)

    def _cell_of(self, number: float) -> int:
        return round((BAR - 1) * (number - self.low) / (self.high - self.low))


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
