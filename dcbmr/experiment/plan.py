"""From a configuration to the stages that it takes, before any of them is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dcbmr.contract import registry
from dcbmr.experiment.cache import Stage, Stages
from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    ExperimentConfig,
    FeatureSettings,
)
from dcbmr.experiment.inputs import checksum, checksum_of_audio
from dcbmr.experiment.row_stages import HeldOut, RowStages, Search
from dcbmr.experiment.rows import OF_WORDS, Row
from dcbmr.factorization.als import WeightedALS
from dcbmr.features.joined import pipeline_to
from dcbmr.features.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Fold(HeldOut):
    """The stages of one choice of held-out songs: beside what is made without them the following.

    Attributes
    ----------
    number : int
        From 0.
    tune : Stage or None
        The choice of settings of the factorization.
    everything : Stage or None
        The factors of all plays, for the upper bound.
    searches : dict of str to Search
        Of the rows whose parameters are chosen.
    models : dict of str to tuple of Stage
        Of each row, one for each of its seeds.
    evaluations : tuple of Stage
        One for each seed.
    """

    number: int
    tune: Stage | None
    everything: Stage | None
    searches: dict[str, Search]
    models: dict[str, tuple[Stage, ...]]
    evaluations: tuple[Stage, ...] = ()

    def model(self, row: Row, seed: int) -> Stage:
        """Return what a row is in the evaluation of a seed: of one that has a single seed always the same."""
        models = self.models[row.name]
        return models[seed if len(models) > 1 else 0]


class Plan:
    """The stages of an experiment.

    Parameters
    ----------
    config : ExperimentConfig
    stages : Stages
        Where stages may be there already: of features it is looked which kinds are.

    Attributes
    ----------
    world : Stage or None
        The synthesized songs and plays.
    data : DataSettings
        The files, which the world makes where there is one.
    stores : tuple of Stage
        The stores that the features are read from, of as many kinds as each has.
    folds : tuple of Fold

    Raises
    ------
    InputError
        A file that is not there; parameters that nobody knows.
    """

    def __init__(self, config: ExperimentConfig, stages: Stages) -> None:
        self.config, self._stages = config, stages
        self.world = None if config.world is None else _world_stage(config)
        self.data = config.data or made_data(stages.path(self._world))
        self.stores = tuple(self._features_stages())
        self.folds = tuple(self._fold(number) for number in range(config.split.n_folds))

    def __iter__(self) -> Iterator[Stage]:
        """Yield every stage once, each after what it reads."""
        seen: set[tuple[str, str]] = set()
        for stage in self._in_order():
            if (stage.name, stage.digest) not in seen:
                seen.add((stage.name, stage.digest))
                yield stage

    def _in_order(self) -> Iterator[Stage]:
        yield from filter(None, [self.world])
        for fold in self.folds:
            yield fold.split
            yield from filter(None, [fold.tune])
            yield fold.factors
            yield from filter(None, [fold.everything])
            yield from self.stores
            yield from fold.words.values()
            for search in fold.searches.values():
                yield from (search.part.split, search.part.factors, *search.part.words.values(), search.tune)
            for models in fold.models.values():
                yield from models
            yield from fold.evaluations

    def why(self, stage: Stage, missing: Collection[str] = ()) -> str | None:
        """Say why a stage has to be made, as others whose digests are ``missing``; None where it is there."""
        if not self._stages.is_made(stage):
            return self._stages.why(stage, missing)
        if stage in self.stores and not self.follows_audio(stage):
            return f"{self.data.audio} changed"
        return None

    def follows_audio(self, store: Stage) -> bool:
        """Say whether features were made of the audio as it is."""
        file = self._stages.path(store) / "audio.txt"
        return file.is_file() and file.read_text() == self.audio_checksum

    @cached_property
    def audio_checksum(self) -> str:
        """What the audio is known by."""
        if self.world is not None:
            return self.world.digest
        assert self.data.audio is not None
        return checksum_of_audio(self.data.audio)

    @cached_property
    def recipe_settings(self) -> dict[str, Any]:
        """How features are made of audio, but for their kinds."""
        chosen = self.config.features
        return {"offset": chosen.offset, "duration": chosen.duration, "params": dict(chosen.params)}

    @property
    def _world(self) -> Stage:
        assert self.world is not None
        return self.world

    @cached_property
    def _plays(self) -> Stage | str:
        if self.world is not None:
            return self.world
        return "+".join(checksum(path, "data.plays") for path in self.data.plays)

    @property
    def _of_plays(self) -> dict[str, Any]:
        """How the plays are read, as far as that changes them."""
        return {**self.data.how_read, "n_songs": self.data.n_songs, "n_users": self.data.n_users}

    @cached_property
    def _sources(self) -> dict[str, Stage | str]:
        """What tells of each kind that is read: the audio it is made of, a store, or a file of vectors."""
        found: dict[str, Stage | str] = {}
        for kind in dict.fromkeys(kind for row in self.config.rows for kind in row.learns_from):
            if kind in self.data.vectors:
                found[kind] = checksum(self.data.vectors[kind], f"data.vectors.{kind}")
                continue
            for source in pipeline_to(kind).sources:
                found[source] = self._audio_of(source)
        return found

    def _audio_of(self, kind: str) -> str:
        if self.data.audio is None:
            return _checksum_of(self.data, "features")
        config = Recipe([kind], params=_params_of(kind, self.config.features)).configs[0].to_json()
        essence = [kind, config, self.recipe_settings["offset"], self.recipe_settings["duration"]]
        told = json.dumps([*essence, self.audio_checksum], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def _features_stages(self) -> Iterator[Stage]:
        """Yield the stores that together have all kinds made of audio: those there are, and one more."""
        if self.data.audio is None:
            return
        wanted = [
            kind for kind in registry.kinds() if kind in self._sources and kind not in self.data.vectors
        ]
        for kinds in self._stages.settings_of("featurize", "kinds"):
            stage = self._features_stage(kinds)
            if set(kinds) & set(wanted) and self._stages.is_made(stage):
                wanted = [kind for kind in wanted if kind not in kinds]
                yield stage
        if wanted:
            yield self._features_stage(wanted)

    def _features_stage(self, kinds: list[str]) -> Stage:
        source = {"world": self._world} if self.world else {}
        audio = {} if self.world else {"audio": str(self.data.audio)}
        return Stage(
            "featurize",
            "featurize",
            settings={"kinds": kinds, **audio, **self.recipe_settings},
            inputs=source,
            keeps_files=False,
        )

    def _fold(self, number: int) -> Fold:
        split = self._split_stage(number)
        tune = self._tune_stage(split, number)
        factors = self._factors_stage(self._label("factorize", number), {"split": split}, tune)
        everything = None
        if self.config.evaluation.upper_bound:
            label = "factorize all plays" if tune is None else self._label("factorize all plays", number)
            everything = self._factors_stage(label, {"plays": self._plays}, tune, self._of_plays)
        rows = self.config.rows
        kinds = dict.fromkeys(kind for row in rows for kind in row.learns_from if kind in OF_WORDS)
        label = self._label("codebook", number)
        words = {kind: self._words_stage(kind, split, factors, label) for kind in kinds}
        part = HeldOut(split, factors, words)
        searches = {row.name: self._search(row, part, tune, number) for row in rows if row.tune}
        stages = RowStages(self.config, self.data.vectors, self._sources)
        models = {
            row.name: tuple(
                stages.models(row, part, searches.get(row.name), partial(self._label, fold=number))
            )
            for row in rows
        }
        fold = Fold(split, factors, words, number, tune, everything, searches, models)
        evaluations = tuple(self._evaluation_stage(fold, seed) for seed in range(self.config.n_seeds))
        return replace(fold, evaluations=evaluations)

    def _search(self, row: Row, part: HeldOut, tune: Stage | None, number: int) -> Search:
        """Return the stages that choose parameters of a row by training songs held out of training."""
        assert row.tune is not None
        label = partial(self._label, fold=number)
        settings = {"fraction": row.tune.heldout_fraction, "random_state": self.config.random_state}
        split = Stage("hold-out", label("songs to choose by"), settings, inputs={"split": part.split})
        factors = self._factors_stage(label("factorize without them"), {"split": split}, tune)
        words = {
            kind: self._words_stage(kind, split, factors, label("codebook without them"))
            for kind in row.learns_from
            if kind in OF_WORDS
        }
        without = HeldOut(split, factors, words)
        stages = RowStages(self.config, self.data.vectors, self._sources)
        return Search(without, stages.search(row, without, label(f"tune {row.name}")))

    def _label(self, what: str, fold: int) -> str:
        return what if self.config.split.n_folds == 1 else f"fold {fold + 1}: {what}"

    def _split_stage(self, number: int) -> Stage:
        chosen, data = self.config.split, self.data
        inputs: dict[str, Stage | str] = {"plays": self._plays}
        settings: dict[str, Any] = {"by": chosen.by, **self._of_plays}
        if chosen.by in ("song", "artist"):
            settings["random_state"] = self.config.random_state
            settings |= (
                {"folds": chosen.folds, "fold": number} if chosen.folds else {"fraction": chosen.fraction}
            )
        if chosen.by == "time":
            settings |= {"after": str(chosen.after), "dates": chosen.dates}
        if chosen.by == "list":
            inputs["heldout"] = checksum(chosen.heldout[number], "split.heldout")
        if data.songs is not None and self.world is None:
            inputs["songs"] = _checksum_of(data, "songs")
        return Stage("split", self._label("split", number), settings, _values(chosen), inputs)

    def _tune_stage(self, split: Stage, number: int) -> Stage | None:
        chosen = self.config.tune
        if chosen is None:
            return None
        settings = {
            "trials": chosen.trials,
            "seconds": chosen.seconds,
            "space": dict(chosen.factorization),
            "others": dict(self.config.factorization),
            "random_state": self.config.random_state,
        }
        return Stage("tune", self._label("tune", number), settings, {"random_state": 0}, {"split": split})

    def _factors_stage(
        self,
        label: str,
        inputs: Mapping[str, Stage | str],
        tune: Stage | None,
        of_plays: Mapping[str, Any] | None = None,
    ) -> Stage:
        settings = {**self.config.als().settings(), **(of_plays or {})}
        inputs = inputs if tune is None else {**inputs, "tuned settings": tune}
        return Stage("factorize", label, settings, WeightedALS().settings(), inputs)

    def _words_stage(self, kind: str, split: Stage, factors: Stage, label: str) -> Stage:
        chosen = self.config.features
        settings: dict[str, Any] = {
            "kind": kind,
            "n_words": list(chosen.n_words),
            "variance": chosen.variance,
            "weighting": chosen.weighting,
            "standardize": chosen.standardize,
            "random_state": self.config.random_state,
        }
        (source,) = pipeline_to(kind).sources
        inputs: dict[str, Stage | str] = {"split": split, f"features {source}": self._sources[source]}
        if chosen.codebook is not None:
            inputs["codebook"] = checksum(chosen.codebook, "features.codebook")
        if len(chosen.n_words) > 1:  # one is chosen by what a regression on it predicts
            settings |= {
                "validation_fraction": self.config.training.validation_fraction,
                "k": self.config.evaluation.k,
            }
            inputs["factors"] = factors
        defaults = {**_values(FeatureSettings()), "n_words": [4000], "random_state": 0, "kind": "bow_pca"}
        return Stage("codebook", label, settings, defaults, inputs)

    def _evaluation_stage(self, fold: Fold, seed: int) -> Stage:
        chosen = self.config.evaluation
        names = ("k", "baselines", "n_resamples")
        settings = {name: getattr(chosen, name) for name in names} | {
            "random_state": self.config.random_state
        }
        inputs: dict[str, Stage | str] = {"split": fold.split}
        inputs |= {row.name: fold.model(row, seed) for row in self.config.rows}
        if fold.everything is not None:
            inputs["factors of all plays"] = fold.everything
        if chosen.tags:
            inputs["tags"] = _checksum_of(self.data, "tags")
        label = "evaluate" if self.config.n_seeds == 1 else f"evaluate, seed {seed + 1}"
        defaults = {**_values(EvaluationSettings()), "random_state": 0}
        return Stage("evaluate", self._label(label, fold.number), settings, defaults, inputs)


def made_data(world: Path) -> DataSettings:
    """Return the files of a world that was written to a directory."""
    return DataSettings(plays=(world / "plays.parquet",), songs=world / "songs.tsv", audio=world / "audio")


def _world_stage(config: ExperimentConfig) -> Stage:
    assert config.world is not None
    defaults = {of.name: of.default for of in fields(config.world)}
    return Stage("world", "synthesize", asdict(config.world), defaults, keeps_files=False)


def _checksum_of(data: DataSettings, key: str) -> str:
    return checksum(getattr(data, key), f"data.{key}")


def _params_of(kind: str, features: FeatureSettings) -> dict[str, Any]:
    """Return the parameters of extractors that are those of one kind."""
    declared = registry.parameters(registry.resolve(registry.find_extractor(kind)))
    pairs = ((full.rpartition("."), value) for full, value in features.params.items())
    return {name: value for (of, _, name), value in pairs if of == kind or (not of and name in declared)}


def _values(settings: Any) -> dict[str, Any]:
    return {of.name: getattr(type(settings)(), of.name, None) for of in fields(settings)}
