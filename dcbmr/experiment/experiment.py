"""One configuration in, the paper's table out: the public commands' code, in order, resumable.

A directory holds the stages of all its experiments, ``stages/NAME-DIGEST`` (:mod:`dcbmr.experiment.cache`),
and a folder for each experiment: ``results.json``, ``report.html``, and links to what its stages made. What
is there is not made again; what was made goes on in memory: only what an earlier run left is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from dcbmr.base.directory import FORMATS, kind_of, read_config, refuse_existing, write_config, write_json
from dcbmr.base.progress import Progress
from dcbmr.base.text import text_table
from dcbmr.base.usage import Usage
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import RESULTS
from dcbmr.evaluation.table import shown_rows, who_was_ranked
from dcbmr.experiment import stages as make
from dcbmr.experiment.cache import Stages
from dcbmr.experiment.config import ExperimentConfig
from dcbmr.experiment.plan import Plan
from dcbmr.experiment.pooled import table_of
from dcbmr.experiment.reading import read_experiment
from dcbmr.experiment.work import Work, WorkOfFold

KIND = "experiment"
VERSION = FORMATS[KIND]
WORLD = "world"  # of results: a link to the synthesized files, where there are any
_STAGES = "stages"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
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

    def __repr__(self) -> str:
        return f"Experiment(rows={list(self.models)}, n_evaluations={len(self.evaluations)})"

    @property
    def evaluation(self) -> Evaluation:
        """That of the first fold and seed."""
        return self.evaluations[0]

    def table(self) -> str:
        """Return the rows as a table for people, and in words what they mean."""
        rows = self.results["rows"]
        return "\n".join([text_table(shown_rows(rows)), "", who_was_ranked(rows), *self.results["words"]])


def plan_experiment(
    config: ExperimentConfig | str | Path, directory: str | Path
) -> list[tuple[str, str | None]]:
    """Return the stages that an experiment takes, and why each has to be made: None where it is there.

    Parameters
    ----------
    config, directory
        As of :func:`run_experiment`.
    """
    plan = Plan(_read(config), Stages(Path(directory) / _STAGES))
    missing: set[str] = set()
    found = []
    for stage in plan:
        why = plan.why(stage, missing)
        if why is not None:
            missing.add(stage.digest)
        found.append((stage.label, why))
    return found


def run_experiment(
    config: ExperimentConfig | str | Path,
    directory: str | Path,
    *,
    name: str | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Split, factorize, featurize, train every row and evaluate: whatever of it is not there.

    Parameters
    ----------
    config : path or ExperimentConfig
        A CONFIG.toml, or what :func:`dcbmr.read_experiment` has read.
    directory : path
        Where everything is written; other experiments may be there, and share what they agree on.
    name : str, optional
        Of the folder in it for the results: by default that of the file without its ending. Of a
        configuration that was read, or if it is empty, they lie in ``directory`` itself.
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
    name = name if name is not None else "" if isinstance(config, ExperimentConfig) else Path(config).stem
    config = _read(config)
    if kind_of(directory) == KIND:
        read_config(directory, kind=KIND, version=VERSION, remedy="give another directory")
    else:
        refuse_existing(directory, kind=KIND, overwrite=True)
        directory.mkdir(parents=True, exist_ok=True)
        write_config(directory, kind=KIND, config={}, version=VERSION)
    work = Work(config, Stages(directory / _STAGES, progress), n_threads)
    of_folds, tuned = [], []
    for fold in map(partial(WorkOfFold, work), work.plan.folds):
        of_folds.append(fold.evaluations())
        tuned.append((fold.tuned(), fold.chosen()))
    experiment = _put_together(work, of_folds, tuned)
    out = directory / name
    out.mkdir(exist_ok=True)
    if not results_are(out, experiment.results):  # what follows from them stays
        write_json(out / RESULTS, experiment.results)
    _link(out, work)
    return experiment


def results_are(out: Path, wanted: Mapping[str, Any]) -> bool:
    """Say whether a folder holds results, and what is wanted of them."""
    try:
        found = json.loads((out / RESULTS).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return all(found.get(name) == value for name, value in json.loads(json.dumps(wanted)).items())


def _read(config: ExperimentConfig | str | Path) -> ExperimentConfig:
    return config if isinstance(config, ExperimentConfig) else read_experiment(config)


def _put_together(
    work: Work, of_folds: list[list[Evaluation]], tuned: list[tuple[dict[str, Any], dict[str, Any]]]
) -> Experiment:
    """Return what was found, of all folds and seeds."""
    plan, stages, config = work.plan, work.stages, work.config
    usage: dict[str, Usage] = {}
    for stage in plan:
        usage[stage.label] = usage.get(stage.label, Usage()) + stages.usage(stage)
    first = plan.folds[0]
    models = {row.name: stages.path(first.model(row, 0)) for row in config.rows}
    of_rows = {
        row.name: sum(stages.usage(model).seconds for fold in plan.folds for model in fold.models[row.name])
        for row in config.rows
    }
    words = next(iter(first.words.values()), None)
    results = {
        **table_of(of_folds, of_rows, config, stages.report),
        "settings": config.as_dict(),
        "tuned": [settings for settings, _ in tuned if settings],
        "tuned_rows": [rows for _, rows in tuned if rows],
        "n_words": None if words is None else make.read_words(stages.path(words)).n_words,
        "validation_map_by_n_words": {}
        if words is None
        else make.validation_map_of_words(stages.path(words)),
        **{of.name: {label: getattr(took, of.name) for label, took in usage.items()} for of in fields(Usage)},
        "peak_memory_mib": max(took.memory_mib for took in usage.values()),
    }
    return Experiment(
        config=config,
        results=results,
        evaluations=[evaluation for evaluations in of_folds for evaluation in evaluations],
        models={name: path / make.MODEL for name, path in models.items()},
        curves={name: make.read_curve(path) for name, path in models.items()},
    )


def _link(out: Path, work: Work) -> None:
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
