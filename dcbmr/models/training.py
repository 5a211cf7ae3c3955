"""Train a regressor: bring its songs, features and targets together, and lend it what a long fit needs."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.arrays import rows_of
from dcbmr.base.directory import RECORD, has_progress, write_json
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.base.threads import resolve_n_threads
from dcbmr.contract import registry
from dcbmr.contract.contract import CONTRACT_VERSION, FactorTarget, FitRun
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.joined import JoinedPipeline, pipeline_to
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.fitting import check_can_share, fit_here, fit_on_workers, loss_of
from dcbmr.models.kinds import check_kinds
from dcbmr.models.leakage import refuse_leakage, refuse_pipeline_leakage
from dcbmr.models.model import Model
from dcbmr.models.warm_start import check_model_to_start_from
from dcbmr.plays.groups import artist_groups, choose_groups
from dcbmr.plays.matching import match_ids
from dcbmr.plays.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine

_N_TRIED = 8  # training songs that are predicted when the fit is over


@dataclass(frozen=True, eq=False)
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
    cause : str
        Why ids of the two probably differ, with an example; empty where nothing speaks for a mistake.
    """

    song_ids: list[str]
    without_features: list[str]
    without_factors: int
    cause: str = ""

    def left_out(self) -> str:
        """Say in words who had to stay out."""
        words = f"left out: {self.without_factors:,} with features but no plays (held out, or unplayed)"
        if self.without_features:
            named = ", ".join(self.without_features[:3])
            more = ", ..." if len(self.without_features) > 3 else ""
            words += f", {len(self.without_features):,} with plays but no features ({named}{more})"
        return f"{words}; likely cause: {self.cause}" if self.cause else words


def training_songs(factors: Factors, with_features: Sequence[str]) -> TrainingSongs:
    """Match the songs of ``factors`` that have plays with those that have features."""
    with_plays = list(factors.song_ids[factors.has_plays])
    there = set(with_features)
    both = [song for song in with_plays if song in there]
    cause = match_ids(with_features, with_plays).cause
    if not both:
        raise InputError(
            f"none of the {len(with_plays)} songs with plays has features and none of the {len(there)} songs "
            f"with features has plays; a song's id is its file's name without the ending. "
            f"Plays have {with_plays[:3]}, features have {list(with_features[:3])}"
            + (f"; likely cause: {cause}" if cause else "")
        )
    return TrainingSongs(
        song_ids=both,
        without_features=[song for song in with_plays if song not in there],
        without_factors=len(there) - len(both),
        cause=cause,
    )


def known_artists(
    artists: Mapping[str, str] | None, split: Split | None, factors: Factors, song_ids: Sequence[str]
) -> Mapping[str, str] | None:
    """Return the artists given, which must know one of the songs, else the split's or the factors'."""
    if artists is not None and artists.keys().isdisjoint(song_ids):
        raise InputError(
            f"the table of artists has no song to train on; it has {list(artists)[:3]}, these are "
            f"{song_ids[:3]}, ..."
        )
    tables = (artists, split.artists if split else None, factors.artists)
    return next((table for table in tables if table is not None), None)


