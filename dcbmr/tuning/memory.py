"""What a search needs of the machine: its largest trial, beside the plays that it holds."""

from __future__ import annotations

from dcbmr.base.needs import FeatureNeed, Need, Sizes, of_factorize, of_tune
from dcbmr.contract import registry
from dcbmr.factorization.als import WeightedALS
from dcbmr.models.memory import need_of_training
from dcbmr.plays.counts import PlayCounts
from dcbmr.tuning.regressor import Given
from dcbmr.tuning.space import Space


def need_of_factorizations(plays: PlayCounts, space: Space) -> Need:
    """Return what it takes to try settings of the factorization: as many factors as may be tried."""
    n_factors = max(space.for_json().get("n_factors", [WeightedALS().n_factors]))
    sizes = Sizes(*plays.counts.shape, plays.counts.nnz, n_factors)
    return of_tune(sizes, of_factorize(sizes))


def need_of_fits(given: Given, space: Space, features: FeatureNeed, sizes: Sizes) -> Need:
    """Return what it takes to try parameters of a regressor: the most of each, the others as they are."""
    spec = registry.find_regressor(given.regressor)
    tried = [{name: value} for name, values in space.for_json().items() for value in values]
    needs = [need_of_training(spec, given.make(settings), features, sizes) for settings in [{}, *tried]]
    return of_tune(sizes, max([of_factorize(sizes), *needs], key=lambda need: need.memory))
