"""Metrics out of lists: what the best songs of all users, taken together, make of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr.errors import InputError
from dcbmr.ranking.topk import TopSongs


@dataclass(frozen=True, eq=False)
class ListReport:
    """What the lists of all users show of the songs.

    Attributes
    ----------
    k : int
        Songs in a list, at most.
    n_users : int
        Users with a list; one who has no song to choose from has none.
    n_songs : int
        Songs of the catalogue: those that are in a list and those that could have been.
    coverage : float
        Share of the catalogue that is in a list.
    gini : float
        Gini coefficient of the songs' exposure.
    mean_popularity : float
        Listeners of a recommended song.
    exposure : ndarray of shape (n_songs,), int64
        Lists that each song is in.
    """

    k: int
    n_users: int
    n_songs: int
    coverage: float
    gini: float
    mean_popularity: float
    exposure: NDArray[np.int64] = field(repr=False)


def evaluate_lists(top: TopSongs, popularity: ArrayLike) -> ListReport:
    """Measure the lists of :func:`dcbmr.top_songs`, or those that :func:`dcbmr.evaluate_ranking` made.

    Parameters
    ----------
    top : TopSongs
        The best songs of each user. Leave users without training plays out: their songs all score zero.
    popularity : array_like of shape (n_songs,)
        Listeners of each song of the catalogue.

    Returns
    -------
    ListReport

    Raises
    ------
    InputError
        Popularity that is not a number for each song; lists that are all empty.
    """
    listeners = np.asarray(popularity, np.float64)
    there = top.songs >= 0
    n_listed = there.sum(axis=1)
    if listeners.ndim != 1 or not np.isfinite(listeners).all() or top.songs.max(initial=-1) >= len(listeners):
        raise InputError(
            f"popularity must be a finite number for each of the songs; its shape is {listeners.shape}, and "
            f"song {top.songs.max(initial=-1)} is recommended"
        )
    if not n_listed.any():
        raise InputError("no user has a list: there is no song to choose from")
    listed = top.songs[there]
    exposure = np.bincount(listed, minlength=len(listeners))
    return ListReport(
        k=top.songs.shape[1],
        n_users=int(np.count_nonzero(n_listed)),
        n_songs=len(listeners),
        coverage=coverage(exposure),
        gini=gini(exposure),
        mean_popularity=mean_popularity(listeners[listed], n_listed[n_listed > 0]),
        exposure=exposure,
    )


def coverage(exposure: NDArray[np.int64]) -> float:
    """Share of the songs that are recommended to anybody: ``count(e_i > 0) / N``.

    Herlocker et al., "Evaluating collaborative filtering recommender systems" (ACM TOIS 22(1), 2004), and Ge,
    Delgado-Battenfeld and Jannach, "Beyond accuracy" (RecSys 2010), who call it catalogue coverage.
    """
    return float(np.count_nonzero(exposure) / len(exposure))


def gini(exposure: NDArray[np.int64]) -> float:
    """Gini coefficient: ``sum((2 i - N - 1) e_i) / (N sum(e_i))`` for exposures ``e_1 <= ... <= e_N``.

    0 where all songs are in as many lists, ``1 - 1 / N`` where all lists hold one and the same song alone.
    Gini, "Variabilità e mutabilità" (1912); of recommendations, Fleder and Hosanagar (Management Science
    55(5), 2009). Songs that are in no list count.
    """
    n = len(exposure)
    weights = 2.0 * np.arange(1, n + 1) - n - 1
    return float(weights @ np.sort(exposure) / (n * exposure.sum()))


def mean_popularity(listeners: NDArray[np.float64], n_listed: NDArray[np.int64]) -> float:
    """Mean over users of the mean number of listeners of the songs in the user's list.

    "Average recommendation popularity" of Abdollahpouri, Burke and Mobasher, "Managing popularity bias in
    recommender systems with personalized re-ranking" (FLAIRS 2019).

    Parameters
    ----------
    listeners : ndarray of shape (n_recommended,), float64
        Of the songs of the first user's list, then of the next's.
    n_listed : ndarray of shape (n_users,), int64
        Songs in each list, at least one.
    """
    start = np.cumsum(n_listed) - n_listed
    return float((np.add.reduceat(listeners, start) / n_listed).mean())
