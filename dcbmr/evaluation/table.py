"""Rows as people see them: two metrics, and their intervals in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

FIGURES = ("coverage", "gini", "mean_popularity")
"""Of lists; in rows with their length: "coverage_at_10"."""


def map_column(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what the mean average precision is called in rows, with its cut-off."""
    return next(name for name in rows[0] if name.startswith("map_at_"))


def shown_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of the rows what fits a terminal: mAP and AUC with their intervals, and lift."""
    metric = map_column(rows)
    shown = []
    for row in rows:
        cells = {"model": row["model"]}
        for name, title, form in ((metric, "95 %", "{:.4f}-{:.4f}"), ("auc", "auc, 95 %", "{:.3f}-{:.3f}")):
            cells[name] = row[name]
            if any(of.get(f"{name}_low") is not None for of in rows):
                cells[title] = interval(row[f"{name}_low"], row[f"{name}_high"], form=form)
        shown.append(cells | {"lift": row["lift"]})
    return shown


def shown_groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of the rows of groups what fits a terminal."""
    names = ("model", "group", "n_users", "n_plays", map_column(rows), "auc", "lift")
    return [{name: row[name] for name in names} for row in rows]


def shown_lists(rows: Sequence[Mapping[str, Any]], k: int) -> list[dict[str, Any]]:
    """Return the figures of lists of ``k`` songs, of the rows that have any."""
    names = ["model", *(name for name in rows[0] if name in {f"{figure}_at_{k}" for figure in FIGURES})]
    return [{name: row[name] for name in names} for row in rows if row[names[-1]] is not None]


def who_was_ranked(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many users and songs the figures are of."""
    n_users = sorted({row["n_users"] for row in rows})
    users = f"{n_users[0]:,}" if len(n_users) == 1 else f"{n_users[0]:,} to {n_users[-1]:,}"
    return f"means over {users} users, of rankings of {rows[0]['n_songs']:,} songs"


def interval(low: float | None, high: float | None, *, form: str = "{:.4f} to {:.4f}") -> str | None:
    """Return the ends of an interval in words; None where it has none."""
    return None if low is None or high is None or math.isnan(low) else form.format(low, high)


def shown_comparison(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the rows of a comparison with less in them: intervals over users and artists, p in words."""
    return [
        {
            "model": row["model"],
            metric: row[metric],
            "95 %": interval(row["low"], row["high"]),
            "below best": row["below_best"],
            "below best, 95 %": interval(row["below_best_low"], row["below_best_high"]),
            "p (Holm)": None if row["p_holm"] is None else p_in_words(row["p_holm"]),
        }
        for row in rows
    ]


def p_in_words(p: float) -> str:
    """Return a p-value as it is printed; "" where there is none."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
