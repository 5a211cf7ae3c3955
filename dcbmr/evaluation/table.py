"""Rows as people see them: two metrics, and their intervals in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_BEHIND = ("lift", "over_linear", "n_users", "n_songs", "seconds")


def shown_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of an evaluation with less in them: mAP and AUC with their intervals."""
    metric = next(name for name in rows[0] if name.startswith("map_at_"))
    shown = []
    for row in rows:
        cells = {"model": row["model"], "loss": row["loss"]}
        for name in (metric, "auc"):
            cells[name] = row[name]
            if any(of.get(f"{name}_low") is not None for of in rows):
                cells[f"{name}, 95 %"] = interval(row[f"{name}_low"], row[f"{name}_high"])
        shown.append(cells | {name: row[name] for name in _BEHIND if name in row})
    return shown


def interval(low: float | None, high: float | None) -> str | None:
    """Return the ends of an interval in words; None where it has none."""
    return None if low is None or high is None or math.isnan(low) else f"{low:.4f} to {high:.4f}"


def shown_comparison(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the rows of a comparison with less in them: intervals over users and artists, p in words."""
    return [
        {
            "model": row["model"],
            metric: row[metric],
            f"{metric}, 95 %": interval(row["low"], row["high"]),
            "below best": row["below_best"],
            "below best, 95 %": interval(row["below_best_low"], row["below_best_high"]),
            "p (Holm)": None if row["p_holm"] is None else p_in_words(row["p_holm"]),
        }
        for row in rows
    ]


def p_in_words(p: float) -> str:
    """Return a p-value as it is printed; "" where there is none."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
