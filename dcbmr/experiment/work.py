"""An experiment under way: what its stages make goes on in memory, and what an earlier run left is read.

Each thing is made when it is first asked for: of what is not evaluated again nothing is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from dcbmr.base.directory import write_json
from dcbmr.base.progress import Progress, under
from dcbmr.datasets.world import World
from dcbmr.evaluation.evaluation import evaluate_models
from dcbmr.evaluation.kept import Evaluation
from dcbmr.experiment import stages as make
from dcbmr.experiment.cache import Stage, Stages
from dcbmr.experiment.config import ExperimentConfig
from dcbmr.experiment.plan import Fold, Plan
from dcbmr.experiment.row_stages import HeldOut
from dcbmr.experiment.rows import Row
from dcbmr.factorization.factors import Factors
from dcbmr.features.featurize import featurize
from dcbmr.features.in_hand import with_vectors
from dcbmr.features.joined import JoinedPipeline
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import SongTable
from dcbmr.plays.split import Split
from dcbmr.plays.tags import SongTags
from dcbmr.tuning.factorization import tune_factorization
from dcbmr.tuning.regressor import Learned, hold_out, tune_on

_TUNED = "tuned.json"


class Work:
    """An experiment under way: what all folds share."""

    def __init__(self, config: ExperimentConfig, stages: Stages, n_threads: int | None) -> None:
        self.config, self.stages, self.n_threads = config, stages, n_threads
        self.plan = Plan(config, stages)
        for stage in self.plan:  # rather now than after hours is a changed file refused
            stages.is_made(stage)
        world = self.plan.world
        if world is not None and not stages.is_made(world):
            assert config.world is not None
            with stages.making(world) as path:
                World(config.world).write(
                    path, n_threads=n_threads, progress=under(stages.report, world.label)
                )
        self.plays = cache(self._plays)
        self.songs = cache(self._songs)
        self.store = cache(self._store)

    def _plays(self) -> PlayCounts:
        data = self.plan.data
        plays = PlayCounts.read(data.plays_source, **data.how_read)
        return plays.most_played(n_songs=data.n_songs, n_users=data.n_users)

    def _songs(self) -> SongTable | None:
        return make.read_song_table(self.plan.data)

    def factors(self, stage: Stage, plays: Any, tuned: Any) -> Factors:
        """Factorize what ``plays`` gives, with the settings that ``tuned`` gives, where it is not there."""
        if self.stages.is_made(stage):
            return Factors.load(self.stages.path(stage) / make.FACTORS)
        given, settings = plays(), tuned()
        with self.stages.making(stage) as path:
            als = self.config.als(n_threads=self.n_threads, **settings)
            return make.make_factors(path, given, als, under(self.stages.report, stage.label))

    def _store(self) -> FeatureStore:
        """Open the features, those of audio after they are brought up to date with it."""
        data = self.plan.data
        stores = [self._featurized(stage) for stage in self.plan.stores]
        if data.features is not None:
            stores.append(FeatureStore.open(data.features))
        store = None
        for more in stores:
            store = (
                more if store is None else FeatureStore.of({kind: more[kind] for kind in more}, onto=store)
            )
        used = {kind for row in self.config.rows for kind in row.learns_from}
        for kind, file in data.vectors.items():
            if kind in used:
                store = with_vectors(store, file, kind=kind)
        assert store is not None
        return store

    def _featurized(self, stage: Stage) -> FeatureStore:
        path = self.stages.path(stage) / make.FEATURES
        if self.plan.why(stage) is not None:
            assert self.plan.data.audio is not None
            with self.stages.making(stage) as directory:
                featurize(
                    self.plan.data.audio,
                    path,
                    kinds=stage.settings["kinds"],
                    **self.plan.recipe_settings,
                    n_threads=self.n_threads,
                    resume=path.exists(),
                    force=True,  # an estimate does not stop what goes on where it was
                    progress=under(self.stages.report, stage.label),
                )
                (directory / "audio.txt").write_text(self.plan.audio_checksum)
        return FeatureStore.open(path)


class WorkWithout:
    """What is made without some songs that are held out."""

    def __init__(
        self,
        work: Work,
        part: HeldOut,
        split: Callable[[], Split],
        tuned: Callable[[], dict[str, Any]],
    ) -> None:
        self.work, self._part, self._stages = work, part, work.stages
        self.split, self.tuned = cache(split), cache(tuned)
        self.factors = cache(self._factors)
        self.words = cache(self._words)

    def _factors(self) -> Factors:
        return self.work.factors(self._part.factors, self.split, self.tuned)

    def _words(self, kind: str) -> FeaturePipeline:
        stage, work = self._part.words[kind], self.work
        if self._stages.is_made(stage):
            return make.read_words(self._stages.path(stage), n_threads=work.n_threads)
        split, store = self.split(), work.store()
        factors = self.factors() if "factors" in stage.inputs else None
        with self._stages.making(stage) as path:
            return make.make_words(
                path,
                kind,
                split,
                store,
                factors,
                work.config,
                work.n_threads,
                under(self._stages.report, stage.label),
            )

    def pipeline(self, row: Row) -> make.Pipeline:
        """Return what makes the features of a row: what was learned already is taken over."""
        parts = [
            self.words(kind)
            if kind in self._part.words
            else FeaturePipeline(kind, n_threads=self.work.n_threads)
            for kind in row.learns_from
        ]
        return parts[0] if len(parts) == 1 else JoinedPipeline(parts)


class WorkOfFold(WorkWithout):
    """The work on one fold."""

    def __init__(self, work: Work, fold: Fold) -> None:
        super().__init__(work, fold, self._split, self._tuned)
        self._fold = fold
        self._models: dict[str, Model] = {}

    def evaluations(self) -> list[Evaluation]:
        """Evaluate the rows of each seed, after all is made that it takes."""
        return [self._evaluation(seed) for seed in range(len(self._fold.evaluations))]

    def _evaluation(self, seed: int) -> Evaluation:
        stage, work = self._fold.evaluations[seed], self.work
        if self._stages.is_made(stage):
            return make.read_evaluation(self._stages.path(stage))
        config, split = work.config, self.split()
        self.factors()
        bound = self._fold.everything
        everything = None if bound is None else work.factors(bound, work.plays, self.tuned)
        store = work.store()
        models = {row.name: self._model(row, self._fold.model(row, seed)) for row in config.rows}
        tags = None
        if config.evaluation.tags:
            assert work.plan.data.tags is not None
            tags = SongTags.read(work.plan.data.tags)
        with self._stages.making(stage) as path:
            evaluation = evaluate_models(
                models,
                split,
                store,
                k=config.evaluation.k,
                upper_bound=everything,
                baselines=config.evaluation.baselines,
                tags=tags,
                n_resamples=config.evaluation.n_resamples,
                n_threads=work.n_threads,
                random_state=config.random_state,
                progress=under(self._stages.report, stage.label),
            )
            make.keep_evaluation(path, evaluation)
        return evaluation

    def chosen(self) -> dict[str, dict[str, Any]]:
        """Return the parameters that were chosen, of each row that has any."""
        stages = {name: search.tune for name, search in self._fold.searches.items()}
        made = {
            name: self._stages.path(stage) for name, stage in stages.items() if self._stages.is_made(stage)
        }
        return {name: _read_tuned(path) for name, path in made.items()}

    def _split(self) -> Split:
        stage, work = self._fold.split, self.work
        if self._stages.is_made(stage):
            return Split.load(self._stages.path(stage) / make.SPLIT)
        plays, songs = work.plays(), work.songs()
        make.check_ids(plays, songs, work.plan.data)
        with self._stages.making(stage) as path:
            return make.make_split(path, plays, songs, work.config, work.plan.data, self._fold.number)

    def _tuned(self) -> dict[str, Any]:
        """Choose settings of the factorization, if that is wanted."""
        stage, work = self._fold.tune, self.work
        if stage is None:
            return {}
        path = self._stages.path(stage)
        if not self._stages.is_made(stage):
            split = self.split()
            with self._stages.making(stage):
                tuned = tune_factorization(
                    split,
                    **stage.settings,
                    directory=path / "trials",
                    n_threads=work.n_threads,
                    progress=under(self._stages.report, stage.label),
                )
                write_json(path / _TUNED, tuned.settings)
        return _read_tuned(path)

    def _chosen(self, row: Row) -> Row:
        """Return a row with the parameters that were chosen, if that is wanted."""
        search, work = self._fold.searches.get(row.name), self.work
        if search is None or row.tune is None:
            return row
        stage = search.tune
        path = self._stages.path(stage)
        if not self._stages.is_made(stage):
            without = WorkWithout(work, search.part, partial(self._held_out, search.part.split), self.tuned)
            learned = Learned(without.split(), without.factors(), without.pipeline(row))
            store = work.store()
            with self._stages.making(stage):
                tuned = tune_on(
                    learned,
                    store,
                    row.given,
                    space=row.given.space(row.tune.space),
                    trials=row.tune.trials,
                    seconds=row.tune.seconds,
                    validation_fraction=work.config.training.validation_fraction,
                    k=work.config.evaluation.k,
                    directory=path / "trials",
                    n_threads=work.n_threads,
                    random_state=work.config.random_state,
                    progress=self._of_search(stage.label),
                )
                write_json(path / _TUNED, tuned.settings)
        params, loss_params = row.given.with_settings(_read_tuned(path))
        device = {name: row.params[name] for name in ("device",) if name in row.params}
        return replace(row, params={**params, **device}, loss_params=loss_params)

    def _held_out(self, stage: Stage) -> Split:
        """Hold training songs out to choose by."""
        path = self._stages.path(stage) / make.SPLIT
        if self._stages.is_made(stage):
            return Split.load(path)
        split = self.split()
        with self._stages.making(stage):
            found = hold_out(split.train, split.artists, **stage.settings)
            found.save(path, overwrite=path.exists())
            return found

    def _of_search(self, label: str) -> Progress:
        """Return a progress that tells of the trials, and of what goes on in each, under two names."""

        def report(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
            name = label if stage == "tune" else f"{label}, {stage}"
            self._stages.report(name, step, n_steps, figures)

        return report

    def _model(self, row: Row, stage: Stage) -> Model:
        if stage.digest not in self._models:
            self._models[stage.digest] = self._trained(row, stage)
        return self._models[stage.digest]

    def _trained(self, row: Row, stage: Stage) -> Model:
        work, path = self.work, self._stages.path(stage)
        if self._stages.is_made(stage):
            return Model.load(path / make.MODEL, n_threads=work.n_threads)
        factors, store, pipeline = self.factors(), work.store(), self.pipeline(row)
        row = self._chosen(row)
        with self._stages.making(stage):
            return make.make_model(
                path,
                row,
                stage.settings["random_state"],
                factors,
                store,
                pipeline,
                work.config,
                work.n_threads,
                under(self._stages.report, stage.label),
            )


def _read_tuned(path: Path) -> dict[str, Any]:
    """Return the settings that a stage has chosen; lists of JSON are tuples."""
    found = json.loads((path / _TUNED).read_text("utf-8"))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
