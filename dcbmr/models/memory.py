"""What training and predicting need of the machine, told before features are prepared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, cast

from dcbmr.base.needs import FeatureNeed, Need, Sizes, of_predict, of_train
from dcbmr.contract import registry
from dcbmr.contract.contract import HasMemory, Regressor, RegressorSpec
from dcbmr.contract.faults import calling
from dcbmr.features.joined import need_of
from dcbmr.models.auto import N_FOLDS
from dcbmr.models.candidates import Candidate, largest_pipeline
from dcbmr.models.stack import Stack, models_of

if TYPE_CHECKING:
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model


def need_of_training(spec: RegressorSpec, regressor: Regressor, features: FeatureNeed, sizes: Sizes) -> Need:
    """Return what it takes to train a regressor on features, of factors and plays of these sizes.

    One that does not tell (:class:`dcbmr.HasMemory`) is taken to copy vectors in float64.
    """
    fit = 2 * features.held
    if spec.has_memory:
        fit = _of_fit(
            spec, regressor, replace(sizes, n_songs=min(features.n_songs, sizes.n_songs)), features.n_dims
        )
    return of_train(sizes, features, fit)


def _of_fit(spec: RegressorSpec, regressor: Regressor, sizes: Sizes, n_dims: int) -> float:
    """Return the bytes of a fit, as a regressor that tells them says."""
    with calling(spec, "memory"):
        return cast(HasMemory, regressor).memory(**asdict(sizes), n_dims=n_dims)


def need_of_predicting(models: Iterable[Model | Stack], store: FeatureStore) -> Need:
    """Return the most that one of the models, or of those of a stack, takes to predict a store's songs."""
    needs = [Need(0, 0)]
    for model in (part for one in models for part in models_of(one)):
        features, width, fit = need_of(model.pipeline, store), model.config["width"], 0.0
        if model.spec.has_memory:
            fit = _of_fit(model.spec, model.regressor, Sizes(0, features.n_songs, 0, width), features.n_dims)
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
