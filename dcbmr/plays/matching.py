"""Do the songs of two tables have the same ids, and if not, why."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

_SAMPLE = 2000  # ids without a partner that are looked at,
_MOST = 200_000  # and those among which partners of another spelling are looked for
_LONGEST = 64  # letters of a beginning, or an ending, that all may have
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}$")


@dataclass(frozen=True)
class IdMatch:
    """Which of the songs that are wanted are there.

    Attributes
    ----------
    n_wanted, n_matched : int
        How many are wanted, and how many of these are there.
    missing : tuple of str
        The first that are not.
    n_extra : int
        How many are there that nobody wants.
    cause : str
        Why they probably differ, with an example; empty where nothing speaks for a mistake.
    """

    n_wanted: int
    n_matched: int
    missing: tuple[str, ...]
    n_extra: int
    cause: str

    def words(self, wanted: str, here: str) -> str:
        """Say it in a line: ``wanted`` are "songs with plays", for example, and ``here`` "vectors"."""
        said = f"{self.n_matched:,} of {self.n_wanted:,} {wanted} have {here}"
        if self.missing:
            more = ", ..." if self.n_wanted - self.n_matched > len(self.missing) else ""
            said += f" (not {', '.join(map(repr, self.missing))}{more})"
        if self.n_extra:
            said += f", {self.n_extra:,} {here} are of other songs"
        return f"{said}; likely cause: {self.cause}" if self.cause else said


def match_ids(ids: Collection[str], wanted: Collection[str]) -> IdMatch:
    """Compare the ``ids`` that are there with those that are ``wanted``, each without repetitions."""
    have, ask = set(ids), set(wanted)
    n_matched = len(have & ask)
    missing = [song for song in wanted if song not in have]
    extra = [song for song in ids if song not in ask]
    return IdMatch(
        n_wanted=len(ask),
        n_matched=n_matched,
        missing=tuple(missing[:3]),
        n_extra=len(extra),
        cause=_cause(extra, missing),
    )


def _cause(extra: Sequence[str], missing: Sequence[str]) -> str:
    """Return the change of spelling that would bring most of them together, if it brings many."""
    best, n_best = "", 0
    swapped = ((what, [pair[::-1] for pair in pairs]) for what, pairs in _cut(missing, extra))
    for what, pairs in chain(_spelt_alike(extra, missing), _cut(extra, missing), swapped):
        # Of equals the first: the simplest come first.
        if len(pairs) > n_best:
            n_best = len(pairs)
            best = f"{what} ({pairs[0][0]!r} here, {pairs[0][1]!r} there)"
    return best if n_best * 10 >= min(len(extra), len(missing), _SAMPLE) else ""


Pairs = list[tuple[str, str]]
Spelling = Callable[[str], str]


def _spelt_alike(extra: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, Pairs]]:
    """Yield what may differ, and the pairs that are one without it."""
    for what, cut, letters in _SPELLINGS:
        there = {form: song for song in missing[:_MOST] for form in _forms(song, cut, letters)}
        partners = (
            (song, next((there[form] for form in _forms(song, cut, letters) if form in there), None))
            for song in extra[:_SAMPLE]
        )
        yield what, [(song, partner) for song, partner in partners if partner is not None]


def _forms(song: str, cut: Spelling, letters: Spelling) -> tuple[str, str]:
    """Return an id cut and whole: in "a.b" and "a.b.mp3" only one has something to be cut off."""
    return letters(cut(song)), letters(song)


def _cut(longer: Sequence[str], shorter: Sequence[str]) -> Iterator[tuple[str, Pairs]]:
    """Yield the beginnings and endings that all of the longer have, and the pairs that are one without it."""
    sample, there = longer[:_SAMPLE], set(shorter)
    for length in range(1, _n_shared(sample) + 1):
        if not sample[0][:length].isdigit():  # "12" is no "2" with something before it
            pairs = [(song, song[length:]) for song in sample if song[length:] in there]
            yield f"a prefix, {sample[0][:length]!r}", pairs
    for length in range(1, _n_shared([song[::-1] for song in sample]) + 1):
        if not sample[0][-length:].isdigit():
            pairs = [(song, song[:-length]) for song in sample if song[:-length] in there]
            yield f"an ending, {sample[0][-length:]!r}", pairs


def _n_shared(songs: Sequence[str]) -> int:
    """Return how many letters all begin with."""
    if not songs:
        return 0
    first, last = min(songs), max(songs)
    return next(
        (n for n in range(_LONGEST) if first[n : n + 1] != last[n : n + 1] or n == len(first)), _LONGEST
    )


def _stem(song: str) -> str:
    return _ENDING.sub("", song)


def _name(song: str) -> str:
    return re.split(r"[/\\]", song)[-1]


# What may differ, what it takes off an id, and how the letters of both ids are then compared.
_SPELLINGS: Sequence[tuple[str, Spelling, Spelling]] = (
    ("spaces around the ids", str.strip, str),
    ("upper and lower case", str, str.casefold),
    ("a file ending", _stem, str),
    ("a folder", _name, str),
    ("a folder and a file ending", lambda song: _stem(_name(song)), str),
    ("a prefix", lambda song: re.split(r"[:/|]", song)[-1], str),
    ("punctuation", lambda song: re.sub(r"[\W_]+", "", song), str),
    ("leading zeros", lambda song: song.lstrip("0"), str),
    ("a file ending, and upper and lower case", _stem, str.casefold),
    ("folder, file ending and case", lambda song: _stem(_name(song.strip())), str.casefold),
)
