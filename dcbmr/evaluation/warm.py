"""Evaluate factors on held-out plays of songs that they know, beside popularity and chance."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.base.arrays import places
from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.evaluation.candidates import ScoredSongs
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.rows import OTHER_ROWS, Table
from dcbmr.evaluation.scoring import plays_between
from dcbmr.factorization.factors import Factors
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine

POPULARITY = "popularity"


def evaluate_factors(
    factors: Mapping[str, Factors],
    split: Split,
    *,
    k: int = 500,
    n_resamples: int = 1000,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate factors on single plays that were held out of them: how well they know the users.

    The candidates of a user are the songs of the training plays but those that the user has played in
    training. Beside the factors stand the listeners of a song as everybody's score, and chance.

    Parameters
    ----------
    factors : mapping of str to Factors
        Fitted on the training plays of the split, by the names that they shall have in the table.
    split : Split
        Held-out plays of songs that training plays have, too: ``split_plays(plays, by="play")``.
    k : int
        Cut-off of the metrics that have one.
    n_resamples : int
        Of users and artists, for the intervals and the tests between rows; 0 for neither.
    n_listed : int, optional
        Add to each row but the random ones what lists of this many of the best candidates of each user are
        like: ``coverage_at_10``, the share of the candidates that are in a list, ``gini_at_10`` of how often
        each is, and ``mean_popularity_at_10``, the listeners of a listed song in the held-out plays; see
        :func:`dcbmr.evaluate_lists`.
    n_threads : int, optional
        Threads; every core by default.
    engine : RayEngine, optional
        Rank on its workers. The result does not depend on it.
    random_state : int
        Seed of the random row and of the resamples.
    progress : Progress, optional
        Told of the users of each row, under its name, and of the resamples.

    Returns
    -------
    Evaluation
        Its candidates are the training songs.

    Raises
    ------
    InputError
        Factors that have seen held-out plays, or lack training songs; a split whose held-out songs are not
        known; no user is left; factors have the name of another row.
    """
    if not factors:
        raise InputError("there are no factors to evaluate")
    for name, each in factors.items():
        if name in (POPULARITY, *OTHER_ROWS):
            raise InputError(f"factors cannot be called {name!r}: another row of the table is")
        _check(name, each, split)
    train, song_ids = split.train, list(split.train.song_ids)
    table = Table(
        split, ScoredSongs(song_ids, [], []), k, n_listed, n_threads, random_state, progress or silent, engine
    )
    for name, each in factors.items():
        columns = places(song_ids, {song: i for i, song in enumerate(each.song_ids)})
        table.add_factors(name, each, each.song_factors[columns], perf_counter(), excluded=train)
    listeners = np.bincount(train.counts.indices, minlength=len(song_ids)).astype(np.float32)[:, None]
    alike = Factors(
        user_factors=np.ones((len(train.user_ids), 1), np.float32),
        song_factors=listeners,
        counts=train.counts,
        user_ids=train.user_ids,
        song_ids=train.song_ids,
    )
    table.add_factors(POPULARITY, alike, listeners, perf_counter(), excluded=train)
    return table.finish(n_resamples)


def _check(name: str, factors: Factors, split: Split) -> None:
    """Raise InputError unless factors know the songs of the training plays, and no held-out play."""
    heldout = split.heldout
    if not set(heldout.song_ids) & set(split.train.song_ids):
        raise InputError(
            f"none of the {len(heldout.song_ids):,} songs of the held-out plays is in the training plays: "
            "factors know known songs alone, which `dcbmr split --by play` holds plays out of; on new songs, "
            "evaluate models"
        )
    known = PlayCounts(factors.user_ids, factors.song_ids, factors.counts)
    seen = plays_between(known, heldout.user_ids, heldout.song_ids).multiply(heldout.counts).nnz
    if seen:
        raise InputError(
            f"{name} has seen {seen:,} of the {heldout.counts.nnz:,} plays that are held out: factorize the "
            "split directory, not all plays"
        )
    missing = set(split.train.song_ids) - set(factors.song_ids[factors.has_plays])
    if missing:
        raise InputError(
            f"{name} does not know {len(missing):,} of the {len(split.train.song_ids):,} songs of the "
            f"training plays, as {min(missing)!r}: factorize the split directory"
        )
