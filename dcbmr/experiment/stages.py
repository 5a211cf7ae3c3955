"""What each stage does: a function a stage, which fills a directory and goes on where it was stopped.

What a function returns is in memory; ``read_...`` gives the same of a stage that was made before.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.files import find_songs
from dcbmr.base.directory import checkpoint_of, naming, new_directory, read_config
from dcbmr.base.needs import Sizes, check_need, of_factorize
from dcbmr.base.progress import Progress
from dcbmr.base.tensors import load_tensors, save_tensors
from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, SongFeatures
from dcbmr.errors import InputError
from dcbmr.evaluation.kept import Evaluation
from dcbmr.experiment.config import DataSettings, ExperimentConfig
from dcbmr.experiment.rows import Row
from dcbmr.factorization.als import WeightedALS
from dcbmr.factorization.factors import Factors
from dcbmr.features.codebook import Codebook
from dcbmr.features.joined import JoinedPipeline, need_of
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.leakage import refuse_pipeline_leakage
from dcbmr.models.memory import need_of_training
from dcbmr.models.model import Model
from dcbmr.models.training import factor_target, train
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.dates import read_dates
from dcbmr.plays.first_played import first_days
from dcbmr.plays.matching import match_ids
from dcbmr.plays.songs import SongTable, read_song_list, read_songs
from dcbmr.plays.split import Split, split_after, split_folds, split_list, split_plays
from dcbmr.plays.vectors import read_vectors
from dcbmr.ranking.report import evaluate_ranking

Curve = list[dict[str, Any]]
Pipeline = FeaturePipeline | JoinedPipeline

SPLIT, FACTORS, FEATURES, WORDS, MODEL, EVALUATION = (
    "split",
    "factors",
    "features",
    "bag-of-words",
    "model",
    "evaluation",
)
CURVE, _PREDICTIONS = "curve.jsonl", "predictions"


def make_split(
    path: Path,
    plays: PlayCounts,
    songs: SongTable | None,
    config: ExperimentConfig,
    data: DataSettings,
    fold: int,
) -> Split:
    """Hold out songs, as the configuration says."""
    artists = songs.artist_of() if songs else None
    chosen, random_state = config.split, config.random_state
    if chosen.by == "time":
        assert chosen.after is not None
        split = split_after(plays, chosen.after, dates=_dates(data, chosen.dates), artists=artists)
    elif chosen.by == "list":
        split = split_list(plays, read_song_list(chosen.heldout[fold]), artists=artists)
    elif chosen.folds:
        folds = split_folds(
            plays, n_folds=chosen.folds, by=chosen.by, artists=artists, random_state=random_state
        )
        split = next(islice(folds, fold, None))
    else:
        split = split_plays(
            plays, by=chosen.by, artists=artists, fraction=chosen.fraction, random_state=random_state
        )
    split = split.named_by(songs) if songs else split
    if not (path / SPLIT).exists():
        split.save(path / SPLIT)
    return split


def _dates(data: DataSettings, where: str) -> dict[str, date]:
    """Return the date of each song: of the table of songs, or of its first play."""
    if where == "plays":
        return first_days(data.plays_source, **data.how_read)
    assert data.songs is not None
    return read_dates(data.songs)


def check_ids(plays: PlayCounts, songs: SongTable | None, data: DataSettings) -> None:
    """Compare the ids of the files with those of the plays, before any long work.

    Raises
    ------
    InputError
        Two files have no song in common; says how many each has, the first few and the likely cause.

    Warns
    -----
    UserWarning
        They share songs, and something speaks for it that they should share more.
    """
    wanted = plays.song_ids.tolist()
    for key, ids in _ids_of(songs, data):
        match = match_ids(ids, wanted)
        said = f"data.{key}: {match.words('songs with plays', 'a place there')}"
        if not match.n_matched:
            raise InputError(f"{said}; it has {', '.join(map(repr, ids[:3]))}, ...")
        if match.cause:
            warnings.warn(said, stacklevel=2)


def _ids_of(songs: SongTable | None, data: DataSettings) -> list[tuple[str, list[str]]]:
    """Return the songs that each file tells of."""
    found = [] if songs is None else [("songs", songs.song_ids)]
    if data.audio is not None:
        with find_songs(data.audio) as files:
            found.append(("audio", [song for song, _ in files]))
    if data.features is not None:
        found.append(("features", list(FeatureStore.open(data.features).song_ids)))
    for kind, path in data.vectors.items():
        found.append((f"vectors.{kind}", [song for ids, _ in read_vectors(path) for song in ids]))
    return found


def make_factors(path: Path, plays: PlayCounts | Split, als: WeightedALS, progress: Progress) -> Factors:
    if not (path / FACTORS).exists():
        counts = (plays.train if isinstance(plays, Split) else plays).counts
        check_need(of_factorize(Sizes(*counts.shape, counts.nnz, als.n_factors)), path, force=True)
        checkpoint = checkpoint_of(path / FACTORS)
        als.fit(plays, progress=progress, checkpoint=checkpoint, resume=True).factors_.save(path / FACTORS)
        shutil.rmtree(checkpoint)
        return als.factors_
    return Factors.load(path / FACTORS)


def make_words(
    path: Path,
    kind: str,
    split: Split,
    features: FeatureStore,
    factors: Factors | None,
    config: ExperimentConfig,
    n_threads: int | None,
    progress: Progress,
) -> FeaturePipeline:
    """Learn the codebook, and the PCA, of the training songs; of several sizes choose one.

    ``factors`` are needed where there are several.
    """
    if (path / WORDS).exists():
        return read_words(path, n_threads=n_threads)
    chosen, seed = config.features, config.random_state
    codebook = None if chosen.codebook is None else Codebook.load(chosen.codebook, n_threads=n_threads)
    tried: dict[int, tuple[float | None, FeaturePipeline]] = {}
    for n_words in chosen.n_words:
        pipeline = FeaturePipeline(
            kind,
            n_words=n_words,
            variance=chosen.variance,
            weighting=chosen.weighting,
            standardize=chosen.standardize,
            codebook=codebook,
            n_threads=n_threads,
            random_state=seed,
        )
        refuse_pipeline_leakage(pipeline, split.heldout_songs, "features.codebook")
        pipeline.check_store(features)
        songs = _training_songs(split.train, features[pipeline.source].song_ids)

        def show(
            what: str, step: int, n_steps: int | None, _: Mapping[str, float], n_words: int = n_words
        ) -> None:
            progress("codebook", step, n_steps, {f"{what}, words": n_words})

        vectors = pipeline.fit_transform(features[pipeline.source].features(songs), progress=show)
        tried[n_words] = (None, pipeline)
        if factors is not None:
            tried[n_words] = (_validation_map(vectors, factors, config), pipeline)
    best = max(tried, key=lambda n_words: tried[n_words][0] or 0)
    figures = {str(n_words): round(figure, 6) for n_words, (figure, _) in tried.items() if figure is not None}
    with new_directory(path / WORDS, kind="bag of words", config={"validation_map": figures}) as beside:
        tried[best][1].save(beside / "pipeline")
    return tried[best][1]


def read_words(path: Path, *, n_threads: int | None = None) -> FeaturePipeline:
    """Return the codebook, and the PCA, that a stage has made."""
    return FeaturePipeline.load(path / WORDS / "pipeline", n_threads=n_threads)


def validation_map_of_words(path: Path) -> dict[str, float]:
    """Return the validation mAP of each size of codebook that was tried, if several were."""
    found: dict[str, float] = read_config(path / WORDS, kind="bag of words")["validation_map"]
    return found


def _training_songs(train: PlayCounts, there: tuple[str, ...]) -> list[str]:
    has_plays = np.bincount(train.counts.indices, minlength=len(train.song_ids)) > 0
    with_plays = train.song_ids[has_plays].tolist()
    known = set(there)
    songs = [song for song in with_plays if song in known]
    if not songs:
        raise InputError(match_ids(list(there), with_plays).words("training songs", "features"))
    return songs


def _validation_map(vectors: SongFeatures, factors: Factors, config: ExperimentConfig) -> float:
    """Return the mAP on the validation songs of linear regression that did not learn from them."""
    target = factor_target(
        factors,
        vectors.song_ids,
        artists=factors.artists,
        validation_fraction=config.training.validation_fraction,
        random_state=config.random_state,
    )
    if not target.validation.any():
        raise InputError(
            f"no songs are set aside to choose one of the sizes of codebook {config.features.n_words} by: "
            "give a single one, or a larger validation_fraction"
        )
    learn, judge = np.flatnonzero(~target.validation), np.flatnonzero(target.validation)
    matrix = np.asarray(vectors.vectors())

    def chosen(songs: NDArray[np.int64]) -> VectorFeatures:
        return VectorFeatures(vectors.kind, [vectors.song_ids[i] for i in songs.tolist()], matrix[songs])

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
    plays = target.surplus[judge].T.tocsr()
    return evaluate_ranking(target.user_factors, predicted, plays, k=config.evaluation.k).map_at_k


def make_model(
    path: Path,
    row: Row,
    seed: int,
    factors: Factors,
    features: FeatureStore,
    pipeline: Pipeline,
    config: ExperimentConfig,
    n_threads: int | None,
    progress: Progress,
) -> Model:
    """Train a row, and write down its figures as it reports them: once more where it goes on."""
    if (path / MODEL).exists():
        return Model.load(path / MODEL, n_threads=n_threads)
    sizes = Sizes(*factors.counts.shape, factors.counts.nnz, factors.song_factors.shape[1])
    spec = registry.find_regressor(row.regressor)
    need = need_of_training(spec, row.given.make({}), need_of(pipeline, features), sizes)
    check_need(need, path, force=True)
    params = dict(row.params)
    checkpoint, file = checkpoint_of(path / MODEL), path / CURVE
    with file.open("w", encoding="utf-8") as log:

        def report(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            if figures:  # words, say, are counted here only if an earlier run has learned the codebook
                with naming(file):
                    log.write(
                        json.dumps({"stage": stage, "step": step, "n_steps": n_steps, **figures}) + "\n"
                    )
                    log.flush()
            progress(stage, step, n_steps, figures)

        model = train(
            factors,
            features,
            regressor=row.regressor,
            loss=row.loss,
            device=params.pop("device", None),
            params=params,
            loss_params=row.loss_params,
            pipeline=pipeline,
            validation_fraction=config.training.validation_fraction,
            checkpoint=checkpoint,
            resume=checkpoint.exists(),
            n_threads=n_threads,
            random_state=seed,
            progress=report,
        )
    if not file.stat().st_size:
        file.unlink()
    model.save(path / MODEL)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return model


def read_curve(path: Path) -> Curve:
    """Return what the fit of a stage reported, an entry a line."""
    file = path / CURVE
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def keep_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as a directory, and what was predicted beside it."""
    if not (path / EVALUATION).exists():
        save_tensors(path, evaluation.predictions, {}, name=_PREDICTIONS, format_version=1)
        evaluation.save(path / EVALUATION)


def read_evaluation(path: Path) -> Evaluation:
    """Return the evaluation that a stage has made, with what was predicted."""
    _, predictions = load_tensors(path, name=_PREDICTIONS, format_version=1)
    return replace(Evaluation.load(path / EVALUATION), predictions=predictions)


def read_song_table(data: DataSettings) -> SongTable | None:
    """Return the table of songs, where there is one."""
    return read_songs(data.songs) if data.songs is not None else None
