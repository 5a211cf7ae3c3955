"""Train a regressor: bring its songs, features and targets together, and lend it what a long fit needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from dcbmr.base.arrays import rows_of
from dcbmr.base.directory import RECORD, has_progress, write_json
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.base.threads import resolve_n_threads
from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, FitRun
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore, frame_settings
from dcbmr.models.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainingSongs:
    """The songs to train on, and who had to stay out.

    Attributes
    ----------
    song_ids : list of str
        Songs with plays and with features, in the factors' order.
    without_features : list of str
        Songs with plays but no features.
    without_factors : int
        Songs of the store that the factors have no plays of (held out, or simply unplayed).
    """

    song_ids: list[str]
    without_features: list[str]
    without_factors: int

    def left_out(self) -> str:
        """Say in words who had to stay out."""
        words = f"left out: {self.without_factors:,} with features but no plays (held out, or unplayed)"
        if self.without_features:
            named = ", ".join(self.without_features[:3])
            more = ", ..." if len(self.without_features) > 3 else ""
            words += f", {len(self.without_features):,} with plays but no features ({named}{more})"
        return words


def training_songs(factors: Factors, store: FeatureStore) -> TrainingSongs:
    """Match the songs of ``factors`` that have plays with those of ``store``."""
    with_plays = list(factors.song_ids[factors.has_plays])
    both = [song for song in with_plays if song in store]
    if not both:
        raise InputError(
            f"none of the {len(with_plays)} songs with plays has features and none of the {len(store)} songs "
            f"with features has plays; a song's id is its file's name without the ending. "
            f"Plays have {with_plays[:3]}, features have {list(store)[:3]}"
        )
    return TrainingSongs(
        song_ids=both,
        without_features=[song for song in with_plays if song not in store],
        without_factors=len(store) - len(both),
    )


def choose_validation(
    n_songs: int, groups: NDArray[np.int64] | None, *, fraction: float, random_state: int
) -> NDArray[np.bool_]:
    """Set about ``fraction`` of the songs aside, whole artists at a time where artists are known.

    Returns
    -------
    ndarray of shape (n_songs,), bool
    """
    groups = np.arange(n_songs) if groups is None else groups
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(random_state).permutation(len(sizes))
    chosen = order[np.cumsum(sizes[order]) <= round(fraction * n_songs)]
    return np.isin(group, chosen)


def artist_groups(song_ids: Sequence[str], artists: Mapping[str, str] | None) -> NDArray[np.int64] | None:
    """Return a number for the artist of each song, None where no artist is known.

    A song without an artist is a group of its own.
    """
    if artists is None or not any(song in artists for song in song_ids):
        return None
    numbers: dict[tuple[str, str], int] = {}
    keys = [("artist", artists[song]) if song in artists else ("song", song) for song in song_ids]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def factor_target(
    factors: Factors,
    song_ids: Sequence[str],
    *,
    artists: Mapping[str, str] | None = None,
    validation_fraction: float = 0.1,
    random_state: int = 0,
) -> FactorTarget:
    """Restrict ``factors`` to ``song_ids``, as a regressor's fit takes them."""
    rows = rows_of(factors.song_ids, song_ids)
    groups = artist_groups(song_ids, artists)
    target = FactorTarget(
        song_factors=np.ascontiguousarray(factors.song_factors[rows]),
        user_factors=factors.user_factors.view(),  # the caller's own stay writable
        surplus=factors.surplus[:, rows].T.tocsr(),
        groups=groups,
        validation=choose_validation(
            len(rows), groups, fraction=validation_fraction, random_state=random_state
        ),
    )
    target.song_factors.flags.writeable = False
    target.user_factors.flags.writeable = False
    return target


