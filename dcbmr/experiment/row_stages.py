"""The stages of a row: its models, and the choice of its parameters before them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dcbmr.contract import registry
from dcbmr.experiment.cache import Stage
from dcbmr.experiment.config import ExperimentConfig
from dcbmr.experiment.rows import Row
from dcbmr.features.joined import pipeline_to


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Songs that are held out, and what is made without them.

    Attributes
    ----------
    split, factors : Stage
    words : dict of str to Stage
        The codebook, and what follows from it, by the kind that is made of it.
    """

    split: Stage
    factors: Stage
    words: dict[str, Stage]


@dataclass(frozen=True, eq=False)
class Search:
    """Training songs that are held out once more, and the choice of parameters by them."""

    part: HeldOut
    tune: Stage


class RowStages:
    """Makes the stages of rows.

    Parameters
    ----------
    config : ExperimentConfig
    vectors : collection of str
        The kinds of vectors that were made elsewhere.
    sources : mapping of str to Stage or str
        What tells of each kind that is read.
    """

    def __init__(
        self, config: ExperimentConfig, vectors: Collection[str], sources: Mapping[str, Stage | str]
    ) -> None:
        self._config, self._vectors, self._sources = config, vectors, sources

    def models(
        self, row: Row, part: HeldOut, search: Search | None, label: Callable[[str], str]
    ) -> Iterator[Stage]:
        """Yield the model of each seed of a row."""
        settings, defaults = self._settings(row)
        inputs = self._inputs(row, part)
        if search is not None:
            inputs["tuned parameters"] = search.tune
        for seed in row.seeds or (self._config.random_state,):
            name = row.name if len(row.seeds) < 2 else f"{row.name}, seed {seed}"
            of_seed = {**settings, "random_state": seed}
            yield Stage(f"train-{row.regressor}", label(name), of_seed, defaults, inputs)

    def search(self, row: Row, part: HeldOut, label: str) -> Stage:
        """Return the choice of parameters of a row."""
        assert row.tune is not None
        settings, defaults = self._settings(row)
        settings |= {
            "space": row.given.space(row.tune.space).for_json(),
            "trials": row.tune.trials,
            "seconds": row.tune.seconds,
            "k": self._config.evaluation.k,
            "random_state": self._config.random_state,
        }
        return Stage(f"tune-{row.regressor}", label, settings, defaults, self._inputs(row, part))

    def _settings(self, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a model is made with, and the defaults of that."""
        spec = registry.find_regressor(row.regressor)
        factory, of_loss = registry.resolve(spec), registry.loss_factory(spec, row.loss)
        declared, of_loss = _defaults(factory), _defaults(of_loss) if of_loss else {}
        loss = row.loss or declared.pop("loss", None)
        settings = {
            "regressor": row.regressor,
            "loss": loss,
            "kinds": list(row.learns_from),
            "params": {**declared, **row.params},
            "loss_params": {**of_loss, **row.loss_params},
            "validation_fraction": self._config.training.validation_fraction,
            "package": _package_of(row.regressor),
        }
        return settings, {"params": declared, "loss_params": of_loss, "validation_fraction": 0.1}

    def _inputs(self, row: Row, part: HeldOut) -> dict[str, Stage | str]:
        inputs: dict[str, Stage | str] = {"factors": part.factors}
        for kind in row.learns_from:
            if kind in part.words:
                inputs[f"codebook of {kind}"] = part.words[kind]
            elif kind in self._vectors:
                inputs[f"vectors {kind}"] = self._sources[kind]
            else:
                (source,) = pipeline_to(kind).sources
                inputs[f"features {source}"] = self._sources[source]
        return inputs


def _package_of(regressor: str) -> str | None:
    """Return the version of the plugin of a regressor that is not dcbmr's own."""
    owner = next(p for p in registry.plugins() if any(s.name == regressor for s in p.regressors))
    return None if owner.is_built_in else f"{owner.distribution} {owner.version}"


def _defaults(factory: Any) -> dict[str, Any]:
    """Return the defaults of the parameters of a regressor, or of a loss, for JSON."""
    return {
        name: parameter.default
        for name, parameter in registry.parameters(factory).items()
        if name not in ("loss_params", "random_state", "device")
    }
