"""Which column of a table is what: the one rule for plays, tags and songs, in text, Parquet or a frame.

Columns are known by the names that they usually have, in any order; without a header by their places. What
is not understood is refused, with the columns to name. A column that looks like times or identifiers is
never taken for a number of plays.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from dcbmr.errors import InputError

Columns = str | Sequence[str | int] | None


@dataclass(frozen=True)
class Layout:
    """The columns that a table ought to have.

    Attributes
    ----------
    what : str
        What it holds, in one word.
    roles : tuple of str
        Its columns, in the order in which they are named, and in which they lie without a header.
    n_needed : int
        How many of them, from the first, a table cannot lack.
    wanted : str
        The same in words.
    advice : str
        How to name the columns: ``{shell}`` and ``{python}`` stand for the columns to name.
    """

    what: str
    roles: tuple[str, ...]
    n_needed: int
    wanted: str
    advice: str = "give --columns {shell} (in Python: columns={python})"

    @property
    def number(self) -> int | None:
        """Place of the role that is a number, None where there is none."""
        return 2 if self.roles[-1] in ("count", "weight") else None


PLAYS = Layout("plays", ("user", "song", "count"), 3, "user, song and count")
FRAME_OF_PLAYS = replace(PLAYS, advice="give columns={python}")
ARRAYS_OF_PLAYS = replace(PLAYS, advice="give arrays of users, songs and counts")
TAGS = Layout("tags", ("song", "tag", "weight"), 2, "song, tag and, optionally, weight")
SONGS = Layout(
    "songs",
    ("song", "artist", "title"),
    2,
    "song, artist and, optionally, title",
    advice="call them song, artist and title in its first line (in Python: or give columns={python})",
)
DATES = replace(
    SONGS,
    roles=("song", "date"),
    wanted="song and date",
    advice="call them song and date in its first line",
)
VECTORS = Layout(
    "vectors",
    ("song",),
    1,
    "a column of song ids beside columns of numbers",
    advice="call the column of ids song",
)

# Without case and punctuation; the first that a table has is the one.
_USERS = (
    "userid", "useruuid", "user", "uid", "username", "usersha1", "userhash",
    "listenerid", "listener", "accountid", "account", "customerid", "customer", "memberid",
)  # fmt: skip
_SONGS = (
    "songid", "trackid", "song", "track", "recordingmbid", "recordingmsid", "recordingid", "recording",
    "trackmbid", "songmbid", "trackuri", "songuri", "itemid", "item",
)  # fmt: skip
_ARTISTS = ("artist", "artistname", "band", "performer", "artistid", "artistmbid", "artisturi")
_TITLES = ("title", "songtitle", "tracktitle", "songname", "trackname", "recordingname", "name")
_COUNTS = (
    "count", "counts", "playcount", "playcounts", "plays", "nplays", "numplays", "playnum",
    "listencount", "listens", "listeningcount", "nlistens", "scrobbles", "streams", "n", "freq", "frequency",
    "weight",
)  # fmt: skip
_TAGS = ("tag", "tagname", "tagvalue", "label", "genre", "tagid", "labelid", "genreid")
_WEIGHTS = ("weight", "score", "relevance", "strength", *_COUNTS[:-1])
_TIMES = (
    "time", "timestamp", "date", "datetime", "ts", "when", "day", "month", "year", "hour", "minute", "second",
    "listenedat", "playedat", "createdat", "updatedat", "lastplayed", "firstplayed", "duration", "length",
    "ms", "msplayed", "epoch", "unix", "utc",
)  # fmt: skip
_DATES = ("date", "releasedate", "released", "firstplayed", "firstplayedat", "releaseyear", "year")
_USUAL = {
    "user": _USERS, "song": _SONGS, "count": _COUNTS, "tag": _TAGS, "weight": _WEIGHTS,
    "artist": _ARTISTS, "title": (*_TITLES, "song", "track", "recording"), "date": _DATES,
}  # fmt: skip
_ALL = frozenset(chain(("id",), _TIMES, *_USUAL.values()))


def parse_columns(layout: Layout, columns: Columns) -> list[str] | None:
    """Return the columns that were named, as many as the layout has or needs; None where none were."""
    if columns is None:
        return None
    named = [str(c) for c in (columns.split(",") if isinstance(columns, str) else columns)]
    if not layout.n_needed <= len(named) <= len(layout.roles):
        wanted = {2: "two or three", 3: "three"}[layout.n_needed]
        raise InputError(f"columns must name {wanted}: {layout.wanted}; got {named}")
    return named


def is_header(layout: Layout, first: Sequence[str], columns: list[str] | None) -> bool:
    """Say whether the first line of a text names the columns.

    It does when it is asked for by name; when two of its fields are names that columns usually have; or
    when text stands where a number ought to, and no field is a number. Of vectors, also when the first field
    is such a name, or empty, since the numbers may have numbers for names.
    """
    if columns is not None and any(not c.isdecimal() for c in columns):
        return True
    if sum(_is_usual(name) for name in first) >= 2:
        return True
    if layout is VECTORS:
        return _is_usual(first[0]) or not first[0] or all(as_number(f) is None for f in first[1:] or "0")
    place = layout.number
    if place is None:
        return False
    if columns is None:
        return len(first) > place and first[place].strip() != "" and all(as_number(f) is None for f in first)
    at = int(columns[place]) - 1 if place < len(columns) else len(first)
    return at < len(first) and first[at].strip() != "" and as_number(first[at]) is None


def choose_columns(
    where: object, layout: Layout, names: Sequence[str] | None, width: int, columns: list[str] | None
) -> list[int | None]:
    """Return the place of each role among ``width`` columns, None for one that need not be and is not there.

    Parameters
    ----------
    where : object
        What the table is called in an error.
    layout : Layout
    names : sequence of str, optional
        The header, where there is one.
    width : int
    columns : list of str, optional
        What :func:`parse_columns` returned.

    Raises
    ------
    InputError
        A column that was named is not there; the header is not understood; there are too few columns.
    """
    if columns is not None:
        places = [_place_of(where, column, names, width) for column in columns]
        if len(set(places)) < len(places):
            raise InputError(f"columns names one column twice; got {columns}")
        return [*places, *[None] * (len(layout.roles) - len(places))]
    if width < layout.n_needed:
        shown = "one column" if width == 1 else f"{width} columns"
        separated = ", separated by tabs, commas or semicolons" if names is None else ""
        raise InputError(f"{where} has {shown}; wanted {layout.wanted}{separated}")
    if names is None:
        return [place if place < width else None for place in range(len(layout.roles))]
    found = _places_by_name(layout, names)
    known = [found.get(role) for role in layout.roles]
    if None in known[: layout.n_needed] and not (layout is SONGS and {"song", "title"} <= found.keys()):
        raise _not_understood(where, layout, names, found)
    return known


def refusal(where: object, layout: Layout, problem: str, columns: Sequence[str]) -> InputError:
    """Return the error that names the columns to give; those in capitals are for the reader to find."""
    text = ",".join(columns)
    advice = layout.advice.format(shell=shlex.quote(text), python=repr(text))
    return InputError(f"{where}: {problem}; {advice}")


def as_number(text: str) -> float | None:
    """Return the number that a field holds, None if it holds none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _is_time(name: str) -> bool:
    plain = _plain(name)
    return plain in _TIMES or plain.endswith(("time", "timestamp", "date"))


