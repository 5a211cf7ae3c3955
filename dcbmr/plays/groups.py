"""Choosing songs by whole groups: all songs of an artist, or none."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def artist_groups(
    song_ids: Sequence[str] | NDArray[np.object_], artists: Mapping[str, str] | None
) -> NDArray[np.int64] | None:
    """Return a number for the artist of each song, None where no artist is known.

    A song without an artist is a group of its own.
    """
    if artists is None or not any(song in artists for song in song_ids):
        return None
    numbers: dict[tuple[str, str], int] = {}
    keys = [("artist", artists[song]) if song in artists else ("song", song) for song in song_ids]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def choose_groups(groups: NDArray[Any], fraction: float, *, random_state: int) -> NDArray[np.bool_]:
    """Choose about ``fraction`` of the songs at random, by whole groups.

    The groups are gone through in a random order, those larger than the wanted share last, and each is
    taken that brings the total nearer to it without passing it by more than half; if that leaves less than
    half of it, the smallest that is left is taken, too, where this is nearer or nothing was taken. For more
    than half of the songs, those that stay are chosen so, from the other end of the order. The choice is
    never empty and never full.

    Parameters
    ----------
    groups : ndarray of shape (n_songs,)
        The group of each song, as numbers or names.
    fraction : float
        Share of the songs wanted, from 0 to below 1.
    random_state : int
        Seed of the order.

    Returns
    -------
    ndarray of shape (n_songs,), bool
        The songs chosen; none for a fraction of 0.

    Raises
    ------
    InputError
        For a fraction out of range, or above 0 with all songs in one group.

    Warns
    -----
    UserWarning
        Where whole groups miss the share by more than half of it, and by a song or more.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1; got {fraction}")
    n_songs = len(groups)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(random_state).permutation(len(sizes))
    wanted = fraction * n_songs
    if not wanted:
        return np.zeros(n_songs, bool)
    if len(sizes) < 2:
        raise InputError(
            f"{n_songs:,} songs cannot be split: one song, or of one artist, whose songs stay together"
        )
    if wanted <= n_songs / 2:
        chosen = np.isin(group, _nearest(sizes, order, wanted))
    else:
        chosen = ~np.isin(group, _nearest(sizes, order[::-1], n_songs - wanted))
    n_chosen = int(chosen.sum())
    if abs(n_chosen - wanted) > max(wanted / 2, 1):
        warnings.warn(
            f"{n_chosen / n_songs:.1%} of {n_songs:,} songs are held out, where {fraction:.1%} were wanted: "
            f"an artist's songs stay together, and of these {len(sizes):,} artists the one with the fewest "
            f"has {sizes.min() / n_songs:.1%} of the songs, the one with most {sizes.max() / n_songs:.1%}",
            stacklevel=3,
        )
    return chosen


def deal_groups(groups: NDArray[Any], n_folds: int, *, random_state: int) -> NDArray[np.int64]:
    """Deal songs to folds of about the same size, at random, by whole groups.

    The groups are shuffled and dealt from the largest to the smallest, each to the fold that has the fewest
    songs.

    Parameters
    ----------
    groups : ndarray of shape (n_songs,)
        The group of each song, as numbers or names.
    n_folds : int
    random_state : int
        Seed of the order of groups of a size.

    Returns
    -------
    ndarray of shape (n_songs,), int64
        The fold of each song, from 0.

    Raises
    ------
    InputError
        For fewer than two folds, or more than there are groups.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= len(sizes):
        raise InputError(
            f"folds must be from 2 to {len(sizes):,}, as many as there are songs, or artists, whose songs "
            f"stay together; got {n_folds}"
        )
    order = np.random.default_rng(random_state).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of, totals = np.zeros(len(sizes), np.int64), np.zeros(n_folds, np.int64)
    for one in order:
        fold_of[one] = totals.argmin()
        totals[fold_of[one]] += sizes[one]
    return fold_of[group]


def _nearest(sizes: NDArray[np.int64], order: NDArray[np.int64], wanted: float) -> list[int]:
    """Return groups whose sizes add up to about ``wanted``, which is at most half of all."""
    large = sizes[order] > wanted
    total, chosen, rest = 0, [], []
    for group in [*order[~large], *order[large]]:
        nearer = abs(total + sizes[group] - wanted) < wanted - total
        if nearer and total + sizes[group] <= 1.5 * wanted:
            total += sizes[group]
            chosen.append(group)
        else:
            rest.append(group)
    if total < wanted / 2:
        smallest = min(rest, key=lambda group: sizes[group])
        if not chosen or total + sizes[smallest] - wanted < wanted - total:
            chosen.append(smallest)
    return chosen