def train(
    factors: Factors,
    features: Path | str,
    *,
    regressor: str,
    params: Mapping[str, Any] | None = None,
    loss: str | None = None,
    device: str | None = None,
    artists: Mapping[str, str] | None = None,
    pipeline: FeaturePipeline | None = None,
    validation_fraction: float = 0.1,
    checkpoint: Path | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Train a regressor on the songs that have both plays and features.

    Parameters
    ----------
    factors : Factors
        What factorize learned; it must not have seen the songs that the model is to be scored on.
    features : path
        Directory of a feature store.
    regressor : str
        One of :func:`dcbmr.regressors`.
    params : mapping, optional
        Its hyper-parameters.
    loss : str, optional
        Its objective, for regressors that have a choice; None for its default.
    device : str, optional
        "auto", "cpu" or "cuda", for regressors that know devices.
    artists : mapping of song id to artist, optional
        Validation songs are then chosen by artist.
    pipeline : FeaturePipeline, optional
        What prepares the features; fitted on the training songs when it is not fitted yet. A new one of
        the regressor's kind if None.
    validation_fraction : float
        Share of the training songs for early stopping and model choice.
    checkpoint : Path, optional
        Directory for the checkpoints of a long fit.
    resume : bool
        Continue from ``checkpoint``; the settings must be the same.
    n_threads : int or None
        None for every core.
    random_state : int
        Seed of every random choice.
    progress : Progress, optional
        Told as the features are prepared, and by the fit; it may raise to stop.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        Unknown regressor, loss or parameter; no song has both plays and features; a checkpoint of other
        settings.
    """
    spec = registry.find_regressor(regressor)
    factory = registry.resolve(spec)
    declared = registry.parameters(factory)
    arguments = dict(params or {})
    arguments |= _reserved(regressor, declared, loss=loss, device=device, random_state=random_state)
    model = registry.get_regressor(regressor, **arguments)

    pipeline = pipeline or FeaturePipeline(spec.feature, n_threads=n_threads, random_state=random_state)
    if pipeline.kind != spec.feature:
        raise InputError(
            f"regressor {regressor!r} takes features of kind {spec.feature!r}, not {pipeline.kind!r}"
        )
    store = FeatureStore.open(features, kind=pipeline.source)
    pipeline.check_store(store)
    songs = training_songs(factors, store)
    target = factor_target(
        factors,
        songs.song_ids,
        artists=artists,
        validation_fraction=validation_fraction,
        random_state=random_state,
    )
    settings = {
        "regressor": regressor,
        "package": _package_of(regressor),
        "params": arguments,
        "feature": spec.feature,
        "features": frame_settings(store),
        "n_words": pipeline.n_words if spec.feature.startswith("bow") else None,
        "weighting": pipeline.weighting if spec.feature.startswith("bow") else None,
        "random_state": random_state,
        "validation_fraction": validation_fraction,
        "n_songs": len(songs.song_ids),
        "n_users": len(factors.user_ids),
        "n_songs_without_features": len(songs.without_features),
        "n_songs_without_factors": songs.without_factors,
    }
    if checkpoint is not None:
        _claim_checkpoint(checkpoint, settings, resume=resume)
    frames = store.features(songs.song_ids)
    prepare = pipeline.transform if pipeline.is_fitted else pipeline.fit_transform
    prepared = prepare(frames, progress=progress)
    run = FitRun(checkpoint, resume, n_threads, progress or silent)
    # --threads holds for the BLAS under a model's NumPy, too.
    with threadpool_limits(resolve_n_threads(n_threads), user_api="blas"):
        model.fit(prepared, target, run=run)
    own_users = None
    if hasattr(model, "user_factors"):
        rows = rows_of(factors.song_ids, songs.song_ids)
        own_users = model.user_factors(factors.counts[:, rows])
    return Model(model, spec, pipeline, songs.song_ids, factors, own_users, settings)


def _reserved(regressor: str, declared: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Return the reserved arguments that the constructor declares; refuse what it cannot take."""
    arguments = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in declared:
            arguments[name] = value
        elif name != "random_state":
            raise InputError(f"regressor {regressor!r} has no {name} to choose; leave --{name} out")
    return arguments


def _package_of(regressor: str) -> str:
    """Return "distribution version" of the plugin that offers a regressor."""
    owners = (p for p in registry.plugins() if any(spec.name == regressor for spec in p.regressors))
    owner = next(owners)
    return f"{owner.distribution} {owner.version}"


def _claim_checkpoint(directory: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Make ``directory`` ready for a run of these settings; raise InputError naming fields that differ."""
    record = directory / RECORD
    if directory.exists() and not (resume and has_progress(directory)):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if record.exists():
        found = json.loads(record.read_text("utf-8"))
        check_settings(
            settings,
            found,
            "the unfinished training was begun",
            remedy="give the same settings, or --overwrite to start anew",
        )
    else:
        write_json(record, settings)
