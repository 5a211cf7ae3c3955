"""What training and predicting need of the machine, told before features are prepared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from dcbmr.base.needs import FeatureNeed, Need, Sizes, of_predict, of_train
from dcbmr.contract import registry
from dcbmr.contract.contract import HasMemory, Regressor, RegressorSpec
from dcbmr.contract.faults import calling
from dcbmr.features.joined import need_of
from dcbmr.models.auto import N_FOLDS
from dcbmr.models.candidates import Candidate, largest_pipeline
from dcbmr.models.stack import Stack

if TYPE_CHECKING:
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model


def need_of_training(spec: RegressorSpec, regressor: Regressor, features: FeatureNeed, sizes: Sizes) -> Need:
    """Return what it takes to train a regressor on features, of factors and plays of these sizes.

    One that does not tell (:class:`dcbmr.HasMemory`) is taken to copy vectors in float64.
    """
    fit = 2 * features.held
    if spec.has_memory:
        given = {**asdict(sizes), "n_songs": min(features.n_songs, sizes.n_songs), "n_dims": features.n_dims}
        with calling(spec, "memory"):
            fit = cast(HasMemory, regressor).memory(**given)
    return of_train(sizes, features, fit)


def need_of_predicting(models: Iterable[Model | Stack], store: FeatureStore) -> Need:
    """Return the most that one of the models, or of those of a stack, takes to predict a store's songs."""
    needs = [Need(0, 0)]
    alone = (part for model in models for part in (model.models if isinstance(model, Stack) else [model]))
    for model in alone:
        features, width, fit = need_of(model.pipeline, store), model.config["width"], 0.0
        if model.spec.has_memory:
            given = {"n_songs": features.n_songs, "n_dims": features.n_dims, "n_users": 0, "n_pairs": 0}
            with calling(model.spec, "memory"):
                fit = cast(HasMemory, model.regressor).memory(**given, n_factors=width)
        needs.append(of_predict(features, fit, width))
    return max(needs, key=lambda need: need.memory)


def need_of_auto(store: FeatureStore, tried: Sequence[Candidate], sizes: Sizes) -> Need:
    """Return what `auto` takes: the largest of what it tries, and of each fold factors and plays."""
    needs = []
    for candidate in tried:
        spec = registry.find_regressor(candidate.regressor)
        made = registry.get_regressor(candidate.regressor, **candidate.params)
        needs.append(need_of_training(spec, made, need_of(largest_pipeline(candidate), store), sizes))
    of_folds = N_FOLDS * (sizes.factors + 16 * sizes.n_pairs)
    largest = max(need.memory for need in needs)
    # Of what one fit gives back, pieces stay with the allocator while the next one begins.
    return Need(of_folds + 1.25 * largest, needs[0].disk)
