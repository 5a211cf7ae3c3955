"""One configuration in, the paper's table out: the public commands' code, in order, resumable.

A directory holds what the commands would have written: ``split``, ``factors``, ``all-factors`` (of all plays,
for the upper bound alone), ``features``, ``models/<name>``, and at the end ``results.json``. What is there
and whole is not made again. What was made goes on in memory: only what an earlier run left is read.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.directory import (
    HEADER,
    checkpoint_of,
    kind_of,
    new_directory,
    read_config,
    refuse_existing,
    write_config,
    write_json,
)
from dcbmr.base.progress import Progress, under
from dcbmr.base.settings import check_settings
from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, SongFeatures
from dcbmr.datasets.world import World, WorldSettings
from dcbmr.errors import InputError
from dcbmr.evaluation.evaluation import Evaluation, evaluate_models
from dcbmr.factorization.als import WeightedALS
from dcbmr.factorization.factors import Factors
from dcbmr.features.featurize import featurize
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.training import factor_target, train, training_songs
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import read_songs
from dcbmr.plays.split import Split, split_plays
from dcbmr.ranking.metrics import evaluate_ranking

KIND = "experiment"
_VERSION = 2
RESULTS = "results.json"


@dataclass(frozen=True)
class Row:
    """One trained row of the table: which regressor, with which objective and parameters."""

    name: str
    regressor: str
    loss: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


PAPER_ROWS = (
    Row("mlr", "mlr"),
    Row("linear", "linear", "mse"),
    Row("mlp", "mlp", "mse"),
    Row("cnn-mse", "cnn", "mse"),
    Row("cnn-wpe", "cnn", "wpe"),
)


@dataclass(frozen=True)
class ExperimentSettings:
    """Everything that the table depends on, beside the plays and the audio.

    Attributes
    ----------
    rows : tuple of Row
        What to train.
    n_factors, n_iterations : int
    regularization : float
        Of the factorization; see :class:`dcbmr.WeightedALS`.
    n_words : tuple of int
        Sizes of the codebook. Of several the one is taken whose linear regression, learned without the
        validation songs, ranks these best.
    heldout_fraction : float
        Share of the songs that are held out, by artist.
    validation_fraction : float
        Share of the training songs for early stopping and choice, by artist.
    k : int
        How deep a ranking the mean average precision looks at.
    random_state : int
        Seed of everything.
    """

    rows: tuple[Row, ...] = PAPER_ROWS
    n_factors: int = 50
    n_iterations: int = 15
    regularization: float = 1e-5
    n_words: tuple[int, ...] = (4000,)
    heldout_fraction: float = 0.2
    validation_fraction: float = 0.1
    k: int = 500
    random_state: int = 0

    @property
    def figure(self) -> str:
        """What the mean average precision is called in a row of the table."""
        return f"map_at_{self.k}"


@dataclass(frozen=True, eq=False)
class Experiment:
    """What an experiment found; its directory holds it, too.

    Attributes
    ----------
    settings : ExperimentSettings
    results : dict
        What ``results.json`` holds: rows (model, loss, map_at_``k``, auc, lift, over_linear, n_users,
        n_songs, seconds of training), settings, seconds of each stage, n_words, the validation mAP of each
        size of codebook tried, peak_memory_mib. ``lift`` is the mAP over that of random scores,
        ``over_linear`` is (mAP - random) / (mAP of linear - random).
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


# Chosen on validation songs of worlds with other seeds; see benchmarks/README.md.
_DEMO_FACTORS: dict[str, Any] = {"n_factors": 12, "regularization": 100.0}
# Networks that learn within seconds on two cores: few filters, since what they shall hear is simple.
_DEMO_CNN: dict[str, Any] = {"channels": (16, 32), "epochs": 40, "learning_rate": 3e-3}
_DEMO_PARAMS: dict[str, dict[str, Any]] = {
    "cnn-mse": _DEMO_CNN,
    "cnn-wpe": {**_DEMO_CNN, "learning_rate": 1e-3},
}
_SMALL_PARAMS: dict[str, dict[str, Any]] = {
    "mlp": {"epochs": 10},
    "cnn-mse": {**_DEMO_CNN, "epochs": 2},
    "cnn-wpe": {**_DEMO_CNN, "epochs": 2},
}


