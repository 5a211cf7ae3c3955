"""One configuration in, the paper's table out: the public commands' code, in order, resumable.

A directory holds what the commands would have written: ``split``, ``factors``, ``all-factors`` (of all plays,
for the upper bound alone), ``features``, ``models/<name>``, and at the end ``results.json``. What is there
and whole is not made again. What was made goes on in memory: only what an earlier run left is read.
"""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcbmr.base.directory import (
    HEADER,
    kind_of,
    read_config,
    refuse_existing,
    write_config,
    write_json,
)
from dcbmr.base.progress import Progress, under
from dcbmr.base.settings import check_settings
from dcbmr.errors import InputError
from dcbmr.evaluation.evaluation import evaluate_models
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import RESULTS, for_json
from dcbmr.experiment.settings import ExperimentSettings
from dcbmr.experiment.stages import Run, factorize_stage, split_stage, train_stage, words_stage
from dcbmr.features.featurize import featurize
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import read_songs

KIND = "experiment"
_VERSION = 2


@dataclass(frozen=True, eq=False)
class Experiment:
    """What an experiment found; its directory holds it, too.

    Attributes
    ----------
    settings : ExperimentSettings
    results : dict
        What ``results.json`` holds: see :mod:`dcbmr.evaluation.results`.
    models : dict of str to Model
        The trained rows by name.
    evaluation : Evaluation
        The models on the held-out songs, and what they predicted for these.
    curves : dict of str to list of dict
        What each fit reported as it went on: stage, step, n_steps and the figures by name.
    artists : dict of str to str, or None
        The artist of each song, where artists are known.
    """

    settings: ExperimentSettings
    results: dict[str, Any]
    models: dict[str, Model]
    evaluation: Evaluation
    curves: dict[str, list[dict[str, Any]]]
    artists: dict[str, str] | None


def prepare(
    directory: Path, settings: Mapping[str, Any], *, overwrite: bool = False, resume: bool = False
) -> None:
    """Create the directory of an experiment, or check that one to be continued has the same settings."""
    if resume and kind_of(directory) == KIND:
        config = read_record(directory)
        check_settings(
            settings,
            {name: value for name, value in config.items() if name not in HEADER},
            f"{directory} was begun",
            remedy="give the same settings, or --overwrite to begin anew",
        )
        return
    if not overwrite and kind_of(directory) == KIND:
        raise InputError(f"{directory} exists; --resume continues it, --overwrite begins anew")
    refuse_existing(directory, kind=KIND, overwrite=overwrite or resume)
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    write_config(directory, kind=KIND, config=settings, version=_VERSION)


def read_record(directory: Path) -> dict[str, Any]:
    """Return what the ``config.json`` of an experiment records; InputError for one of an older dcbmr."""
    return read_config(directory, kind=KIND, version=_VERSION, remedy="begin anew with --overwrite")


def run_experiment(
    plays: Path,
    audio: Path,
    directory: Path,
    settings: ExperimentSettings,
    *,
    songs: Path | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
) -> Experiment:
    """Split, factorize, featurize, train every row and evaluate; whatever is in ``directory`` is kept.

    Parameters
    ----------
    plays : path
        Play counts, as :meth:`dcbmr.PlayCounts.read` takes them.
    audio : path
        A folder of audio files, or a manifest.
    directory : path
        Where everything is written; see :func:`prepare`.
    settings : ExperimentSettings
    songs : path, optional
        Table of songs: the split and the validation are then by artist.
    n_threads : int, optional
        None for every core.
    progress : Progress, optional
        Told of every stage; it may raise to stop.
    about : mapping, optional
        What else belongs to the settings in ``results.json``.

    Returns
    -------
    Experiment
    """
    directory = Path(directory)
    run = Run(directory, progress)
    table = PlayCounts.read(plays)
    artists = read_songs(songs).artist_of() if songs else None
    with run.stage("split"):
        split = split_stage(table, artists, directory / "split", settings)
    with run.stage("factorize"):
        factors = factorize_stage(split, directory / "factors", settings, n_threads, run)
        everything = factorize_stage(table, directory / "all-factors", settings, n_threads, run)
    features = directory / "features"
    with run.stage("featurize"):
        featurize(audio, features, n_threads=n_threads, resume=features.exists(), progress=run.report)
    store = FeatureStore.open(features)
    with run.stage("codebook"):
        pipeline, words = words_stage(factors, store, artists, directory, settings, n_threads, run)
    pipelines = {pipeline.kind: pipeline}
    models, curves = {}, {}
    for row in settings.rows:
        with run.stage(row.name):
            models[row.name], curves[row.name] = train_stage(
                row, factors, store, artists, pipelines, settings, n_threads, run
            )
    with run.stage("evaluate"):
        evaluation = evaluate_models(
            models,
            split,
            store,
            k=settings.k,
            upper_bound=everything,
            n_threads=n_threads,
            random_state=settings.random_state,
            progress=under(run.report, "evaluate"),
        )
    results = {
        "rows": _rows(evaluation.rows, settings.figure, run.seconds),
        "comparisons": [for_json(asdict(comparison)) for comparison in evaluation.comparisons],
        "words": evaluation.words,
        "settings": {**(about or {}), **asdict(settings)},
        "n_words": pipeline.n_words,
        "validation_map_by_n_words": words,
        "seconds": run.seconds,
        "peak_memory_mib": round(_peak_memory_mib()),
    }
    write_json(directory / RESULTS, results)
    return Experiment(settings, results, models, evaluation, curves, artists)


def _rows(
    rows: Sequence[Mapping[str, Any]], figure: str, seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the rows of the evaluation with the time of training and the lift in units of linear's."""
    by_name = {row["model"]: row[figure] for row in rows}
    luck = by_name["random (in theory)"]
    linear = by_name.get("linear", luck) - luck
    return [
        {
            **row,
            "seconds": seconds.get(row["model"]),
            "over_linear": (row[figure] - luck) / linear if linear > 0 else None,
        }
        for row in rows
    ]


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
