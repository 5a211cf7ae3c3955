"""Evaluations side by side: what they share is compared, with tests; seeds and folds are pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.evaluation.candidates import numbered
from dcbmr.evaluation.figures import BOUNDS, contributions, metric_name, play_figures, share
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.play_figures import PlayFigures, pool_folds
from dcbmr.evaluation.rows import BOUND, MEAN
from dcbmr.evaluation.statistics import Comparison, Uncertainty, bootstrap
from dcbmr.ranking.metrics import RANK_METRICS
from dcbmr.ranking.report import RankingReport


@dataclass(frozen=True, eq=False)
class ComparedRows:
    """What :func:`compare_evaluations` found.

    Attributes
    ----------
    metric : str
        With its cut-off: "map_at_500".
    rows : list of dict
        The best first: model, the metric, ``low`` and ``high`` (95 %, over users and artists),
        ``low_of_users`` and ``high_of_users`` (over users alone), ``below_best`` (the best row less this one,
        None for the best itself), ``below_best_low`` and ``below_best_high``, and ``p_holm`` of that test.
    uncertainty : Uncertainty
        Every interval, and the test of every pair.
    candidates : dict of str to int
        A number for the candidates that each row was ranked among: rows of other ones are not like for like.
    """

    metric: str
    rows: list[dict[str, Any]]
    uncertainty: Uncertainty
    candidates: dict[str, int]

    def __repr__(self) -> str:
        shown = ", ".join(f"{row['model']!r}: {row[self.metric]:.4f}" for row in self.rows)
        return f"ComparedRows({self.metric}={{{shown}}})"

    @property
    def words(self) -> list[str]:
        """Which rows are better than which, which cannot be told apart, and what a reader should know."""
        return self.uncertainty.words(self.candidates).splitlines()

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON: metric, rows, comparisons (every pair) and words."""
        comparisons = [asdict(comparison) for comparison in self.uncertainty.comparisons]
        return {"metric": self.metric, "rows": self.rows, "comparisons": comparisons, "words": self.words}


