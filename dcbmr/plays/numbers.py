"""Whether a column can be counted: numbers that look like times or identifiers are no numbers of plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.plays.columns import Layout, as_number, refusal
from dcbmr.plays.times import as_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_numbers(
    where: object, layout: Layout, labels: Sequence[str], values: NDArray[np.float64], *, by_place: bool
) -> None:
    """Raise InputError when a column that is to be counted holds times or, taken ``by_place``, identifiers.

    Parameters
    ----------
    where : object
        What the table is called in an error.
    layout : Layout
        One with a number.
    labels : sequence of str
        What the column of each role is called; the last is the one in question.
    values : ndarray of float64
        Some of its values.
    by_place : bool
        Nobody has named the column.
    """
    if fault := _times(values):
        raise refusal(where, layout, f"column {labels[-1]!r} {fault}", _of_times(layout, labels))
    if by_place and (fault := _identifiers(values)):
        columns = [*labels[:-1], *_to_find(layout)]
        raise refusal(where, layout, f"column {labels[-1]!r} {fault}", columns)


def check_places(where: object, layout: Layout, rows: Sequence[Sequence[str]]) -> None:
    """Raise InputError when the third column of a text without a header is no column of numbers of plays.

    Parameters
    ----------
    where : object
        What the text is called in an error.
    layout : Layout
        One with a number.
    rows : sequence of sequence of str
        Lines of the text, all of one width.
    """
    faults = [_fault(column) for column in zip(*rows, strict=True)]
    if len(faults) > 2 and (fault := faults[2]):
        good = [place for place, fault in enumerate(faults) if place > 2 and fault is None]
        if layout.by_name and not good and _are_times([row[2] for row in rows]):
            columns = _of_times(layout, ["1", "2", "3"])
            raise refusal(where, layout, f"without a header, column 3 {fault}", columns)
        number = [str(good[0] + 1)] if len(good) == 1 else _to_find(layout)
        raise refusal(where, layout, f"without a header, column 3 {fault}", ["1", "2", *number])


def _to_find(layout: Layout) -> list[str]:
    """Return what stands for a number that the reader must find; nothing where it may be missing."""
    return [role.upper() for role in layout.roles[2:] if layout.by_name]


def _of_times(layout: Layout, labels: Sequence[str]) -> list[str]:
    """Return the columns to name where the third holds times: of plays, each row is then one."""
    return [*labels[:2], *([f"time={labels[2]}"] if layout.by_name else [])]


def _are_times(column: Sequence[str]) -> bool:
    numbers = [as_number(field) for field in column]
    if all(number is None for number in numbers):
        return all(as_moment(field) is not None for field in column)
    return _times(np.array([number for number in numbers if number is not None])) is not None


def _fault(column: Sequence[str]) -> str | None:
    numbers = [as_number(field) for field in column]
    if all(number is None for number in numbers):
        return f"holds no numbers, but {column[0]!r}"
    values = np.array([number for number in numbers if number is not None])
    return _times(values) or _identifiers(values)


def _times(values: NDArray[np.float64]) -> str | None:
    """Say so if all values are times since 1970, of 1985 to 2106."""
    for unit, scale in (("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if values.size and (values >= 4.7e8 * scale).all() and (values < 4.3e9 * scale).all():
            return f"looks like times, such as {values[0]:.0f}: {unit} since 1970, which are not counted"
    return None


def _identifiers(values: NDArray[np.float64]) -> str | None:
    """Say so if all values are whole numbers such as plays never are."""
    if not values.size or (values != np.rint(values)).any():
        return None
    if values.min() >= 1e6:
        return f"looks like identifiers or dates: no value is below {values.min():.0f}"
    if len(values) >= 1000 and len(np.unique(values)) == len(values):
        return f"looks like identifiers: {len(values):,} different whole numbers in as many lines"
    return None
