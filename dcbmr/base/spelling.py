"""Names that are spelt like another one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice

from dcbmr.errors import InputError

# Names that difflib compares at most, two or four times as many: a millisecond for twenty of them.
_COMPARED = 500
# One in so many tells how many names share a beginning; a prime, for ids that are numbered.
_STEP = 17


def close_names(name: str, names: Collection[str], *, n: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return at most ``n`` of ``names`` spelt most like ``name``, the closest first.

    Of very many names, those are compared that share its beginning or its ending, as far as about 500 do:
    one slip leaves one of the two as it was.
    """
    if len(names) > 2 * _COMPARED:
        text, sample = ("\n".join(["", *islice(names, 0, None, step), ""]) for step in (1, _STEP))
        names = _sharing(text, sample, name, ending=False) | _sharing(text, sample, name, ending=True)
    return get_close_matches(name, names, n, cutoff)


def _sharing(text: str, sample: str, name: str, *, ending: bool) -> set[str]:
    """Return the lines of ``text`` with the shortest beginning, or ending, of ``name`` that few share."""

    def part(length: int) -> str:
        return name[len(name) - length :] + "\n" if ending else "\n" + name[:length]

    lengths = range(len(name))
    length = bisect_left(lengths, True, key=lambda length: sample.count(part(length)) <= _COMPARED // _STEP)
    if part(length) not in text:
        length -= 1
    found: set[str] = set()
    at = 0 if ending else -1
    while len(found) < 2 * _COMPARED and (at := text.find(part(length), at + 1)) >= 0:
        end = text.index("\n", at if ending else at + 1)
        found.add(text[text.rfind("\n", 0, end) + 1 : end])
    return found


def look_up(name: str, rows: Mapping[str, int], what: str) -> int:
    """Return the row of an id, or raise InputError with the ids that are spelt most like it."""
    if name in rows:
        return rows[name]
    close = close_names(name, rows)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else _example(rows)
    raise InputError(f"unknown {what} {name!r} (there are {len(rows)}){hint}")


def _example(ids: Iterable[str]) -> str:
    return "".join(f"; an id looks like {name!r}" for name in islice(ids, 1))