def compare_evaluations(
    evaluations: Mapping[str, Evaluation],
    *,
    metric: str = "map_at_k",
    k: int | None = None,
    rows: Sequence[str] | None = None,
    pool: bool = False,
    n_resamples: int = 1000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> ComparedRows:
    """Compare the rows of evaluations on the held-out plays that all of them have.

    Parameters
    ----------
    evaluations : mapping of str to Evaluation
        By names that tell rows of the same name apart.
    metric : str
        One of ``RANK_METRICS``: "map_at_k", "auc", ...
    k : int, optional
        Cut-off; that of the evaluations if None.
    rows : sequence of str, optional
        Rows to compare; all but the upper bound and the mean song if None.
    pool : bool
        Take rows of one name in several evaluations for one row: of models trained with several seeds, where
        the same songs are scored, and of the folds of one experiment, where others are. Else each
        evaluation's rows stand for themselves.
    n_resamples : int
        Of users and artists.
    random_state : int
        Their seed.
    progress : Progress, optional
        Told of the resamples.

    Returns
    -------
    ComparedRows

    Raises
    ------
    InputError
        No play is shared; an unknown metric or row; evaluations of different cut-offs, and no ``k``.
    """
    if not evaluations:
        raise InputError("there is no evaluation to compare")
    if metric not in RANK_METRICS:
        raise InputError(f"unknown metric {metric!r}; there are {', '.join(RANK_METRICS)}")
    depth = _cut_off(evaluations, k)
    chosen = _chosen(evaluations, rows, depth)
    numbers = _Numbers(evaluations)
    pooled = pool and len(evaluations) > 1
    put_together = _pooled if pooled else _side_by_side
    uncertainty = bootstrap(
        put_together(evaluations, chosen, metric, numbers),
        n_resamples=n_resamples,
        bounds=BOUNDS,
        random_state=random_state,
        progress=progress,
    )
    name = metric_name(metric, depth)
    among = {} if pooled else _candidates(evaluations, chosen)
    return ComparedRows(name, _rows(uncertainty, name), uncertainty, among)


def _cut_off(evaluations: Mapping[str, Evaluation], k: int | None) -> int:
    found = {name: int(evaluation.settings["k"]) for name, evaluation in evaluations.items()}
    if k is None and len(set(found.values())) > 1:
        shown = ", ".join(f"{name}: {depth}" for name, depth in found.items())
        raise InputError(f"the evaluations have different cut-offs ({shown}): say which k to compare at")
    return next(iter(found.values())) if k is None else k


def _chosen(
    evaluations: Mapping[str, Evaluation], rows: Sequence[str] | None, k: int
) -> dict[str, dict[str, RankingReport]]:
    """Return the reports to compare of each evaluation, at the cut-off ``k``."""
    there = dict.fromkeys(row for evaluation in evaluations.values() for row in evaluation.reports)
    for row in rows or ():
        if row not in there:
            raise InputError(f"no evaluation ranks a row {row!r}; there are {', '.join(there)}")
    wanted = rows or [row for row in there if row not in (BOUND, MEAN)]
    return {
        name: {row: replace(evaluation.reports[row], k=k) for row in wanted if row in evaluation.reports}
        for name, evaluation in evaluations.items()
    }


class _Numbers:
    """One number for each user, song and artist of all evaluations."""

    def __init__(self, evaluations: Mapping[str, Evaluation]) -> None:
        users: dict[str, int] = {}
        songs: dict[str, int] = {}
        artists: dict[str, int] = {}
        self.users, self.songs, self.artists = {}, {}, {}
        for name, of in evaluations.items():
            self.users[name] = numbered(of.user_ids, users)
            self.songs[name] = numbered(of.candidates.song_ids, songs)
            self.artists[name] = None if of.artists is None else numbered(of.artists, artists)

    def figures(
        self, name: str, reports: Mapping[str, RankingReport], metric: str, notes: Sequence[str] = ()
    ) -> PlayFigures:
        """Return the figures of rows of the evaluation ``name``."""
        return play_figures(
            reports,
            metric,
            users=self.users[name],
            songs=self.songs[name],
            artists=self.artists[name],
            notes=notes,
        )


def _side_by_side(
    evaluations: Mapping[str, Evaluation],
    chosen: Mapping[str, Mapping[str, RankingReport]],
    metric: str,
    numbers: _Numbers,
) -> PlayFigures:
    """Put the rows of all evaluations beside each other; one name in several is told apart by theirs."""
    notes = _notes(evaluations)
    tables = [
        numbers.figures(name, reports, metric, notes) for name, reports in _called(chosen).items() if reports
    ]
    return contributions(share(tables, metric), metric)


def _called(chosen: Mapping[str, Mapping[str, RankingReport]]) -> dict[str, dict[str, RankingReport]]:
    """Return the reports of each evaluation by the names of their rows, which are different ones."""
    every = [row for reports in chosen.values() for row in reports]
    return {
        name: {(f"{name}: {row}" if every.count(row) > 1 else row): of for row, of in reports.items()}
        for name, reports in chosen.items()
    }


def _candidates(
    evaluations: Mapping[str, Evaluation], chosen: Mapping[str, Mapping[str, RankingReport]]
) -> dict[str, int]:
    """Return a number for the candidates of each row, the same for the same ones."""
    numbers: dict[frozenset[str], int] = {}
    of = {
        name: numbers.setdefault(frozenset(evaluation.candidates.song_ids), len(numbers))
        for name, evaluation in evaluations.items()
    }
    return {row: of[name] for name, reports in _called(chosen).items() for row in reports}


def _notes(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Say in what the evaluations differ, beside their plays."""
    found = []
    for what, sets in (
        ("candidates", [set(evaluation.candidates.song_ids) for evaluation in evaluations.values()]),
        ("users with held-out songs", [set(evaluation.user_ids) for evaluation in evaluations.values()]),
    ):
        if any(one != sets[0] for one in sets):
            counts = " and ".join(f"{len(one):,}" for one in sets)
            found.append(f"of {counts} {what} {len(set.intersection(*sets)):,} are shared")
            if what == "candidates":
                found[-1] += ": each rank is among the candidates of its own evaluation"
                if len(set(map(len, sets))) > 1:
                    found[-1] += ", and the fewer there are, the higher are mAP and the like"
    return found


def _pooled(
    evaluations: Mapping[str, Evaluation],
    chosen: Mapping[str, Mapping[str, RankingReport]],
    metric: str,
    numbers: _Numbers,
) -> PlayFigures:
    """Make one row of those of one name: of seeds where the candidates are the same, else of folds."""
    in_all = [
        row for row in next(iter(chosen.values())) if all(row in reports for reports in chosen.values())
    ]
    if not in_all:
        shown = "; ".join(f"{name}: {', '.join(reports)}" for name, reports in chosen.items())
        raise InputError(f"no row is in all evaluations, so there is nothing to pool: {shown}")
    folds: dict[frozenset[str], list[str]] = {}
    for name, evaluation in evaluations.items():
        folds.setdefault(frozenset(evaluation.candidates.song_ids), []).append(name)
    figures = {}
    for seeds in folds.values():
        # Each seed's rows under numbers, so that plays are brought together; then one row of all seeds.
        tables = [
            numbers.figures(name, {f"{i} {row}": chosen[name][row] for row in in_all}, metric)
            for i, name in enumerate(seeds)
        ]
        shared = contributions(share(tables, metric), metric)
        rows = {row: np.stack([shared.rows[f"{i} {row}"] for i in range(len(seeds))]) for row in in_all}
        figures[seeds[0]] = replace(shared, rows=rows)
    pooled = pool_folds(figures)
    left = dict.fromkeys(row for reports in chosen.values() for row in reports if row not in in_all)
    n_seeds = max(map(len, folds.values()))
    notes = [
        f"pooled: {len(folds)} {'fold' if len(folds) == 1 else 'folds'}, {n_seeds} "
        f"{'seed' if n_seeds == 1 else 'seeds'} of each row"
    ]
    if left:
        notes.append(f"left out, since not in all evaluations: {', '.join(left)}")
    return replace(pooled, notes=(*pooled.notes, *notes))


def _rows(uncertainty: Uncertainty, metric: str) -> list[dict[str, Any]]:
    intervals = uncertainty.intervals
    order = sorted(intervals, key=lambda name: -intervals[name].estimate)
    of_pair: dict[str, Comparison] = {
        pair.second: pair for pair in uncertainty.comparisons if pair.first == order[0]
    }
    rows = []
    for name in order:
        interval, pair = intervals[name], of_pair.get(name)
        rows.append(
            {
                "model": name,
                metric: interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "low_of_users": interval.low_of_users,
                "high_of_users": interval.high_of_users,
                "below_best": pair and pair.difference.estimate,
                "below_best_low": pair and pair.difference.low,
                "below_best_high": pair and pair.difference.high,
                "p_holm": pair and pair.p_holm,
            }
        )
    return rows
