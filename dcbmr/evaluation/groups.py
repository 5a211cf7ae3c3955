"""For whom, and for which songs, the rows of an evaluation are good."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from dcbmr.base.arrays import places
from dcbmr.errors import InputError
from dcbmr.evaluation.figures import metric_name
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import for_json
from dcbmr.evaluation.scoring import plays_between
from dcbmr.plays.split import Split
from dcbmr.ranking.chance import random_row
from dcbmr.ranking.groups import by_activity, by_artist, by_popularity, have_known_artist
from dcbmr.ranking.report import RankingReport

By: TypeAlias = Literal["popularity", "activity", "artist"]


def rows_by_group(evaluation: Evaluation, split: Split, by: By) -> list[dict[str, Any]]:
    """Return the rows of an evaluation for each group of held-out plays.

    Parameters
    ----------
    evaluation : Evaluation
    split : Split
        That it was made on.
    by : {"popularity", "activity", "artist"}
        Deciles of the songs by their listeners in the held-out plays, 1 the least popular; deciles of the
        users by the songs that they played in training, 1 the least active; songs of artists in training and
        songs of new artists. A group is ranked as if its users held out nothing else:
        :mod:`dcbmr.ranking.groups`.

    Returns
    -------
    list of dict
        model, group, n_users, n_plays, every metric of ranks (None where it has none), and lift, over random
        scores in this group.

    Raises
    ------
    InputError
        By artist, where no artist is known.
    """
    song_ids, heldout, train = evaluation.candidates.song_ids, split.heldout, split.train

    def grouped(report: RankingReport) -> dict[Any, RankingReport]:
        if by == "popularity":
            plays = plays_between(heldout, heldout.user_ids, song_ids)
            return by_popularity(report, np.bincount(plays.nonzero()[1], minlength=len(song_ids)))
        if by == "activity":
            row = places(heldout.user_ids, {user: i for i, user in enumerate(train.user_ids)})
            return by_activity(report, np.where(row < 0, 0, np.diff(train.counts.indptr)[row]))
        return by_artist(report, have_known_artist(song_ids, split.artists or {}, train.song_ids))

    check_groups(split, by)
    rows = []
    for name, report in evaluation.reports.items():
        for group, of_group in grouped(report).items():
            means = of_group.means()
            row = {
                "model": name,
                "group": group,
                "n_users": of_group.n_users,
                "n_plays": len(of_group.ranks.songs),
                **{metric_name(metric, of_group.k): mean for metric, mean in means.items()},
                "lift": means["map_at_k"] / random_row(of_group).expected["map_at_k"],
            }
            rows.append(for_json(row))
    return rows


def check_groups(split: Split, by: By) -> None:
    """Raise InputError where plays cannot be grouped so."""
    if by == "artist" and split.artists is None:
        raise InputError("artists are not known: split with --songs SONGS to see new ones apart")
