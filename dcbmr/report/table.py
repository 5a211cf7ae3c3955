"""The table of results as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcbmr.evaluation.rows import BOUND, DRAWN, THEORY
from dcbmr.evaluation.table import interval


def shown_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the rows from the lowest mAP to the highest, each with its length of bar in percent.

    None where there are no rows.
    """
    if not rows:
        return None
    figure = next(name for name in rows[0] if name.startswith("map_at_"))
    highest = max(row[figure] for row in rows) or 1
    return {
        "figure": f"mAP@{figure.removeprefix('map_at_')}",
        "n_users": rows[0]["n_users"],
        "n_songs": rows[0]["n_songs"],
        "rows": [
            {
                "model": row["model"],
                "loss": row.get("loss") or "",
                "map": f"{row[figure]:.4f}",
                "map_interval": interval(row.get(f"{figure}_low"), row.get(f"{figure}_high")) or "",
                "percent": 100 * row[figure] / highest,
                "lift": f"{row['lift']:.1f}",
                "over_linear": _or_nothing(row.get("over_linear"), "{:.2f}"),
                "auc": _or_nothing(row.get("auc"), "{:.3f}"),
                "auc_interval": interval(row.get("auc_low"), row.get("auc_high"), form="{:.3f} to {:.3f}")
                or "",
                "seconds": _or_nothing(row.get("seconds"), "{:,.0f} s"),
                "is_reference": row["model"] in (BOUND, DRAWN, THEORY),
            }
            for row in sorted(rows, key=lambda row: row[figure])
        ],
    }


def shown_groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the lift over random scores of each model in each group, groups side by side."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    lifts = {(row["model"], row["group"]): row["lift"] for row in rows}
    models = dict.fromkeys(row["model"] for row in rows)
    return {
        "groups": groups,
        "rows": [
            (model, [_or_nothing(lifts.get((model, group)), "{:.1f}") for group in groups])
            for model in models
        ],
    }


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