def demo_settings(
    size: str = "default", *, share: float | None = None, random_state: int = 0
) -> tuple[WorldSettings, ExperimentSettings]:
    """Return the settings of the demo, "default" or "small"; None leaves the share as it is."""
    chosen: dict[str, Any] = {"random_state": random_state} | ({} if share is None else {"share": share})
    if size not in ("default", "small"):
        raise InputError(f"size must be 'default' or 'small'; got {size!r}")
    if size == "small":
        chosen |= {"n_songs": 240, "n_artists": 60, "n_users": 200, "mean_songs": 20}
    params = _DEMO_PARAMS if size == "default" else _SMALL_PARAMS
    return WorldSettings(**chosen), ExperimentSettings(
        rows=tuple(replace(row, params=params.get(row.name, {})) for row in PAPER_ROWS),
        n_words=(250, 500) if size == "default" else (100,),
        random_state=random_state,
        **_DEMO_FACTORS,
    )


def demo_record(world: WorldSettings, settings: ExperimentSettings) -> dict[str, Any]:
    """Return what ``config.json`` of a demo records."""
    return {"world": asdict(world), **asdict(settings)}


def run_demo(
    directory: Path,
    world: WorldSettings,
    settings: ExperimentSettings,
    *,
    n_threads: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Experiment:
    """Make the embedded world and run the experiment on it; see :func:`run_experiment`."""
    directory = Path(directory)
    for row in settings.rows:  # rather now than after minutes
        registry.resolve(registry.find_regressor(row.regressor))
    prepare(directory, demo_record(world, settings), overwrite=overwrite, resume=resume)
    run = _Run(directory, progress)
    with run.stage("synthesize"):
        made = directory / "world" / "made"
        if not made.exists():
            World(world).write(
                directory / "world",
                n_threads=n_threads,
                progress=run.report,
            )
            made.touch()
    return run_experiment(
        directory / "world" / "plays.parquet",
        directory / "world" / "audio",
        directory,
        settings,
        songs=directory / "world" / "songs.tsv",
        n_threads=n_threads,
        progress=progress,
        about={"world": asdict(world)},
    )


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
    run = _Run(directory, progress)
    table = PlayCounts.read(plays)
    artists = read_songs(songs).artist_of() if songs else None
    with run.stage("split"):
        split = _split(table, artists, directory / "split", settings)
    with run.stage("factorize"):
        factors = _factorize(split, directory / "factors", settings, n_threads, run)
        everything = _factorize(table, directory / "all-factors", settings, n_threads, run)
    features = directory / "features"
    with run.stage("featurize"):
        featurize(audio, features, n_threads=n_threads, resume=features.exists(), progress=run.report)
    store = FeatureStore.open(features)
    with run.stage("codebook"):
        pipeline, words = _bag_of_words(factors, store, artists, directory, settings, n_threads, run)
    pipelines = {pipeline.kind: pipeline}
    models, curves = {}, {}
    for row in settings.rows:
        with run.stage(row.name):
            models[row.name], curves[row.name] = _train(
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


class _Run:
    """Where an experiment is: its directory, the time that each stage took, and who wants to know."""

    def __init__(self, directory: Path, progress: Progress | None) -> None:
        self.directory = directory
        self._file = directory / "seconds.json"
        self._progress = progress
        self.seconds: dict[str, float] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def report(self, stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
        if self._progress is not None:
            self._progress(stage, step, n_steps, figures)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what an interrupted one took counts, too."""
        self.report(name, 0, None, {})
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0) + time.perf_counter() - began, 3)
            write_json(self._file, self.seconds)
        self.report(name, 1, 1, {})


def _split(
    plays: PlayCounts, artists: Mapping[str, str] | None, path: Path, settings: ExperimentSettings
) -> Split:
    split = split_plays(
        plays,
        by="artist" if artists else "song",
        artists=artists,
        fraction=settings.heldout_fraction,
        random_state=settings.random_state,
    )
    if not path.exists():
        split.save(path)
    return split


def _factorize(
    plays: PlayCounts | Split,
    path: Path,
    settings: ExperimentSettings,
    n_threads: int | None,
    run: _Run,
) -> Factors:
    if path.exists():
        return Factors.load(path)
    als = WeightedALS(
        n_factors=settings.n_factors,
        n_iterations=settings.n_iterations,
        regularization=settings.regularization,
        random_state=settings.random_state,
        n_threads=n_threads,
    )
    als.fit(plays, progress=run.report).factors_.save(path)
    return als.factors_


def _bag_of_words(
    factors: Factors,
    features: FeatureStore,
    artists: Mapping[str, str] | None,
    directory: Path,
    settings: ExperimentSettings,
    n_threads: int | None,
    run: _Run,
) -> tuple[FeaturePipeline, dict[str, float]]:
    """Return the codebook and the PCA of the training songs, and the validation mAP of each size tried."""
    path = directory / "bag-of-words"
    if path.exists():
        config = read_config(path, kind="bag of words")
        return FeaturePipeline.load(path / "pipeline", n_threads=n_threads), config["validation_map"]
    store = features["mfcc"]
    songs = training_songs(factors, store).song_ids
    frames = store.features(songs)
    target = factor_target(
        factors,
        songs,
        artists=artists,
        validation_fraction=settings.validation_fraction,
        random_state=settings.random_state,
    )
    if len(settings.n_words) > 1 and not target.validation.any():
        raise InputError(
            f"no songs are set aside to choose one of the sizes of codebook {settings.n_words} by: give a "
            "single one, or a larger validation_fraction"
        )
    tried: dict[int, tuple[float | None, FeaturePipeline]] = {}
    for n_words in settings.n_words:
        pipeline = FeaturePipeline(
            "bow_pca", n_words=n_words, n_threads=n_threads, random_state=settings.random_state
        )

        def show(
            what: str, step: int, n_steps: int | None, _: Mapping[str, float], n_words: int = n_words
        ) -> None:
            run.report("codebook", step, n_steps, {f"{what}, words": n_words})

        vectors = pipeline.fit_transform(frames, progress=show)
        tried[n_words] = (_validation_map(vectors, target, settings.k), pipeline)
    best = max(tried, key=lambda n_words: tried[n_words][0] or 0)
    figures = {str(n_words): round(figure, 6) for n_words, (figure, _) in tried.items() if figure is not None}
    with new_directory(path, kind="bag of words", config={"validation_map": figures}) as beside:
        tried[best][1].save(beside / "pipeline")
    return tried[best][1], figures


def _validation_map(vectors: SongFeatures, target: FactorTarget, k: int) -> float | None:
    """Return the mAP on the validation songs, if any, of linear regression that did not learn from them."""
    learn, judge = np.flatnonzero(~target.validation), np.flatnonzero(target.validation)
    if len(judge) == 0:
        return None
    matrix = np.asarray(vectors.vectors())

    def chosen(songs: NDArray[np.int64]) -> VectorFeatures:
        return VectorFeatures("bow_pca", [vectors.song_ids[i] for i in songs.tolist()], matrix[songs])

    linear = registry.get_regressor("linear").fit(
        chosen(learn),
        FactorTarget(
            song_factors=target.song_factors[learn],
            user_factors=target.user_factors,
            surplus=target.surplus[learn],
            groups=None if target.groups is None else target.groups[learn],
            validation=np.zeros(len(learn), bool),
        ),
    )
    predicted = linear.predict(chosen(judge))
    return evaluate_ranking(target.user_factors, predicted, target.surplus[judge].T.tocsr(), k=k).map_at_k


def _train(
    row: Row,
    factors: Factors,
    features: FeatureStore,
    artists: Mapping[str, str] | None,
    pipelines: dict[str, FeaturePipeline],
    settings: ExperimentSettings,
    n_threads: int | None,
    run: _Run,
) -> tuple[Model, list[dict[str, Any]]]:
    """Train a row unless it is there; return it with what its fit reported.

    ``pipelines`` are by kind, one for all rows: what one row had to prepare is there for the next.
    """
    path = run.directory / "models" / row.name
    curve_file = run.directory / "curves" / f"{row.name}.jsonl"
    kind = registry.find_regressor(row.regressor).kind
    if path.exists():
        return Model.load(path, n_threads=n_threads), _read_curve(curve_file)
    checkpoint = checkpoint_of(path)
    curve = _read_curve(curve_file) if checkpoint.exists() else []
    curve_file.parent.mkdir(exist_ok=True)
    n_words = pipelines["bow_pca"].n_words
    new = FeaturePipeline(kind, n_words=n_words, n_threads=n_threads, random_state=settings.random_state)
    with curve_file.open("w", encoding="utf-8") as log:

        def write(entry: Mapping[str, Any]) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()

        def report(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            curve.append({"stage": stage, "step": step, "n_steps": n_steps, **figures})
            write(curve[-1])
            run.report(row.name, step, n_steps, figures)

        for entry in curve:  # once more: whoever was killed may have left half a line behind them
            write(entry)
        model = train(
            factors,
            features,
            regressor=row.regressor,
            params=row.params,
            loss=row.loss,
            artists=artists,
            pipeline=pipelines.setdefault(kind, new),
            validation_fraction=settings.validation_fraction,
            checkpoint=checkpoint,
            resume=checkpoint.exists(),
            n_threads=n_threads,
            random_state=settings.random_state,
            progress=report,
        )
    model.save(path)
    shutil.rmtree(checkpoint, ignore_errors=True)
    if not curve:
        curve_file.unlink()
        with suppress(OSError):  # others have curves
            curve_file.parent.rmdir()
    return model, curve


def _read_curve(file: Path) -> list[dict[str, Any]]:
    """Return what a fit reported, an entry a line; a last line without its end is none."""
    if not file.exists():
        return []
    *lines, _ = file.read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines]


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
