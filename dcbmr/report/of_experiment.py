"""The page of an experiment, from the folder of its results."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dcbmr.base.directory import kind_of
from dcbmr.base.progress import Progress
from dcbmr.datasets.world import World, WorldSettings
from dcbmr.errors import InputError
from dcbmr.evaluation.groups import By, rows_by_group
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.results import RESULTS, read_results
from dcbmr.evaluation.rows import BOUND
from dcbmr.experiment import stages
from dcbmr.experiment.experiment import KIND, WORLD
from dcbmr.experiment.initial import as_toml
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.plays.split import Split
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report.factor_ends import factor_ends
from dcbmr.report.hearing import listen, store_with, why_not
from dcbmr.report.page import Page, Stage
from dcbmr.report.song_map import Measure, map_songs
from dcbmr.report.sources import Sources

_CURVE = "validation_map"
_BASELINE = "linear"
_GROUPS: tuple[By, ...] = ("popularity", "activity")


def is_experiment(directory: Path) -> bool:
    """Say whether a folder holds the results of an experiment or a demo."""
    return (directory / RESULTS).is_file() and bool(list(_within(directory).glob("evaluation*")))


def page_of_experiment(
    directory: Path,
    sources: Sources,
    *,
    title: str = "",
    about: str = "",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Page:
    """Return the page of an experiment.

    Parameters
    ----------
    directory : path
        The folder with its results.json, as ``dcbmr experiment`` and ``dcbmr demo`` write it.
    sources : Sources
        What is given beside it; what is not, is as the experiment had it.
    title, about : str
        See :class:`Page`; the folder's name by default.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of each step; it may raise to stop.

    Raises
    ------
    InputError
        The folder holds no results, or what they were made of is gone.
    """
    results, within = read_results(directory), _within(directory)
    evaluation = _evaluation(within)
    settings = results.settings
    report_again = shlex.join(["dcbmr", "report", str(directory), *sources.flags()])
    sources = sources.or_else(_data_of(directory, settings))
    split = Split.load(within / "split")
    songs, candidates = sources.song_table(split.songs), evaluation.candidates.song_ids
    models = _models(within, evaluation, n_threads)

    def recommender(name: str) -> Recommender:
        known = Recommender.from_model(models[name], n_threads=n_threads)
        return known.with_songs(candidates, evaluation.predictions[name])

    recommenders = {name: recommender(name) for name in _shown(models)}
    first = next(iter(recommenders))
    ids = recommenders[first].song_ids
    labels = World(WorldSettings(**settings["world"])).labels() if "world" in settings else None
    artists = None if evaluation.artists is None else dict(zip(candidates, evaluation.artists, strict=True))
    song_map = map_songs(
        recommenders,
        songs=songs,
        artists=artists,
        tags=sources.song_tags(),
        labels=labels,
        measures=[_listeners(recommenders[first], evaluation, first), _error(ids, evaluation, first)],
        audio=sources.audio_urls(_cold_first(recommenders[first]), progress),
        random_state=sources.random_state,
        n_threads=n_threads,
        progress=progress,
    )
    hears = next((name for name, model in models.items() if not why_not(model)), None)
    hearing = None
    if hears is not None and (store := store_with(models[hears], _stores(directory, settings))):
        placed = recommenders[hears] if hears in recommenders else recommender(hears)
        hearing = listen(
            hears, models[hears], store, placed, song_map, sources, n_threads=n_threads, progress=progress
        )
    shown = replace(evaluation, reports={name: evaluation.reports[name] for name in _grouped(evaluation)})
    ends = factor_ends(recommenders[first].song_factors, song_map.names, song_map.labels)
    return Page(
        title=title or directory.resolve().name,
        about=about,
        commands=[_command(directory), report_again],
        config=f"# {_config_name(directory)}\n{as_toml(settings)}",
        songs=song_map,
        factors=ends,
        hearing=hearing,
        no_hearing="" if hears is not None else why_not(models[first]),
        songs_about="Songs of training lie where their listeners put them; the songs held out, where "
        f"{first} predicts them to lie from what it was told of them alone." + _of_which_fold(directory),
        rows=results.rows,
        words=results.words,
        curves=_curves(within, evaluation),
        groups={by: rows_by_group(shown, split, by) for by in _GROUPS},
        stages=_stages(results.content),
        settings=settings,
    )


def _grouped(evaluation: Evaluation) -> list[str]:
    """Return the rows that are shown by groups: the models, and what audio cannot surpass."""
    return [*evaluation.predictions, *([BOUND] if BOUND in evaluation.reports else [])]


def _stages(content: Mapping[str, Any]) -> list[Stage]:
    processor, memory = (content.get(name, {}) for name in ("processor_seconds", "memory_mib"))
    return [
        Stage(name, seconds, processor.get(name), memory.get(name))
        for name, seconds in content.get("seconds", {}).items()
    ]


def _within(directory: Path) -> Path:
    """Return the folder of the first fold."""
    first = directory / "fold-1"
    return first if first.is_dir() else directory


def _of_which_fold(directory: Path) -> str:
    n_folds = len(list(directory.glob("fold-*")))
    if not n_folds:
        return ""
    return f" The table is of all {n_folds} folds; the map, the factors and the groups are of the first."


def _config_name(directory: Path) -> str:
    return f"{directory.resolve().name}.toml"


def _command(directory: Path) -> str:
    """Return what makes the experiment: from its stages, where they are there."""
    stages_too = kind_of(directory) == KIND  # as the demo's, whose results lie beside its stages
    output = directory if stages_too else directory.parent
    return shlex.join(["dcbmr", "experiment", _config_name(directory), "-o", os.fspath(output)])


def _evaluation(within: Path) -> Evaluation:
    """Return the evaluation of the first seed, with what was predicted."""
    link = next((within / name for name in ("evaluation", "evaluation-1") if (within / name).exists()), None)
    if link is None:
        raise InputError(
            f"{within} has no evaluation, or a link to one that is gone; wanted the folder of an experiment "
            "with its stages: dcbmr experiment CONFIG.toml -o DIR makes them again"
        )
    return stages.read_evaluation(link.resolve().parent)


def _model(within: Path, name: str) -> Path:
    """Return the model of a row, of its first seed."""
    seeds = sorted((within / "models").glob(f"{name}-seed-*"))
    return within / "models" / name if (within / "models" / name).exists() or not seeds else seeds[0]


def _models(within: Path, evaluation: Evaluation, n_threads: int | None) -> dict[str, Model]:
    """Return the models, the best first, of those whose space has songs of training before the others."""
    models = {name: Model.load(_model(within, name), n_threads=n_threads) for name in evaluation.predictions}
    best_first = sorted(
        models, key=lambda name: (models[name].spec.has_users, -evaluation.reports[name].map_at_k)
    )
    return {name: models[name] for name in best_first}


def _shown(models: Iterable[str]) -> list[str]:
    """Return the best model, and the baseline or what is next."""
    best, *others = models
    return [best, *([name for name in others if name == _BASELINE] or others)[:1]]


def _stores(directory: Path, settings: Mapping[str, Any]) -> Iterator[FeatureStore]:
    """Yield the features that the experiment made, and those that it was given."""
    given = settings.get("data", {}).get("features")
    for path in [*sorted(directory.glob("features*")), *([Path(given)] if given else [])]:
        with suppress(InputError):  # gone, or no store
            yield FeatureStore.open(path)


def _data_of(directory: Path, settings: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that the experiment was told of, or that its world has."""
    world = directory / WORLD
    if "world" in settings:
        return {"songs": world / "songs.tsv", "audio": world / "audio"}
    data = settings.get("data", {})
    return {name: Path(data[name]) for name in ("songs", "tags", "audio") if data.get(name)}


