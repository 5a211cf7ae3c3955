"""The figures of reports, and how sure they are: from ranks to :class:`PlayFigures` and :func:`bootstrap`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.evaluation.play_figures import PlayFigures, shared_plays
from dcbmr.ranking.metrics import RANK_METRICS
from dcbmr.ranking.report import RankingReport

if TYPE_CHECKING:
    from numpy.typing import NDArray


def metric_name(metric: str, k: int) -> str:
    """Return what a metric of ``RANK_METRICS`` is called with its cut-off: "map_at_500"."""
    return f"{metric.removesuffix('k')}{k}" if metric.endswith("_at_k") else metric


def play_figures(
    reports: Mapping[str, RankingReport],
    metric: str,
    *,
    users: NDArray[np.int64],
    songs: NDArray[np.int64],
    artists: NDArray[np.int64] | None = None,
    notes: Sequence[str] = (),
) -> PlayFigures:
    """Return what each held-out play adds to a metric, for the rows of a table, on the plays that all have.

    Parameters
    ----------
    reports : mapping of str to RankingReport
        By the name of the row.
    metric : str
        Of ``RANK_METRICS``. One that is no sum over plays has one entry a user, and no artists.
    users, songs : ndarray of int64
        A number for each row of users and songs that the reports know.
    artists : ndarray of int64, optional
        The artist of each row of songs.
    notes : sequence of str
        What a reader of the figures should be told.
    """
    tables = []
    for name, report in reports.items():
        if RANK_METRICS[metric].additive:
            song = report.ranks.songs
            tables.append(
                PlayFigures(
                    users[report.users[report.ranks.users]],
                    songs[song],
                    {name: report.of_plays(metric)},
                    None if artists is None else artists[song],
                    notes=tuple(notes),
                )
            )
        else:
            row = {name: report.of_users(metric)}
            one = np.zeros(report.n_users, np.int64)
            tables.append(PlayFigures(users[report.users], one, row, notes=tuple(notes)))
    return shared_plays(tables)