def _is_usual(name: str) -> bool:
    """Say whether columns are usually called so."""
    plain = _plain(name)
    return len(plain) > 1 and plain in _ALL


def _places_by_name(layout: Layout, names: Sequence[str]) -> dict[str, int]:
    """Return the place of each role whose usual name is there, once."""
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    for role in layout.roles:
        usual: tuple[str, ...] = _USUAL[role]
        if role == "song" and layout in (SONGS, DATES):
            usual = (*usual, "id")
        elif role == "song" and layout is VECTORS:
            usual = (*usual, "id", "ids", "", "indexlevel0")  # pandas writes an index so
        elif role == "song" and not set(plain) & {*_SONGS, *_TITLES}:
            usual = _ARTISTS[::-1]  # artists may be taken for songs, where nothing else is
        there = [plain.index(name) for name in usual if plain.count(name) == 1]
        free = [place for place in there if place not in found.values()]
        if free:
            found[role] = free[0]
    return found


def _place_of(where: object, column: str, names: Sequence[str] | None, width: int) -> int:
    if names and column in names:
        return list(names).index(column)
    if column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    there = ", ".join(names) if names else f"{width}, without a header"
    raise InputError(f"{where} has no column {column!r}; its columns: {there}")


def _not_understood(where: object, layout: Layout, names: Sequence[str], found: dict[str, int]) -> InputError:
    missing = [role for role in layout.roles if role not in found]
    needed = [role for role in missing if role in layout.roles[: layout.n_needed]]
    left = [name for place, name in enumerate(names) if place not in found.values()]
    times = [name for name in left if _is_time(name)] if "count" in needed else []
    free = [name for name in left if _plain(name) not in _USERS + _COUNTS and not _is_time(name)]
    # As many columns as roles are left: those are probably meant, in their order. A log has no counts.
    open_roles = [[role for role in roles if not (times and role == "count")] for roles in (needed, missing)]
    guess = next((dict(zip(r, free, strict=True)) for r in open_roles if len(r) == len(free)), {})
    if _plain(guess.get("count", "")).endswith("id"):
        del guess["count"]
    guess = {role: role.upper() for role in needed} | guess | {r: names[p] for r, p in found.items()}
    columns = [guess[role] for role in layout.roles if role in guess]
    if any("," in column for column in columns):
        columns = [str(names.index(column) + 1) if column in names else column for column in columns]
    problem = (
        f"its columns {', '.join(map(repr, names))} do not say which is the {' and which the '.join(needed)}"
    )
    if times:
        problem += (
            f" (times, such as {times[0]!r}, are not counted: a log of single plays must first be made one "
            "line for each user and song)"
        )
    return refusal(where, layout, problem, columns)
