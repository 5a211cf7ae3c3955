"""What the lists that models, or factors, recommend make of the catalogue, all users taken together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.base.arrays import places, rows_of
from dcbmr.base.progress import Progress, silent, under
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.scoring import plays_between, with_plays
from dcbmr.evaluation.table import FIGURES
from dcbmr.factorization.factors import Factors
from dcbmr.plays.split import Split
from dcbmr.ranking.lists import ListReport, evaluate_lists
from dcbmr.ranking.topk import top_songs

if TYPE_CHECKING:
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack


def with_lists(
    evaluation: Evaluation,
    models: Mapping[str, Model | Stack | Factors],
    split: Split,
    *,
    k: int = 10,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Add to the rows of models what the ``k`` best candidates of each user in the means are like.

    Parameters
    ----------
    evaluation : Evaluation
        Of these models, not one that was loaded: it has their predictions.
    models : mapping of str to Model, Stack or Factors
        By their names in the evaluation. Of factors, songs of a user's training plays are not listed.
    split : Split
        That it was made on.
    k : int
        Length of a list.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of the users of each model.

    Returns
    -------
    Evaluation
        With ``coverage_at_k`` (share of the candidates that are in a list), ``gini_at_k`` (of how often each
        is) and ``mean_popularity_at_k`` (listeners, in the held-out plays, of a listed song) in the rows of
        models, None in other rows; see :func:`dcbmr.evaluate_lists`.
    """
    song_ids, heldout = evaluation.candidates.song_ids, split.heldout
    listeners = np.bincount(
        plays_between(heldout, heldout.user_ids, song_ids).nonzero()[1], minlength=len(song_ids)
    )
    found: dict[str, ListReport] = {}
    for name, model in models.items():
        user_ids = evaluation.user_ids[evaluation.reports[name].users]
        excluded = None
        if isinstance(model, Factors):
            factors, songs = model.user_factors, model.song_factors[rows_of(model.song_ids, song_ids)]
            excluded = plays_between(split.train, user_ids, song_ids)
        else:
            factors, songs = with_plays(model), evaluation.predictions[name]
        users = factors[places(user_ids, {user: i for i, user in enumerate(model.user_ids)})]
        report = under(progress or silent, f"list {name}")
        top = top_songs(users, songs, k=k, excluded=excluded, n_threads=n_threads, progress=report)
        found[name] = evaluate_lists(top, listeners)
    rows = [
        {**row, **{f"{figure}_at_{k}": getattr(found.get(row["model"]), figure, None) for figure in FIGURES}}
        for row in evaluation.rows
    ]
    return replace(evaluation, rows=rows)
