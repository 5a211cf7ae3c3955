"""One configuration in, the paper's table out: the public commands' code, in order, resumable.

A directory holds the stages of all its experiments, ``stages/NAME-DIGEST`` (:mod:`dcbmr.experiment.cache`),
and a folder for each experiment: ``results.json``, ``report.html``, and links to what its stages made. What
is there is not made again; what was made goes on in memory: only what an earlier run left is read.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from dcbmr.base.directory import kind_of, read_config, refuse_existing, write_config, write_json
from dcbmr.base.progress import Progress, under
from dcbmr.datasets.world import World
from dcbmr.evaluation.evaluation import evaluate_models
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import RESULTS
from dcbmr.experiment import stages as make
from dcbmr.experiment.cache import Stage, Stages
from dcbmr.experiment.config import ExperimentConfig, Row
from dcbmr.experiment.plan import Fold, Plan
from dcbmr.experiment.pooled import table_of
from dcbmr.experiment.tune import tune_factorization
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

KIND = "experiment"
VERSION = 3
WORLD = "world"  # of results: a link to the synthesized files, where there are any
_STAGES, _TUNED = "stages", "tuned.json"


@dataclass(frozen=True, eq=False)
class Experiment:
    """What an experiment found; its directory holds it, too.

    Attributes
    ----------
    config : ExperimentConfig
    results : dict
        What ``results.json`` holds: see :mod:`dcbmr.evaluation.results`.
    evaluations : list of Evaluation
        Of each fold and seed: the models on the held-out songs, and what they predicted for these.
    models : dict of str to path
        Where the model of each row lies, of the first fold and seed.
    curves : dict of str to list of dict
        What each of their fits reported as it went on: stage, step, n_steps and the figures by name.
    """

    config: ExperimentConfig
    results: dict[str, Any]
    evaluations: list[Evaluation]
    models: dict[str, Path]
    curves: dict[str, make.Curve]

    @property
    def evaluation(self) -> Evaluation:
        """That of the first fold and seed."""
        return self.evaluations[0]


def plan_experiment(config: ExperimentConfig, directory: str | Path) -> list[tuple[str, str | None]]:
    """Return the stages that an experiment takes, and why each has to be made: None where it is there.

    Parameters
    ----------
    config : ExperimentConfig
    directory : path
        Where it is to be written; see :func:`run_experiment`.
    """
    plan = Plan(config, Stages(Path(directory) / _STAGES))
    missing: set[str] = set()
    found = []
    for stage in plan:
        why = plan.why(stage, missing)
        if why is not None:
            missing.add(stage.digest)
        found.append((stage.label, why))
    return found


def run_experiment(
    config: ExperimentConfig,
    directory: str | Path,
    *,
    name: str = "",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Split, factorize, featurize, train every row and evaluate: whatever of it is not there.

    Parameters
    ----------
    config : ExperimentConfig
        See :func:`dcbmr.experiment.reading.read_config`.
    directory : path
        Where everything is written; other experiments may be there, and share what they agree on.
    name : str
        Of the folder in it for the results; none where they are to lie in ``directory`` itself.
    n_threads : int, optional
        None for every core.
    progress : Progress, optional
        Told of every stage that is made; it may raise to stop.

    Returns
    -------
    Experiment

    Raises
    ------
    InputError
        The directory holds something else; a stage's files were changed; files that do not go together.
    """
    directory = Path(directory)
    if kind_of(directory) == KIND:
        read_config(directory, kind=KIND, version=VERSION, remedy="give another directory")
    else:
        refuse_existing(directory, kind=KIND, overwrite=True)
        directory.mkdir(parents=True, exist_ok=True)
        write_config(directory, kind=KIND, config={}, version=VERSION)
    work = _Work(config, Stages(directory / _STAGES, progress), n_threads)
    of_folds, tuned = [], []
    for fold in map(partial(_OfFold, work), work.plan.folds):
        of_folds.append(fold.evaluations())
        tuned.append(fold.tuned())
    experiment = _put_together(work, of_folds, tuned)
    out = directory / name
    out.mkdir(exist_ok=True)
    write_json(out / RESULTS, experiment.results)
    _link(out, work)
    return experiment


class _Work:
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
        used = {kind for row in self.config.rows for kind in self.plan.kinds_of(row)}
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
                    progress=under(self.stages.report, stage.label),
                )
                (directory / "audio.txt").write_text(self.plan.audio_checksum)
        return FeatureStore.open(path)