def choose_validation(
    n_songs: int, groups: NDArray[np.int64] | None, *, fraction: float, random_state: int
) -> NDArray[np.bool_]:
    """Set about ``fraction`` of the songs aside, whole artists at a time where artists are known.

    See :func:`dcbmr.plays.groups.choose_groups`. None, and a warning, if all songs are of one artist.

    Returns
    -------
    ndarray of shape (n_songs,), bool
    """
    groups = np.arange(n_songs) if groups is None else groups
    if fraction and len(np.unique(groups)) < 2:
        warnings.warn(
            "no songs are set aside for validation: all are of one artist, whose songs stay together",
            stacklevel=2,
        )
        fraction = 0.0
    return choose_groups(groups, fraction, random_state=random_state)


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
    features: FeatureStore,
    *,
    regressor: str,
    loss: str | None = None,
    params: Mapping[str, Any] | None = None,
    loss_params: Mapping[str, Any] | None = None,
    kind: str | Sequence[str] | None = None,
    pipeline: FeaturePipeline | JoinedPipeline | None = None,
    warm_start: Model | None = None,
    split: Split | None = None,
    artists: Mapping[str, str] | None = None,
    validation_fraction: float = 0.1,
    artist_weight: float = 0.0,
    device: str | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    random_state: int = 0,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a regressor on the songs that have both plays and features.

    Whatever can be known before the work is checked before it; predictions of a few songs are checked when
    the fit is over.

    Parameters
    ----------
    factors : Factors
        What factorize learned. Songs that it was fitted without are not trained on.
    features : FeatureStore
        Opened once and passed on: words of its songs are counted once for all models that share a codebook.
    regressor : str
        One of :func:`dcbmr.regressors`.
    loss : str, optional
        Its objective, for regressors that have a choice; None for its default.
    params : mapping, optional
        Its hyper-parameters.
    loss_params : mapping, optional
        Parameters of the loss, for regressors that take any.
    kind : str or sequence of str, optional
        The kind of feature to train on, of the regressor's shape; the pipeline's if None, and without one the
        regressor's own. Several vector kinds are joined: see :class:`dcbmr.JoinedPipeline`.
    pipeline : FeaturePipeline or JoinedPipeline, optional
        What makes this kind: the size of the codebook, the share of variance, the weighting. Fitted on the
        training songs when it is not fitted yet; one that is may serve several models.
    warm_start : Model, optional
        Start from the weights and the pipeline of this one, of the same regressor and parameters. Songs that
        it has learned may be among those of validation, whose figures then flatter.
    split : Split, optional
        Its held-out songs must not be learned from: factors, or a pipeline, that have seen any are refused.
        Factors that were fitted on a split know its songs, and need none here.
    artists : mapping of song id to artist, optional
        Validation songs are then chosen by artist; by default the split's, or those that the factors know.
    validation_fraction : float
        Share of the training songs for early stopping and model choice, in [0, 0.9].
    artist_weight : float
        Weight, in [0, 1], of the mean over the songs of a song's artist in what is predicted of it: see
        :meth:`dcbmr.Model.predict_store`. What is learned stays the same. Needs artists.
    device : str, optional
        One of those that the regressor's spec names, for regressors that know devices.
    checkpoint : path, optional
        Directory for the checkpoints of a long fit.
    resume : bool
        Continue from ``checkpoint``; the settings must be the same.
    n_threads : int or None
        None for every core.
    random_state : int
        Seed of every random choice.
    engine : RayEngine, optional
        Where to fit: its workers share the songs of each batch, and follow what one machine learns within the
        noise of summation. For regressors whose spec says ``has_peers``; the device is one of the workers'.
        What prepares the features, and ``n_threads``, are of this machine.
    progress : Progress, optional
        Told as the features are prepared, and by the fit; it may raise to stop.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        Unknown regressor, loss, parameter, device or kind; held-out songs that were learned from; no song
        has both plays and features; a checkpoint of other settings.
    DcbmrError
        The regressor is not what its plugin says: its fit or its predictions are not what was agreed on.
    """
    spec = registry.find_regressor(regressor)
    declared = registry.parameters(registry.resolve(spec))
    arguments = dict(params or {})
    arguments |= _reserved(regressor, declared, loss=loss, device=device, random_state=random_state)
    if loss_params:
        arguments["loss_params"] = dict(loss_params)
    if not 0 <= validation_fraction <= 0.9:
        raise InputError(f"validation_fraction must lie between 0 and 0.9; got {validation_fraction}")
    if not 0 <= artist_weight <= 1:
        raise InputError(f"artist_weight must lie between 0 and 1; got {artist_weight}")
    resolve_n_threads(n_threads)
    if engine is not None:
        check_can_share(spec)
    # The workers may have devices that are not here.
    here = {name: value for name, value in arguments.items() if engine is None or name != "device"}
    made = registry.get_regressor(regressor, **here)
    objective = loss_of(spec, made)

    if warm_start is not None and pipeline is not None:
        raise InputError("with warm_start the pipeline is that of the model; leave pipeline out")
    pipeline = pipeline if warm_start is None else warm_start.pipeline
    pipeline = pipeline or pipeline_to(kind or spec.kind, n_threads=n_threads, random_state=random_state)
    wanted = pipeline.kind if kind is None else kind if isinstance(kind, str) else "+".join(kind)
    if pipeline.kind != wanted:
        raise InputError(f"kind is {wanted!r}, but the pipeline makes {pipeline.kind!r}")
    check_kinds(spec, pipeline, features)
    pipeline.check_store(features)
    heldout = list(dict.fromkeys([*factors.heldout_songs, *(split.heldout_songs if split else ())]))
    refuse_leakage(factors, heldout, "the factorization")
    refuse_pipeline_leakage(pipeline, heldout, "the pipeline")
    if warm_start is not None:
        check_model_to_start_from(warm_start, spec, factors, heldout)
    if len(heldout) > len(factors.heldout_songs):
        # The model says later what it was made without.
        factors = replace(factors, heldout_songs=tuple(heldout))
    songs = training_songs(factors, pipeline.songs_in(features))
    known = known_artists(artists, split, factors, songs.song_ids)
    if artist_weight:
        if not known:
            raise InputError(
                f"artist_weight is {artist_weight}, and no artist is known: give a table of songs and artists"
            )
        factors = replace(factors, artists=dict(known))  # the model asks them for the artists of its songs
    target = factor_target(
        factors,
        songs.song_ids,
        artists=known,
        validation_fraction=validation_fraction,
        random_state=random_state,
    )
    settings: dict[str, Any] = {
        "regressor": regressor,
        "package": spec.package,
        "contract": CONTRACT_VERSION,
        "loss_package": objective and objective.package,
        "params": arguments,
        **pipeline.settings(),
        "features": [features[source].config.to_json() for source in pipeline.sources],
        "random_state": random_state,
        "validation_fraction": validation_fraction,
        "artist_weight": artist_weight,
        "n_songs": len(songs.song_ids),
        "n_users": len(factors.user_ids),
        "n_factors": factors.song_factors.shape[1],
        "n_songs_without_features": len(songs.without_features),
        "n_songs_without_factors": songs.without_factors,
    } | ({} if warm_start is None else {"is_warm_start": True})
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        claim_checkpoint(checkpoint, settings, resume=resume)
    if pipeline.is_fitted:
        found = pipeline.read(features, songs.song_ids, progress=progress)
        prepared = pipeline.make(songs.song_ids, found, progress=progress)
    else:
        prepared = pipeline.learn(features, songs.song_ids, progress=progress)
    start = None if warm_start is None else warm_start.regressor
    run = FitRun(checkpoint, resume, n_threads, progress or silent, start=start)
    if engine is None:
        fitted = fit_here(spec, made, prepared, target, run)
    else:
        fitted = fit_on_workers(engine, spec, arguments, prepared, target, run)
    rows = rows_of(factors.song_ids, songs.song_ids)
    trained = Model(fitted, spec, pipeline, factors=lambda: factors, training_rows=rows, config=settings)
    # The width of the model's own users, where it has any: these are made, and checked, here.
    settings["width"] = trained.user_factors.shape[1]
    trained.predict_store(features, songs.song_ids[:_N_TRIED])
    return trained


def _reserved(regressor: str, declared: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Return the reserved arguments that the constructor declares; refuse what it cannot take."""
    arguments = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in declared:
            arguments[name] = value
        elif name != "random_state":
            raise InputError(f"regressor {regressor!r} has no {name} to choose; leave it out")
    return arguments


def claim_checkpoint(directory: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
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
