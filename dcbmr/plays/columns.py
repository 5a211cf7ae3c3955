"""Which column of a table is what: the one rule for plays, tags, songs and manifests, in any form.

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
from dcbmr.plays.times import as_moment

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
    by_name : tuple of str
        More columns, which are known by their names only, or named as ``role=column``.
    """

    what: str
    roles: tuple[str, ...]
    n_needed: int
    wanted: str
    advice: str = "give --columns {shell} (in Python: columns={python})"
    by_name: tuple[str, ...] = ()

    @property
    def all_roles(self) -> tuple[str, ...]:
        """All that a column may be."""
        return self.roles + self.by_name

    @property
    def number(self) -> int | None:
        """Place of the role that is a number, None where there is none."""
        return 2 if self.roles[-1] in ("count", "weight") else None


# Of plays the count may be missing, if it is sure that each row is one play.
PLAYS = Layout("plays", ("user", "song", "count"), 2, "user, song and count", by_name=("time", "seconds"))
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
MANIFEST = replace(
    SONGS,
    what="manifest",
    roles=("song", "path"),
    wanted="song and path",
    advice="call them song and path in its first line",
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
_PATHS = ("path", "filepath", "file", "filename", "audio", "audiofile", "audiopath", "location")
_DATES = ("date", "releasedate", "released", "firstplayed", "firstplayedat", "releaseyear", "year")
# Of a row that is one play; "last played", "year" or "duration" may be of anything.
_PLAYED_AT = (
    "timestamp", "ts", "time", "datetime", "playedat", "listenedat", "scrobbledat", "startedat", "starttime",
    "eventtime", "utctime", "unixtime", "epoch", "unix", "utc", "date", "endtime",
)  # fmt: skip
_SECONDS = (
    "secondsplayed", "playedseconds", "secplayed", "playedsec", "seconds", "sec", "secs", "listenedseconds",
    "secondslistened", "listeningseconds", "msplayed", "playedms", "mslistened", "listenedms",
)  # fmt: skip
_USUAL = {
    "user": _USERS, "song": _SONGS, "count": _COUNTS, "tag": _TAGS, "weight": _WEIGHTS,
    "artist": _ARTISTS, "title": (*_TITLES, "song", "track", "recording"), "date": _DATES,
    "time": _PLAYED_AT, "seconds": _SECONDS, "path": _PATHS,
}  # fmt: skip
_COUNTING = ("count", "counts", "plays", "listens", "scrobbles", "streams", "freq", "weight", "total")
_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
_ALL = frozenset(chain(("id",), _TIMES, *_USUAL.values()))


def parse_columns(layout: Layout, columns: Columns) -> dict[str, str] | None:
    """Return the column of each role that was named, in order or as ``role=column``; None if none were."""
    if columns is None:
        return None
    given = [str(c) for c in (columns.split(",") if isinstance(columns, str) else columns)]
    in_order = iter(layout.roles)
    named: dict[str, str] = {}
    n_wrong = 0
    for column in given:
        role, equals, name = column.partition("=")
        if not equals or role not in layout.all_roles:
            role, name = next(in_order, ""), column
        n_wrong += role in named or not role
        named[role] = name
    if n_wrong or not all(role in named for role in layout.roles[: layout.n_needed]):
        wanted = ", ".join([*layout.roles, *(f"{role}=COLUMN" for role in layout.by_name)])
        least = " and ".join(layout.roles[: layout.n_needed])
        raise InputError(f"columns must name {wanted}, of which {least} may not be missing; got {given}")
    return named


def is_header(layout: Layout, first: Sequence[str], columns: dict[str, str] | None) -> bool:
    """Say whether the first line of a text names the columns.

    It does when it is asked for by name; when two of its fields are names that columns usually have; or
    when text stands where a number ought to, and no field is a number. Of vectors, also when the first field
    is such a name, or empty, since the numbers may have numbers for names.
    """
    if columns is not None and any(not c.isdecimal() for c in columns.values()):
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
    for role, is_value in ((layout.roles[place], as_number), ("time", as_moment)):
        at = int(columns.get(role, len(first) + 1)) - 1
        if at < len(first):
            return first[at].strip() != "" and is_value(first[at]) is None
    return False


def choose_columns(
    where: object, layout: Layout, names: Sequence[str] | None, width: int, columns: dict[str, str] | None
) -> list[int | None]:
    """Return the place of each role among ``width`` columns, None for one that need not be and is not there.

    Of plays, the count may be missing where each row is one play: when the columns that are named lack it,
    and under a header that has a time of each, or nothing but user and song.

    Parameters
    ----------
    where : object
        What the table is called in an error.
    layout : Layout
    names : sequence of str, optional
        The header, where there is one.
    width : int
    columns : mapping of role to column, optional
        What :func:`parse_columns` returned.

    Raises
    ------
    InputError
        A column that was named is not there; the header is not understood; there are too few columns.
    """
    if columns is not None:
        places = {role: _place_of(where, column, names, width) for role, column in columns.items()}
        if len(set(places.values())) < len(places):
            raise InputError(f"columns names one column twice; got {list(columns.values())}")
        return [places.get(role) for role in layout.all_roles]
    least = layout.n_needed if names or not layout.by_name else len(layout.roles)
    if width < least:
        shown = "one column" if width == 1 else f"{width} columns"
        separated = ", separated by tabs, commas or semicolons" if names is None else ""
        if width == layout.n_needed:
            problem = f"{shown}; wanted {layout.wanted}, or one row a play"
            raise refusal(where, layout, problem, ["1", "2"])
        raise InputError(f"{where} has {shown}; wanted {layout.wanted}{separated}")
    if names is None:
        by_place: list[int | None] = [place if place < width else None for place in range(len(layout.roles))]
        return by_place + [None] * len(layout.by_name)
    found = _places_by_name(layout, names)
    known = [found.get(role) for role in layout.all_roles]
    lacks = None in known[: layout.n_needed] and not (layout is SONGS and {"song", "title"} <= found.keys())
    if lacks or (layout.by_name and "count" not in found and not _is_log(names, found)):
        raise _not_understood(where, layout, names, found)
    return known


def _is_log(names: Sequence[str], found: dict[str, int]) -> bool:
    """Say whether each row under a header without a count is one play, and nothing in it may be a count."""
    left = [name for place, name in enumerate(names) if place not in found.values()]
    may_count = any(word.casefold().endswith(_COUNTING) for name in left for word in _WORDS.split(name))
    return not may_count and ("time" in found or not left)


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
    for role in layout.all_roles:
        usual: tuple[str, ...] = _USUAL[role]
        if role == "song" and layout in (SONGS, DATES, MANIFEST):
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
    needed = [role for role in missing if layout.by_name or role in layout.roles[: layout.n_needed]]
    left = [name for place, name in enumerate(names) if place not in found.values()]
    free = [name for name in left if _plain(name) not in _USERS + _COUNTS and not _is_time(name)]
    # As many columns as roles are left: those are probably meant, in their order. A log has no counts.
    is_log = bool(layout.by_name) and _is_log(names, found)
    open_roles = [[role for role in roles if not (is_log and role == "count")] for roles in (needed, missing)]
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
    if needed == ["count"]:
        problem += " (without COUNT, each row is counted as one play)"
    return refusal(where, layout, problem, columns)
