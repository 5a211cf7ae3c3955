"""Which rows of a log count as plays: by when, and for how long, the song was played."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.errors import InputError
from dcbmr.plays.times import BadTime, Time, given_moment, in_words, moments_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MILLISECONDS = re.compile(r"(^|[\W_])ms([\W_A-Z]|$)|(?<=[a-z])Ms$|(?i:milli)|^(?i:msplayed|playedms)$")


@dataclass
class PlayFilter:
    """What a row must be to count, and how many were left out for which reason.

    Parameters
    ----------
    since, until : time, optional
        From, and before, when; see :func:`dcbmr.plays.times.as_moment`.
    min_seconds : float, optional
        For how long, at least.
    timed : bool
        A row without a time does not count.
    """

    since: Time | None = None
    until: Time | None = None
    min_seconds: float | None = None
    timed: bool = False
    left_out: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._since = None if self.since is None else given_moment("since", self.since)
        self._until = None if self.until is None else given_moment("until", self.until)
        if self._since is not None and self._until is not None and self._since >= self._until:
            raise InputError(f"since {self.since} is not before until {self.until}")
        if self.min_seconds is not None and not 0 <= self.min_seconds < np.inf:
            raise InputError(f"min_seconds must be a number of seconds from 0 up; got {self.min_seconds}")
        self._seen: tuple[int, int] | None = None  # the earliest and the latest time

    @property
    def roles(self) -> list[str]:
        """The columns that are looked at, beside user, song and count."""
        by_time = self.timed or self._since is not None or self._until is not None
        return ["time"] * by_time + ["seconds"] * (self.min_seconds is not None)

    def keep(self, block: Mapping[str, Any], names: Mapping[str, str]) -> NDArray[np.bool_]:
        """Return which rows of a block count, and take note of the others.

        Parameters
        ----------
        block : mapping of role to array of Arrow
        names : mapping of role to str
            What its columns are called: one of milliseconds says so.

        Raises
        ------
        ValueError
            A time, or a number of seconds, is none.
        """
        keep = np.ones(len(block["user"]), bool)
        if "time" in self.roles:
            moments = moments_of(block["time"])
            missing = moments.is_null().to_numpy(zero_copy_only=False)
            values = moments.fill_null(0).to_numpy()
            self._leave_out(keep, missing, "without a time")
            if (there := values[~missing]).size:
                first, last = self._seen or (there[0], there[0])
                self._seen = min(first, int(there.min())), max(last, int(there.max()))
            if self._since is not None:
                self._leave_out(keep, values < self._since, f"before {in_words(self._since)}")
            if self._until is not None:
                self._leave_out(keep, values >= self._until, f"from {in_words(self._until)} on")
        if self.min_seconds is not None:
            seconds = seconds_of(block["seconds"], names["seconds"])
            self._leave_out(keep, np.isnan(seconds), "without seconds played")
            self._leave_out(keep, seconds < self.min_seconds, f"shorter than {self.min_seconds:g} s")
        return keep

    def _leave_out(self, keep: NDArray[np.bool_], wrong: NDArray[np.bool_], why: str) -> None:
        if n_wrong := int(np.count_nonzero(keep & wrong)):
            self.left_out[why] = self.left_out.get(why, 0) + n_wrong
            keep &= ~wrong

    def join(self, other: PlayFilter) -> None:
        """Take note of what the same filter has left out of other rows."""
        for why, n in other.left_out.items():
            self.left_out[why] = self.left_out.get(why, 0) + n
        if other._seen is not None:
            first, last = self._seen or other._seen
            self._seen = min(first, other._seen[0]), max(last, other._seen[1])

    def why_none(self) -> str:
        """Return why no rows may be left."""
        reasons = [f"{n:,} {why}" for why, n in self.left_out.items()]
        if self._seen is not None:
            reasons.append("times are from {} to {}".format(*map(in_words, self._seen)))
        return ", ".join(reasons)


def seconds_of(array: Any, name: str) -> NDArray[np.float64]:
    """Return seconds, NaN where nothing stands; ``name`` of the column says where it holds milliseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if types.is_string(array.type) or types.is_large_string(array.type):
        array = pc.if_else(pc.equal(pc.utf8_trim_whitespace(array), ""), pa.scalar(None, array.type), array)
    values: NDArray[np.float64] = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if (values < 0).any():
        raise BadTime(f"the seconds {values[values < 0][0]} are negative")
    return values / 1000 if _MILLISECONDS.search(name) else values
