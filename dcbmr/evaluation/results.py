"""``results.json``: what an evaluation, an experiment or a demo found, for programs.

    {
      "rows": [                      one a row of the table, in its order; all have the same fields
        {
          "model": str,              its name: a model, or upper-bound, random, random (in theory), a baseline
          "loss": str or null,       the objective of the model; null where there is none to choose
          "map_at_500": number,      mean average precision at k, here 500, over the users
          "auc": number or null,     area under the ROC curve
          "lift": number,            the mAP over that of random scores
          "n_users": int,            users in the means
          "n_songs": int,            candidates
          "seconds": number or null, evaluation; in an experiment, training
          "map_at_500_low", "map_at_500_high", "auc_low", "auc_high": number or null,
                                     95 % interval over users and artists; of shuffled rows, over the shuffles
          "map_at_500_low_of_users", "map_at_500_high_of_users", ...: number or null,
                                     the same over users alone, the songs as they are
          "recall_at_500", "hit_rate_at_500", "ndcg_at_500", "mrr": number or null,
          "coverage_at_10", "gini_at_10", "mean_popularity_at_10": number or null,
                                     where asked for: of the lists of the best 10
          "over_linear": number or null   in an experiment: (mAP - random) / (mAP of linear - random)
        }, ...],
      "comparisons": [               of the mAP of each pair of rows that compete; empty without resamples
        {
          "first": str, "second": str,    the first has the higher figure
          "difference": {"estimate", "standard_error", "df", "low", "high", "low_of_users", "high_of_users"},
          "p": number, "p_holm": number,  of the test, and corrected for the number of tests
          "detectable": number            difference that this data would have shown
        }, ...],
      "words": [str, ...],           what the table means
      "settings": {...}              everything that the table depends on
    }

Beside these an evaluation has ``left_out`` (row -> why -> users), ``without_features`` and ``without_plays``
(songs). An experiment has, of each stage, ``seconds``, ``processor_seconds`` (of all threads) and
``memory_mib`` (the most of the process meanwhile), the largest of these as ``peak_memory_mib``, ``n_words``
and ``validation_map_by_n_words`` (of its first fold, where it has a codebook), ``tuned`` and ``tuned_rows``
(what was chosen, of each fold: settings of the factorization, and by row its parameters). Rows of several
folds and seeds are pooled: a user counts once a fold, and ``n_songs`` is the mean over the folds. More fields
may come; none of these will go. A number that is not there is null.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcbmr.errors import InputError

RESULTS = "results.json"
_ALWAYS: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "n_users": int,
    "n_songs": int,
    "lift": (int, float),
}


@dataclass(frozen=True, eq=False)
class Results:
    """What a ``results.json`` says.

    Attributes
    ----------
    rows : list of dict
        The rows of the table.
    words : list of str
        What it means; empty in files of before.
    settings : dict
    content : dict
        The whole file.
    """

    rows: list[dict[str, Any]]
    words: list[str]
    settings: dict[str, Any]
    content: dict[str, Any]

    def __repr__(self) -> str:
        return f"Results(rows={[row['model'] for row in self.rows]})"


def for_json(value: Any) -> Any:
    """Return a value of dicts and lists with None for numbers that are not finite, which JSON has not."""
    if isinstance(value, dict):
        return {name: for_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_results(path: str | Path) -> Results:
    """Read the ``results.json`` of an evaluation, an experiment or a demo.

    Parameters
    ----------
    path : path
        The file, or the directory that it lies in.

    Raises
    ------
    InputError
        There is none, or it does not follow the schema of :mod:`dcbmr.evaluation.results`.
    """
    file = Path(path)
    file = file / RESULTS if file.is_dir() else file
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; wanted what evaluate -o or demo wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from error
    wrong = _what_is_wrong(content)
    if wrong:
        raise InputError(f"{file} does not hold results: {wrong}")
    return Results(content["rows"], content.get("words", []), content["settings"], content)


def _what_is_wrong(content: Any) -> str:
    """Return what does not follow the schema; "" where all does."""
    if not isinstance(content, dict):
        return f"wanted an object, got {type(content).__name__}"
    if not isinstance(content.get("settings"), dict):
        return "it has no settings"
    words = content.get("words", [])
    if not isinstance(words, list) or not all(isinstance(line, str) for line in words):
        return "its words are no lines"
    rows = content.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return "it has no rows"
    for number, row in enumerate(rows):
        for name, kind in _ALWAYS.items():
            if not isinstance(row.get(name), kind):
                return f"row {number} has {row.get(name)!r} for {name}"
        for name, value in row.items():
            if name.endswith(("_low", "_high")) and not isinstance(value, int | float | None):
                return f"row {number} has {value!r:.80} for {name}"
        if row.keys() != rows[0].keys():
            return f"rows 0 and {number} have different fields"
    if not any(name.startswith("map_at_") for name in rows[0]):
        return "its rows have no mean average precision"
    return ""