def _cold_first(recommender: Recommender) -> list[str]:
    order = np.argsort(~recommender.is_predicted, kind="stable")
    return [recommender.song_ids[row] for row in order]


def _listeners(recommender: Recommender, evaluation: Evaluation, model: str) -> Measure:
    """Return how many users played each song: in training, and of the songs held out among them all."""
    n = recommender.n_listeners.astype(np.float32)
    ranks = evaluation.reports[model].ranks
    heldout = np.bincount(ranks.songs, minlength=len(evaluation.candidates.song_ids))
    n[[recommender.row_of_song[song] for song in evaluation.candidates.song_ids]] = heldout
    return Measure("listeners", "users who play it", n)


def _error(ids: list[str], evaluation: Evaluation, model: str) -> Measure:
    """Return of each song held out the part of the others that are ranked before it, for its listeners."""
    report = evaluation.reports[model]
    ranks = report.ranks
    others = (ranks.n_candidates - ranks.n_heldout)[ranks.users]
    before = (ranks.above + ranks.level / 2) / np.maximum(others, 1)
    n_songs = len(evaluation.candidates.song_ids)
    n = np.bincount(ranks.songs, minlength=n_songs)
    mean = np.bincount(ranks.songs, before, n_songs) / np.where(n, n, np.nan)
    of = dict(zip(evaluation.candidates.song_ids, mean.tolist(), strict=True))
    meaning = f"part of the other songs that {model} ranks before it for those who play it; 0.5 is chance"
    return Measure("error", meaning, np.array([of.get(song, np.nan) for song in ids], np.float32))


def _curves(within: Path, evaluation: Evaluation) -> dict[str, list[tuple[float, float]]]:
    """Return the validation mAP over the course of each training that reported one."""
    curves = {}
    for name in evaluation.predictions:
        entries = stages.read_curve(_model(within, name).resolve().parent)
        # By step: an epoch that was cut short and done again counts as it was at last.
        points = {e["step"] / e["n_steps"]: e[_CURVE] for e in entries if _CURVE in e and e["n_steps"]}
        if len(points) > 1:
            curves[name] = sorted(points.items())
    return curves
