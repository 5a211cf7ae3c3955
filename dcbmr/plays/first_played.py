"""When each song was first played, out of logs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.progress import Progress, silent
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.plays.readers import read_into
from dcbmr.plays.sums import Ids
from dcbmr.plays.times import moments_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.plays.columns import Columns
    from dcbmr.plays.sources import Source
    from dcbmr.plays.times import Time


def first_played(
    path: Source,
    *,
    columns: Columns = None,
    since: Time | None = None,
    until: Time | None = None,
    min_seconds: float | None = None,
    progress: Progress = silent,
) -> dict[str, np.datetime64]:
    """Return when each song was first played, to the second, of UTC.

    Parameters
    ----------
    path, columns, since, until, min_seconds, progress
        As of :meth:`dcbmr.PlayCounts.read`; of a log, whose rows have times.

    Raises
    ------
    InputError
        As :meth:`dcbmr.PlayCounts.read`, and where no column is known to hold times.
    """
    firsts = _Firsts()
    read_into(firsts, path, columns, PlayFilter(since, until, min_seconds, timed=True), progress)
    return dict(zip(firsts.songs.ids(), firsts.moments.astype("M8[us]").astype("M8[s]"), strict=True))


def first_days(path: Source, **reading: Any) -> dict[str, date]:
    """Return the day, of UTC, on which each song was first played; see :func:`first_played`."""
    firsts = first_played(path, **reading)
    return {song: moment.astype("M8[D]").item() for song, moment in firsts.items()}


class _Firsts:
    """The earliest moment of each song."""

    def __init__(self) -> None:
        self.songs = Ids()
        self.moments = np.empty(0, np.int64)

    def add(self, block: Mapping[str, Any], _: NDArray[np.float32]) -> None:
        self.songs.add(block["song"])
        codes = self.songs.take()
        new = np.full(len(self.songs) - len(self.moments), np.iinfo(np.int64).max)
        self.moments = np.concatenate([self.moments, new])
        np.minimum.at(self.moments, codes, moments_of(block["time"]).to_numpy())
