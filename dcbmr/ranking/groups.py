"""For whom and for which songs a ranking is good: a report of each group of held-out plays.

The report of a group is what :func:`dcbmr.evaluate_ranking` would find if users held out the songs of the
group alone, and their other held-out songs were no candidates: every metric keeps its meaning and its range.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr.errors import InputError
from dcbmr.ranking.report import RankingReport


def by_popularity(report: RankingReport, popularity: ArrayLike) -> dict[int, RankingReport]:
    """Return the report of each decile of song popularity, 1 for the songs with the fewest listeners.

    Parameters
    ----------
    report : RankingReport
    popularity : array_like of shape (n_songs,)
        Listeners of each candidate. Deciles are those of the songs that have a held-out play.
    """
    songs = report.ranks.songs
    listeners = np.asarray(popularity)
    _check(listeners, report.n_songs, "popularity", "song")
    played, of_plays = np.unique(songs, return_inverse=True)
    return _by_group(report, deciles(listeners[played])[of_plays])


def by_activity(report: RankingReport, activity: ArrayLike) -> dict[int, RankingReport]:
    """Return the report of each decile of user activity, 1 for the users with the fewest plays.

    Parameters
    ----------
    report : RankingReport
    activity : array_like of shape (n_rows,)
        Songs that each user played in training, a number for each row of the factors that were ranked.
        Deciles are those of the users of the report.
    """
    plays = np.asarray(activity)
    _check(plays, None, "activity", "user")
    if len(plays) <= report.users.max():
        raise InputError(f"activity has {len(plays)} numbers, but the report has user {report.users.max()}")
    return _by_group(report, deciles(plays[report.users])[report.ranks.users])


def by_artist(report: RankingReport, has_known_artist: ArrayLike) -> dict[str, RankingReport]:
    """Return the reports of "known artist", new songs of artists in training, and of "new artist".

    Parameters
    ----------
    report : RankingReport
    has_known_artist : array_like of shape (n_songs,), bool
        For each candidate; see :func:`have_known_artist`.
    """
    known = np.asarray(has_known_artist, bool)
    _check(known, report.n_songs, "has_known_artist", "song")
    return _by_group(report, np.where(known, "known artist", "new artist")[report.ranks.songs])


def have_known_artist(
    song_ids: Sequence[str], artists: Mapping[str, str], training_songs: Iterable[str]
) -> NDArray[np.bool_]:
    """Return which songs, (n_songs,), are of an artist of whom a song is in training.

    A song without an artist is an artist of its own, who is new.
    """
    known = {artists[song] for song in training_songs if song in artists}
    return np.array([song in artists and artists[song] in known for song in song_ids], bool)


def deciles(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the tenth, from 1 to 10, that each value is in: one more than the tenths that lie below it.

    Equal values stay together, in the lowest decile that one of them is in, so that deciles can be empty: of
    songs that mostly have one listener, those are all in the first.
    """
    below = np.searchsorted(np.sort(values), values, side="left")
    return 1 + 10 * below // len(values)


def _by_group(report: RankingReport, of_plays: NDArray[Any]) -> dict[Any, RankingReport]:
    groups: list[Hashable] = np.unique(of_plays).tolist()
    return {group: report.only(of_plays == group) for group in groups}


def _check(values: NDArray[Any], n: int | None, name: str, what: str) -> None:
    if values.ndim != 1 or (n is not None and len(values) != n):
        wanted = "one dimension" if n is None else f"shape ({n},)"
        raise InputError(f"{name} has shape {values.shape}; wanted {wanted}, a number for each {what}")
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite numbers")
