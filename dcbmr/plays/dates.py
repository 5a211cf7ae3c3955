"""When songs came out, or were first played, read from a table of songs."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from dcbmr.errors import InputError
from dcbmr.plays.columns import DATES
from dcbmr.plays.rows import read_rows

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ].*)?)?)?")


def read_dates(path: str | Path) -> dict[str, date]:
    """Read the date of each song that has one; of a year or a month alone, the first day.

    Parameters
    ----------
    path : path
        A table of songs as :func:`dcbmr.read_songs` takes it, whose first line has a usual name for a column
        of dates: date, release_date, first_played, year, ... They are written 2012, 2012-06 or 2012-06-01,
        and a time after the day is passed over.

    Raises
    ------
    InputError
        There is no such column; a date is not understood; names the line, and how many there are.
    """
    path = Path(path)
    found: dict[str, date] = {}
    wrong: list[tuple[int, str]] = []
    for number, (song, text) in read_rows(path, DATES, None):
        if song and text and text.strip():
            day = _parse(text.strip())
            if day is None:
                wrong.append((number, text))
            else:
                found[song] = day
    if wrong:
        number, text = wrong[0]
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise InputError(
            f"{path}, line {number}: the date {text!r} is not understood{more}; wanted 2012, 2012-06 or "
            "2012-06-01"
        )
    return found


def songs_from(path: str | Path, first: str) -> set[str]:
    """Return the songs of a table whose date is ``first``, as 2024-01-31, or later.

    Raises
    ------
    InputError
        As for :func:`read_dates`; ``first`` is no date; no song is of that day or later.
    """
    day = _parse(first)
    if day is None:
        raise InputError(f"the date {first!r} is not understood; wanted 2012, 2012-06 or 2012-06-01")
    dates = read_dates(path)
    songs = {song for song, date_of_song in dates.items() if date_of_song >= day}
    if not songs:
        latest = f"the latest is of {max(dates.values())}" if dates else "none has a date"
        raise InputError(f"none of the songs in {path} is of {first} or later: {latest}")
    return songs


def _parse(text: str) -> date | None:
    parts = _DATE.fullmatch(text)
    if parts is None:
        return None
    try:
        return date(int(parts[1]), int(parts[2] or 1), int(parts[3] or 1))
    except ValueError:
        return None
