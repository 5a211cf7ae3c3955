"""Evaluate models on held-out songs, beside baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.evaluation.candidates import candidate_songs
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.rows import OTHER_ROWS, SHUFFLED, TAG, Table
from dcbmr.evaluation.scoring import check_upper_bound
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.leakage import refuse_leakage, refuse_pipeline_leakage
from dcbmr.models.stack import songs_in
from dcbmr.plays.split import Split
from dcbmr.plays.tags import SongTags

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack


def evaluate_models(
    models: Mapping[str, Model | Stack],
    split: Split,
    features: FeatureStore,
    *,
    k: int = 500,
    upper_bound: Factors | None = None,
    baselines: bool = False,
    tags: SongTags | None = None,
    n_resamples: int = 1000,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate models on the held-out songs of a split, all on the same songs.

    Parameters
    ----------
    models : mapping of str to Model or Stack
        The models by the names that they shall have in the table.
    split : Split
        The held-out songs and their plays.
    features : FeatureStore
        Held-out songs that it lacks are not scored.
    k : int
        Cut-off of the metrics that have one.
    upper_bound : Factors, optional
        Factors of all plays; see :func:`evaluate_upper_bound`. Scored on the first model's users.
    baselines : bool
        Add the rows of :mod:`dcbmr.evaluation.baselines`: each model on shuffled audio, the nearest training
        songs of the first model that reads vectors, the user's plays of the song's artist, where artists are
        known on both sides, and the mean training song.
    tags : SongTags, optional
        Adds the row of the user's plays of songs with the song's tags.
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
        Seed of the random row, of the shuffles and of the resamples.
    progress : Progress, optional
        Told of the users of each row, under its name, and of the resamples.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        A model's factors, codebook or PCA have seen held-out songs; there are no held-out plays, or fewer
        than two of their songs have features; no user is left; a model has the name of another row.
    """
    _check_models(models, split, features)
    scored = songs_in(models.values(), features)
    candidates = candidate_songs(split.heldout_songs, scored, split.train.song_ids)
    if upper_bound is not None:
        check_upper_bound(upper_bound, candidates.song_ids)
    table = Table(split, candidates, k, n_listed, n_threads, random_state, progress or silent, engine)
    for name, model in models.items():
        table.add_model(name, model, features)
    if upper_bound is not None:
        table.add_upper_bound(upper_bound)
    if baselines:
        table.add_baselines(models, features)
    if tags is not None:
        table.add_plays_of_alike(TAG, tags, "a tag")
    if baselines:
        table.add_shuffles(models)
    return table.finish(n_resamples)


def _check_models(models: Mapping[str, Model | Stack], split: Split, features: FeatureStore) -> None:
    """Refuse what can be known to be wrong before any song is predicted."""
    if not models:
        raise InputError("there is no model to evaluate")
    for name in models:
        if name in OTHER_ROWS or name.endswith(SHUFFLED):
            raise InputError(f"a model cannot be called {name!r}: another row of the table is")
    if split.by == "play":
        raise InputError(
            "this split holds out plays of songs that are in training, too: evaluate factors on it, and "
            "models on songs held out, `dcbmr split --by song` or `--by artist`"
        )
    if not split.heldout.counts.nnz:
        raise InputError(
            f"there are no plays of the {len(split.heldout_songs):,} songs held out: nothing to evaluate on"
        )
    for name, model in models.items():
        refuse_leakage(model.factors, split.heldout_songs, name)
        for pipeline in model.pipelines:
            refuse_pipeline_leakage(pipeline, split.heldout_songs, name)
        model.check_store(features)
