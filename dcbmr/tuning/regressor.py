"""Parameters of a regressor chosen by songs held out of training.

The songs of some artists are held out of the training plays, as test songs are held out of all plays:
factors, codebook and model of a trial know nothing of them, and are judged by the mAP of what is predicted
for them. A fit that reports the mAP on its own validation songs epoch by epoch goes on after 3, 9, ...
epochs only if it is among the better third.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcbmr.base.progress import Progress, silent, under
from dcbmr.contract import registry
from dcbmr.contract.contract import Regressor
from dcbmr.contract.params import LOSS_PREFIX
from dcbmr.errors import DcbmrError, InputError
from dcbmr.evaluation.scoring import score
from dcbmr.factorization.als import WeightedALS
from dcbmr.factorization.factors import OBJECTIVE, Factors
from dcbmr.features.joined import JoinedPipeline, load_pipeline, pipeline_to
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.kinds import check_kinds
from dcbmr.models.training import train, training_songs
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split, split_plays
from dcbmr.tuning.search import (
    GivenUp,
    Tuned,
    Watch,
    check_budget,
    check_record,
    require_optuna,
    search,
)
from dcbmr.tuning.space import Space

Pipeline = FeaturePipeline | JoinedPipeline


def tune_regressor(
    factors: Factors,
    features: FeatureStore,
    *,
    regressor: str,
    space: Mapping[str, Sequence[Any]] | None = None,
    trials: int = 30,
    seconds: float | None = None,
    loss: str | None = None,
    params: Mapping[str, Any] | None = None,
    loss_params: Mapping[str, Any] | None = None,
    pipeline: Pipeline | None = None,
    artists: Mapping[str, str] | None = None,
    heldout_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    k: int = 500,
    device: str | None = None,
    directory: str | Path | None = None,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Tuned:
    """Choose parameters of a regressor by the mAP of songs that are held out of the training plays.

    Parameters
    ----------
    factors : Factors
        Of the training plays: songs that a split held out of them are never looked at. They are made again
        without the songs that are held out here, with the same settings.
    features : FeatureStore
    regressor : str
        One of :func:`dcbmr.regressors`.
    space : mapping of str to sequence, optional
        Its parameters, and "loss.NAME" of its loss, and where to look for each: two numbers, the lower first,
        are the ends of a range, on a scale of logarithms where the lower is above 0; anything else are values
        to choose among. Where its plugin says, if None.
    trials : int
        How many settings are tried, the defaults first, those of interrupted runs among them.
    seconds : float, optional
        Begin no trial after as many, and end the one that runs.
    loss, params, loss_params, pipeline, device
        What is given, as :func:`dcbmr.train` takes it; the pipeline is not fitted yet.
    artists : mapping of song to artist, optional
        Songs are held out by artist; by default those that the factors know.
    heldout_fraction : float
        Share of the training songs that is held out to judge by.
    validation_fraction : float
        Share of the others that each fit has for early stopping.
    k : int
        Cut-off of the mAP.
    directory : path, optional
        Where the trials are kept, and their table, trials.tsv; one that is there already is continued, also
        in the middle of a fit.
    n_threads : int, optional
        None for every core.
    random_state : int
        Seed of every random choice.
    progress : Progress, optional
        Told of each trial ("tune") and of what goes on in it ("trial"); it may raise to stop.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        Optuna is not installed; a parameter that is none, or a range that is empty; no held-out song has
        features; a directory of other plays or settings.
    """
    spec = registry.find_regressor(regressor)
    pipeline = pipeline or pipeline_to(spec.kind, n_threads=n_threads, random_state=random_state)
    check_kinds(spec, pipeline, features)
    given = Given(regressor, loss, dict(params or {}), dict(loss_params or {}), device)
    where = given.space(space)  # rather now than after the factorization
    check_budget(trials, seconds)
    require_optuna()
    record = {
        "regressor": regressor,
        "loss": loss,
        "params": dict(given.params),
        "loss_params": dict(given.loss_params),
        **pipeline.settings(),
        "features": [features[source].config.to_json() for source in pipeline.sources],
        "space": where.for_json(),
        "heldout_fraction": heldout_fraction,
        "validation_fraction": validation_fraction,
        "k": k,
        "random_state": random_state,
        **_als_of(factors, None).settings(),
        "shape": list(factors.counts.shape),
        "n_pairs": int(factors.counts.nnz),
    }
    check_record(directory, record)
    split = hold_out(_plays_of(factors), artists or factors.artists, heldout_fraction, random_state)
    without = Path(directory) / "without-heldout" if directory is not None else None
    learned = Learned.without(split, factors, features, pipeline, without, n_threads, progress)
    return tune_on(
        learned,
        features,
        given,
        space=where,
        trials=trials,
        seconds=seconds,
        validation_fraction=validation_fraction,
        k=k,
        directory=directory,
        n_threads=n_threads,
        random_state=random_state,
        progress=progress,
    )


@dataclass(frozen=True)
class Given:
    """A regressor, and what of it is not chosen."""

    regressor: str
    loss: str | None
    params: Mapping[str, Any]
    loss_params: Mapping[str, Any]
    device: str | None = None

    def known(self) -> dict[str, inspect.Parameter]:
        """Return what may be tuned: the parameters, and those of the loss as "loss.NAME"."""
        spec = registry.find_regressor(self.regressor)
        of_regressor = registry.parameters(registry.resolve(spec))
        known = {name: of for name, of in of_regressor.items() if name not in registry.RESERVED}
        if (factory := registry.loss_factory(spec, self.loss)) is not None:
            known |= {f"{LOSS_PREFIX}{name}": of for name, of in registry.parameters(factory).items()}
        return known

    def space(self, wanted: Mapping[str, Sequence[Any]] | None) -> Space:
        """Return where its parameters are looked for: where its plugin says, if nobody does."""
        known = self.known()
        fixed = {**self.params, **{f"{LOSS_PREFIX}{name}": value for name, value in self.loss_params.items()}}
        if wanted is None:
            offered = registry.find_regressor(self.regressor).space
            wanted = {name: ends for name, ends in offered.items() if name not in fixed}
            if not wanted:
                raise InputError(
                    f"regressor {self.regressor!r} does not say where to look for its parameters, or all of "
                    f"them are given: say where; it has {', '.join(known) or 'none'}"
                )
        if twice := sorted(wanted.keys() & fixed.keys()):
            raise InputError(
                f"{twice[0]} is to be tuned, and given as {fixed[twice[0]]}: leave one of the two"
            )
        return Space(wanted, known, check=lambda settings: self.make(settings))

    def defaults(self) -> dict[str, Any]:
        """Return what each parameter is when nobody chooses."""
        return {name: parameter.default for name, parameter in self.known().items()}

    def make(self, settings: Mapping[str, Any]) -> Regressor:
        """Return the regressor with settings; InputError where it does not take them."""
        params, loss_params = self.with_settings(settings)
        named = {} if self.loss is None else {"loss": self.loss}
        return registry.get_regressor(self.regressor, **params, **named, loss_params=loss_params)

    def with_settings(self, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all parameters of the regressor, and those of its loss."""
        params, loss_params = dict(self.params), dict(self.loss_params)
        for name, value in settings.items():
            (loss_params if name.startswith(LOSS_PREFIX) else params)[name.removeprefix(LOSS_PREFIX)] = value
        return params, loss_params


