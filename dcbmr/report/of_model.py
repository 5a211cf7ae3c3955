"""The page of a model, or of factors alone."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from dcbmr.base.directory import kind_of
from dcbmr.base.progress import Progress
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FEATURES, FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.stack import Stack
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report.factor_ends import factor_ends
from dcbmr.report.hearing import listen, why_not
from dcbmr.report.page import Page
from dcbmr.report.song_map import Measure, map_songs
from dcbmr.report.sources import Sources

_LISTENERS, _AUDIO = "by listeners", "by audio"


def page_of_model(
    source: Factors | Model | Stack,
    directory: Path,
    sources: Sources,
    *,
    features: FeatureStore | None = None,
    title: str = "",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Page:
    """Return the page of a model, or of factors: the songs with plays, and those with features.

    Parameters
    ----------
    source : Factors, Model or Stack
    directory : path
        Where it was read from.
    sources : Sources
        What is known beside it.
    features : FeatureStore, optional
        Its songs come in, and the songs with plays are compared by what the model predicts of them, too.
    title : str
        See :class:`Page`; the directory's name by default.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of each step; it may raise to stop.
    """
    if isinstance(source, Factors):
        factors, recommenders = source, {_LISTENERS: Recommender.from_factors(source, n_threads=n_threads)}
    else:
        factors = source.factors
        recommenders = _of_model(source, features, n_threads)
    first = next(iter(recommenders.values()))
    measures = [Measure("listeners", "users who play it", first.n_listeners.astype(np.float32))]
    if len(recommenders) == 2 and _AUDIO in recommenders:
        measures.append(_error(first, recommenders[_AUDIO]))
    song_map = map_songs(
        recommenders,
        songs=sources.song_table(factors.songs),
        artists=factors.artists,
        tags=sources.song_tags(),
        measures=measures,
        audio=sources.audio_urls(first.song_ids, progress),
        random_state=sources.random_state,
        n_threads=n_threads,
        progress=progress,
    )
    hearing = None
    if features is not None and isinstance(source, Model) and not why_not(source):
        hearing = listen(
            directory.resolve().name,
            source,
            features,
            first,
            song_map,
            sources,
            n_threads=n_threads,
            progress=progress,
        )
    config = factors.config if isinstance(source, Factors | Stack) else source.config
    ends = factor_ends(first.song_factors, song_map.names, song_map.labels)
    return Page(
        title=title or directory.resolve().name,
        commands=[shlex.join(["dcbmr", "report", str(directory), *_flag_of(features), *sources.flags()])],
        songs=song_map,
        factors=ends,
        hearing=hearing,
        no_hearing="" if isinstance(source, Factors) or features is None else why_not(source),
        songs_about="Songs that have plays lie where their listeners put them"
        + ("; songs without, where the model predicts them to lie." if first.is_predicted.any() else "."),
        settings={**config},
    )


def _flag_of(features: FeatureStore | None) -> list[str]:
    """Return what names a store on disk."""
    if features is None or kind_of(features.directory) != FEATURES:  # vectors in hand are in no store
        return []
    return ["--features", str(features.directory)]


def _of_model(
    model: Model | Stack, features: FeatureStore | None, n_threads: int | None
) -> dict[str, Recommender]:
    every = Recommender.from_model(model, features=features, n_threads=n_threads)
    if model.own_user_factors is not None:  # its space has no learned songs
        return {_AUDIO: every, _LISTENERS: Recommender.from_factors(model.factors, n_threads=n_threads)}
    if features is None:
        return {_LISTENERS: every}
    audio = Recommender.from_model(model, features=features, from_audio=True, n_threads=n_threads)
    return {_LISTENERS: every, _AUDIO: audio}


def _error(known: Recommender, predicted: Recommender) -> Measure:
    """Return how far what is predicted of a song with plays lies from where its listeners put it."""
    far = np.full(len(known.song_ids), np.nan, np.float32)
    for row, song in enumerate(known.song_ids):
        if song in predicted.row_of_song and not known.is_predicted[row]:
            other = predicted.usage_vectors[predicted.row_of_song[song]]
            far[row] = 1 - float(known.usage_vectors[row] @ other)
    meaning = "1 − cosine of the usage that the model predicts and that of its listeners; 0 is the same"
    return Measure("error", meaning, far)
