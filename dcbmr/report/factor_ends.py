"""What factors mean: the artists, tags and songs at the two ends of each (Table 1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcbmr.report.song_map import Label

_SHOWN = 5
_FEWEST_SONGS = 2  # of an artist or a tag; one song says little of it


@dataclass(frozen=True)
class FactorEnds:
    """The two ends of a factor.

    Attributes
    ----------
    factor : int
        From 0.
    positive, negative : dict of str to list of str
        By "songs" and the names of labels: what has the highest and the lowest values, the outermost first;
        of labels by the mean over their songs.
    """

    factor: int
    positive: dict[str, list[str]]
    negative: dict[str, list[str]]


def factor_ends(
    song_factors: NDArray[np.float32], names: Sequence[str], labels: Sequence[Label]
) -> list[FactorEnds]:
    """Return the two ends of each factor.

    Parameters
    ----------
    song_factors : ndarray of shape (n_songs, n_factors)
    names : sequence of str
        What the songs are called.
    labels : sequence of Label
        Of the songs; a value that fewer than two songs have is left out.
    """
    kinds = {"songs": (list(names), np.asarray(song_factors, np.float64))}
    for label in labels:
        rows, places = np.nonzero(label.codes >= 0)
        codes = label.codes[rows, places]
        n = np.bincount(codes, minlength=len(label.values))
        sums = np.zeros((len(label.values), song_factors.shape[1]))
        np.add.at(sums, codes, song_factors[rows])
        kept = np.flatnonzero(n >= _FEWEST_SONGS)
        if len(kept):
            kinds[label.name] = [label.values[value] for value in kept], sums[kept] / n[kept, None]
    ends = (
        [{name: _outermost(of, sign, factor) for name, of in kinds.items()} for sign in (1, -1)]
        for factor in range(song_factors.shape[1])
    )
    return [FactorEnds(factor, positive, negative) for factor, (positive, negative) in enumerate(ends)]


def _outermost(of: tuple[list[str], NDArray[np.float64]], sign: int, factor: int) -> list[str]:
    """Return what lies farthest out on one side of zero."""
    names, means = of
    values = sign * means[:, factor]
    order = np.argsort(-values, kind="stable")[:_SHOWN]
    return [names[row] for row in order.tolist() if values[row] > 0]