def hold_out(
    plays: PlayCounts, artists: Mapping[str, str] | None, fraction: float, random_state: int
) -> Split:
    """Hold songs out of training plays to judge by, whole artists where artists are known."""
    by_artist = bool(artists) and not artists.keys().isdisjoint(plays.song_ids)  # type: ignore[union-attr]
    # A seed of its own: that of the split that the plays come from would choose much the same artists.
    return split_plays(
        plays,
        by="artist" if by_artist else "song",
        artists=artists,
        fraction=fraction,
        random_state=random_state + 1,
    )


def _plays_of(factors: Factors) -> PlayCounts:
    return PlayCounts(factors.user_ids, factors.song_ids, factors.counts).keep_songs(factors.has_plays)


@dataclass(frozen=True, eq=False)
class Learned:
    """The songs held out to judge by, and the factors and the features that know nothing of them."""

    split: Split
    factors: Factors
    pipeline: Pipeline

    @classmethod
    def without(
        cls,
        split: Split,
        like: Factors,
        features: FeatureStore,
        pipeline: Pipeline,
        directory: Path | None,
        n_threads: int | None,
        progress: Progress | None,
    ) -> Learned:
        """Learn factors, as others were learned, and features; what lies in ``directory`` is read."""
        places = [None if directory is None else directory / name for name in ("factors", "pipeline")]
        of_factors, of_pipeline = places
        if of_factors is not None and of_factors.exists():
            factors = Factors.load(of_factors)
        else:
            factors = _als_of(like, n_threads).fit(split, progress=progress).factors_
            if of_factors is not None:
                of_factors.parent.mkdir(parents=True, exist_ok=True)
                factors.save(of_factors)
        if of_pipeline is not None and of_pipeline.exists():
            return cls(split, factors, load_pipeline(of_pipeline, n_threads=n_threads))
        songs = training_songs(factors, pipeline.songs_in(features)).song_ids
        pipeline.learn(features, songs, progress=progress)
        if of_pipeline is not None:
            pipeline.save(of_pipeline)
        return cls(split, factors, pipeline)


