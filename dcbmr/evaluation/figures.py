"""The figures of reports, and how sure they are: from ranks to :class:`PlayFigures` and :func:`bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.evaluation.play_figures import PlayFigures, contributions_of_best, shared_plays
from dcbmr.ranking.report import RankingReport

if TYPE_CHECKING:
    from numpy.typing import NDArray


BOUNDS = (0.0, 1.0)
"""Of every metric of ranks."""


def metric_name(metric: str, k: int) -> str:
    """Return what a metric of ``RANK_METRICS`` is called with its cut-off: "map_at_500"."""
    return f"{metric.removesuffix('k')}{k}" if metric.endswith("_at_k") else metric


# What a play alone would give its user, for metrics that are the figure of the user's best song.
_OF_BEST: dict[str, Callable[[NDArray[np.int64], int], NDArray[Any]]] = {
    "hit_rate_at_k": lambda rank, k: rank <= k,
    "mrr": lambda rank, k: 1 / rank,
}


def play_figures(
    reports: Mapping[str, RankingReport],
    metric: str,
    *,
    users: NDArray[np.int64],
    songs: NDArray[np.int64],
    artists: NDArray[np.int64] | None = None,
    notes: Sequence[str] = (),
) -> PlayFigures:
    """Return what each held-out play is for a metric, in the rows of a table, on the plays that all have.

    Parameters
    ----------
    reports : mapping of str to RankingReport
        By the name of the row.
    metric : str
        Of ``RANK_METRICS``.
    users, songs : ndarray of int64
        A number for each row of users and songs that the reports know.
    artists : ndarray of int64, optional
        The artist of each row of songs.
    notes : sequence of str
        What a reader of the figures should be told.
    """
    tables = []
    for name, report in reports.items():
        ranks = report.ranks
        of_best = _OF_BEST.get(metric)
        values = report.of_plays(metric) if of_best is None else of_best(ranks.ranks, report.k)
        tables.append(
            PlayFigures(
                users[report.users[ranks.users]],
                songs[ranks.songs],
                {name: values},
                None if artists is None else artists[ranks.songs],
                notes=tuple(notes),
            )
        )
    return share(tables, metric)


def share(tables: Sequence[PlayFigures], metric: str) -> PlayFigures:
    """Put what :func:`play_figures` returned side by side, on the plays that all have."""
    return shared_plays(tables, sums=metric not in _OF_BEST)


def contributions(figures: PlayFigures, metric: str) -> PlayFigures:
    """Return what each play adds to the figure of its user, where all plays of a user are together."""
    if metric not in _OF_BEST:
        return figures
    artists = figures.songs if figures.artists is None else figures.artists
    parted = {row: contributions_of_best(v, figures.users, artists) for row, v in figures.rows.items()}
    return replace(figures, rows=parted)
