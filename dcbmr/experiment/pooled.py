"""The table of an experiment: the rows of its evaluation, or of several, of folds and seeds, pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dcbmr.base.progress import Progress, under
from dcbmr.evaluation.comparison import ComparedRows, compare_evaluations
from dcbmr.evaluation.figures import metric_name
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import for_json
from dcbmr.evaluation.rows import BOUND, MEAN, SURE_OF, THEORY
from dcbmr.experiment.config import ExperimentConfig

_BASELINE = "linear"
_ENDS = ("low", "high", "low_of_users", "high_of_users")


def table_of(
    of_folds: Sequence[Sequence[Evaluation]],
    seconds: Mapping[str, float],
    config: ExperimentConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Return rows, comparisons and words, as :mod:`dcbmr.evaluation.results` has them.

    Parameters
    ----------
    of_folds : sequence of sequence of Evaluation
        Of each fold those of its seeds.
    seconds : mapping of str to float
        How long the models of each row were trained.
    config : ExperimentConfig
    progress : Progress
        Told of the resamples of what is pooled.
    """
    first = of_folds[0][0]
    rows, comparisons, words = first.rows, first.comparisons, first.words
    if len(of_folds) > 1 or len(of_folds[0]) > 1:
        pooled = _compare(of_folds, config, progress)
        rows = _pooled_rows(of_folds, pooled, config)
        comparisons = pooled[SURE_OF[0]].uncertainty.comparisons if pooled else []
        words = pooled[SURE_OF[0]].words if pooled else []
    return {
        "rows": _with_training(rows, config.figure, seconds),
        "comparisons": [for_json(asdict(comparison)) for comparison in comparisons],
        "words": words,
    }


def _compare(
    of_folds: Sequence[Sequence[Evaluation]], config: ExperimentConfig, progress: Progress
) -> dict[str, ComparedRows]:
    """Return the pooled rows by metric, those that compete first; empty where nobody asked for resamples."""
    if not config.evaluation.n_resamples:
        return {}
    evaluations = {
        f"fold {fold + 1}, seed {seed + 1}": evaluation
        for fold, of_seeds in enumerate(of_folds)
        for seed, evaluation in enumerate(of_seeds)
    }
    names = list(of_folds[0][0].reports)
    others = [name for name in names if name in (BOUND, MEAN)]
    found = {}
    for metric in SURE_OF:
        for rows in ([name for name in names if name not in others], others):
            if rows:
                found[f"{metric}{' of others' if rows is others else ''}"] = compare_evaluations(
                    evaluations,
                    metric=metric,
                    rows=rows,
                    pool=True,
                    n_resamples=config.evaluation.n_resamples,
                    random_state=config.random_state,
                    progress=under(progress, f"resample {metric_name(metric, config.evaluation.k)}"),
                )
    return found


def _pooled_rows(
    of_folds: Sequence[Sequence[Evaluation]], pooled: Mapping[str, ComparedRows], config: ExperimentConfig
) -> list[dict[str, Any]]:
    """Return a row for each name: means over the users of all folds, and over the seeds."""
    every = [evaluation for of_seeds in of_folds for evaluation in of_seeds]
    by_name = [{row["model"]: row for row in evaluation.rows} for evaluation in every]
    names = [name for name in by_name[0] if all(name in rows for rows in by_name)]
    rows = []
    for name in names:
        of_name = [rows[name] for rows in by_name]
        row = {field: _mean(field, of_name) for field in of_name[0]}
        row |= {"model": name, "loss": of_name[0]["loss"]}
        row["n_users"] = round(sum(one["n_users"] for one in of_name) / len(of_folds[0]))
        row["n_songs"] = round(np.mean([one["n_songs"] for one in of_name]))
        for metric in SURE_OF:
            called = metric_name(metric, config.evaluation.k)
            row |= dict.fromkeys((f"{called}_{end}" for end in _ENDS), None)
        rows.append(row)
    by_model = {row["model"]: row for row in rows}
    for compared in pooled.values():
        for model, interval in compared.uncertainty.intervals.items():
            ends = {f"{compared.metric}_{end}": getattr(interval, end) for end in _ENDS}
            by_model[model] |= for_json({compared.metric: interval.estimate, **ends})
    luck = by_model[THEORY][config.figure]
    for row in rows:
        row["lift"] = row[config.figure] / luck
    return rows


def _mean(field: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the mean of a figure over the users of several evaluations; None where it is not everywhere."""
    values = [row[field] for row in rows]
    if not all(isinstance(value, int | float) for value in values):
        return None
    return float(np.average(values, weights=[row["n_users"] for row in rows]))


def _with_training(
    rows: Sequence[Mapping[str, Any]], figure: str, seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the rows with the time of training and the lift in units of linear's."""
    by_name = {row["model"]: row[figure] for row in rows}
    luck = by_name[THEORY]
    linear = by_name.get(_BASELINE, luck) - luck
    return [
        {
            **row,
            "seconds": seconds.get(row["model"]),
            "over_linear": (row[figure] - luck) / linear if linear > 0 else None,
        }
        for row in rows
    ]