def _als_of(factors: Factors, n_threads: int | None) -> WeightedALS:
    """Return a factorization with the settings that factors were made with."""
    known = WeightedALS().get_params()
    kept = {name: value for name, value in factors.config.items() if name in known}
    objective = {name: getattr(factors, name) for name in OBJECTIVE}
    n_factors = factors.song_factors.shape[1]
    return WeightedALS(**{**kept, **objective, "n_factors": n_factors, "n_threads": n_threads})


def tune_on(
    learned: Learned,
    features: FeatureStore,
    given: Given,
    *,
    space: Space,
    trials: int,
    seconds: float | None,
    validation_fraction: float,
    k: int,
    directory: str | Path | None,
    n_threads: int | None,
    random_state: int,
    progress: Progress | None,
) -> Tuned:
    """Choose parameters by songs that were held out already; see :func:`tune_regressor`."""
    objective = _HeldOutSongs(
        learned,
        features,
        given,
        k=k,
        checkpoints=None if directory is None else Path(directory) / "checkpoints",
        progress=under(progress or silent, "trial"),
        how={
            "validation_fraction": validation_fraction,
            "n_threads": n_threads,
            "random_state": random_state,
        },
    )
    return search(
        objective,
        space,
        trials=trials,
        seconds=seconds,
        directory=directory,
        random_state=random_state,
        progress=progress,
    )


class _HeldOutSongs:
    """The songs held out, and how a regressor does on them."""

    def __init__(
        self,
        learned: Learned,
        features: FeatureStore,
        given: Given,
        *,
        k: int,
        checkpoints: Path | None,
        progress: Progress,
        how: Mapping[str, Any],
    ) -> None:
        self._learned, self._features, self._given = learned, features, given
        self._k, self._checkpoints, self._progress, self._how = k, checkpoints, progress, how
        there = set(learned.pipeline.songs_in(features))
        self._songs = [song for song in learned.split.heldout_songs if song in there]
        if not self._songs:
            raise InputError(
                f"none of the {len(learned.split.heldout_songs)} songs held out to judge by has features; "
                "take a larger share, or another seed"
            )
        self.metric = f"mAP@{k} of {len(self._songs):,} songs held out of training"
        self.defaults: Mapping[str, Any] = given.defaults()

    def run(self, settings: Mapping[str, Any], watch: Watch) -> float:
        with self._checkpoint(watch.number) as checkpoint:
            return self._figure(*self._given.with_settings(settings), watch, checkpoint)

    @contextmanager
    def _checkpoint(self, number: int) -> Iterator[Path | None]:
        """Give the place for what a fit goes on from, and remove it when the trial is over."""
        place = None if self._checkpoints is None else self._checkpoints / f"trial-{number + 1}"
        stopped: Exception | None = None
        try:
            yield place
        except (GivenUp, DcbmrError) as error:
            stopped = error
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        if stopped is not None:
            raise stopped

    def _figure(
        self, params: dict[str, Any], loss_params: dict[str, Any], watch: Watch, checkpoint: Path | None
    ) -> float:
        epoch = 0

        def judge(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            nonlocal epoch
            watch.check_time()
            if "validation_map" in figures:
                epoch += 1
                if step != n_steps:  # else it is through
                    watch.tell(epoch, figures["validation_map"])
            self._progress(stage, step, n_steps, figures)

        learned = self._learned
        model = train(
            learned.factors,
            self._features,
            regressor=self._given.regressor,
            loss=self._given.loss,
            params=params,
            loss_params=loss_params,
            pipeline=learned.pipeline,
            device=self._given.device,
            checkpoint=checkpoint,
            resume=True,
            progress=judge,
            **self._how,
        )
        report = score(
            model.user_ids,
            model.user_factors,
            self._songs,
            model.predict_store(self._features, self._songs),
            learned.split.heldout,
            k=self._k,
            n_threads=self._how["n_threads"],
        )
        return float(report.map_at_k)
