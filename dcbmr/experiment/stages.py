"""The stages of an experiment, each made unless it is there: split, factors, words, models."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.directory import (
    checkpoint_of,
    new_directory,
    read_config,
    write_json,
)
from dcbmr.base.progress import Progress
from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, SongFeatures
from dcbmr.errors import InputError
from dcbmr.experiment.settings import ExperimentSettings, Row
from dcbmr.factorization.als import WeightedALS
from dcbmr.factorization.factors import Factors
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.training import factor_target, train, training_songs
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split, split_plays
from dcbmr.ranking.report import evaluate_ranking


class Run:
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


def split_stage(
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


def factorize_stage(
    plays: PlayCounts | Split,
    path: Path,
    settings: ExperimentSettings,
    n_threads: int | None,
    run: Run,
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


def words_stage(
    factors: Factors,
    features: FeatureStore,
    artists: Mapping[str, str] | None,
    directory: Path,
    settings: ExperimentSettings,
    n_threads: int | None,
    run: Run,
) -> tuple[FeaturePipeline, dict[str, float]]:
    """Return the codebook and the PCA of the training songs, and the validation mAP of each size tried."""
    path = directory / "bag-of-words"
    if path.exists():
        config = read_config(path, kind="bag of words")
        return FeaturePipeline.load(path / "pipeline", n_threads=n_threads), config["validation_map"]
    store = features["mfcc"]
    songs = training_songs(factors, store.song_ids).song_ids
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


def train_stage(
    row: Row,
    factors: Factors,
    features: FeatureStore,
    artists: Mapping[str, str] | None,
    pipelines: dict[str, FeaturePipeline],
    settings: ExperimentSettings,
    n_threads: int | None,
    run: Run,
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
