"""What the paper printed, beside tables that were made as its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Tables 2 and 3 of van den Oord, Dieleman and Schrauwen (NIPS 2013), by the number of songs held out: row,
# mAP@500, AUC.
_TABLES = {
    1881: (
        ("MLR", 0.01801, 0.60608),
        ("linear regression", 0.02389, 0.63518),
        ("MLP", 0.02536, 0.64611),
        ("CNN with MSE", 0.05016, 0.70987),
        ("CNN with WPE", 0.04323, 0.70101),
    ),
    46728: (
        ("random", 0.00015, 0.49935),
        ("linear regression", 0.00101, 0.64522),
        ("CNN with MSE", 0.00672, 0.77192),
        ("upper bound", 0.23278, 0.96070),
    ),
}


def rows_of_paper(rows: Sequence[Mapping[str, Any]]) -> Sequence[tuple[str, float, float]]:
    """Return the paper's rows for a table of its cut-off and its number of songs held out; else none."""
    if not rows or "map_at_500" not in rows[0]:
        return ()
    return _TABLES.get(rows[0]["n_songs"], ())