class _OfFold:
    """The work on one fold."""

    def __init__(self, work: _Work, fold: Fold) -> None:
        self._work, self._fold, self._stages = work, fold, work.stages
        self.split = cache(self._split)
        self.tuned = cache(self._tuned)
        self.factors = cache(self._factors)
        self.words = cache(self._words)
        self._models: dict[str, Model] = {}

    def evaluations(self) -> list[Evaluation]:
        """Evaluate the rows of each seed, after all is made that it takes."""
        return [self._evaluation(seed) for seed in range(len(self._fold.evaluations))]

    def _evaluation(self, seed: int) -> Evaluation:
        stage, work = self._fold.evaluations[seed], self._work
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

    def _split(self) -> Split:
        stage, work = self._fold.split, self._work
        if self._stages.is_made(stage):
            return Split.load(self._stages.path(stage) / make.SPLIT)
        plays, songs = work.plays(), work.songs()
        make.check_ids(plays, songs, work.plan.data)
        with self._stages.making(stage) as path:
            return make.make_split(path, plays, songs, work.config, work.plan.data, self._fold.number)

    def _factors(self) -> Factors:
        return self._work.factors(self._fold.factors, self.split, self.tuned)

    def _tuned(self) -> dict[str, Any]:
        """Choose settings of the factorization, if that is wanted."""
        stage, work = self._fold.tune, self._work
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
        settings: dict[str, Any] = json.loads((path / _TUNED).read_text("utf-8"))
        return settings

    def _words(self, kind: str) -> FeaturePipeline:
        stage, work = self._fold.words[kind], self._work
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

    def _model(self, row: Row, stage: Stage) -> Model:
        if stage.digest not in self._models:
            self._models[stage.digest] = self._trained(row, stage)
        return self._models[stage.digest]

    def _trained(self, row: Row, stage: Stage) -> Model:
        work, path = self._work, self._stages.path(stage)
        if self._stages.is_made(stage):
            return Model.load(path / make.MODEL, n_threads=work.n_threads)
        factors, store, pipeline = self.factors(), work.store(), self._pipeline(row)
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

    def _pipeline(self, row: Row) -> make.Pipeline:
        """Return what makes the features of a row: what was learned already is taken over."""
        parts = [
            self.words(kind)
            if kind in self._fold.words
            else FeaturePipeline(kind, n_threads=self._work.n_threads)
            for kind in self._work.plan.kinds_of(row)
        ]
        return parts[0] if len(parts) == 1 else JoinedPipeline(parts)


def _put_together(work: _Work, of_folds: list[list[Evaluation]], tuned: list[dict[str, Any]]) -> Experiment:
    """Return what was found, of all folds and seeds."""
    plan, stages, config = work.plan, work.stages, work.config
    seconds = {stage.label: stages.seconds(stage) or 0.0 for stage in plan}
    first = plan.folds[0]
    models = {row.name: stages.path(first.model(row, 0)) for row in config.rows}
    of_rows = {
        row.name: sum(stages.seconds(model) or 0.0 for fold in plan.folds for model in fold.models[row.name])
        for row in config.rows
    }
    words = next(iter(first.words.values()), None)
    results = {
        **table_of(of_folds, of_rows, config, stages.report),
        "settings": config.as_dict(),
        "tuned": [settings for settings in tuned if settings],
        "n_words": None if words is None else make.read_words(stages.path(words)).n_words,
        "validation_map_by_n_words": {}
        if words is None
        else make.validation_map_of_words(stages.path(words)),
        "seconds": seconds,
        "peak_memory_mib": round(_peak_memory_mib()),
    }
    return Experiment(
        config,
        results,
        [evaluation for evaluations in of_folds for evaluation in evaluations],
        {name: path / make.MODEL for name, path in models.items()},
        {name: make.read_curve(path) for name, path in models.items()},
    )


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _link(out: Path, work: _Work) -> None:
    """Lead from the results to what the stages made, by names that people know."""
    for old in [path for path in out.rglob("*") if path.is_symlink()]:
        if _STAGES in os.readlink(old).split(os.sep):
            old.unlink()
    path_of, plan = work.stages.path, work.plan
    for fold in plan.folds:
        within = out if len(plan.folds) == 1 else out / f"fold-{fold.number + 1}"
        targets = {"split": path_of(fold.split) / make.SPLIT, "factors": path_of(fold.factors) / make.FACTORS}
        if fold.everything is not None:
            targets["all-factors"] = path_of(fold.everything) / make.FACTORS
        targets |= {f"codebook/{kind}": path_of(stage) / make.WORDS for kind, stage in fold.words.items()}
        for row in work.config.rows:
            for seed, stage in enumerate(fold.models[row.name]):
                name = row.name if len(row.seeds) < 2 else f"{row.name}-seed-{row.seeds[seed]}"
                targets[f"models/{name}"] = path_of(stage) / make.MODEL
                targets[f"curves/{name}.jsonl"] = path_of(stage) / make.CURVE
        for seed, stage in enumerate(fold.evaluations):
            name = "evaluation" if len(fold.evaluations) == 1 else f"evaluation-{seed + 1}"
            targets[name] = path_of(stage) / make.EVALUATION
        for name, target in targets.items():
            _lead(within / name, target)
    if plan.world is not None:
        _lead(out / WORLD, path_of(plan.world))
    for number, stage in enumerate(plan.stores, 1):
        name = "features" if len(plan.stores) == 1 else f"features-{number}"
        _lead(out / name, path_of(stage) / make.FEATURES)


def _lead(link: Path, target: Path) -> None:
    if target.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent))
