"""The regressor that is checked, and what checks do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.sparse import csr_array

from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, FitRun, HasUsers, Regressor, RegressorSpec, SongFeatures
from dcbmr.testing.checks import no_error
from dcbmr.testing.world import planted_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One thread is fastest for what is so small.
RUN = FitRun(n_threads=1)


class Subject:
    """A regressor by name; each check fits models of its own, so that each can fail alone."""

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        self.spec: RegressorSpec = registry.find_regressor(name)
        self.factory = registry.resolve(self.spec)
        self.params = dict(params)

    def make(self) -> Regressor:
        """Return a new one with the parameters that the suite was given."""
        return registry.get_regressor(self.name, **self.params)

    def world(self, kind: str | None = None) -> tuple[SongFeatures, FactorTarget]:
        """Return features of a kind, the regressor's own if None, and the target that follows from them."""
        return planted_world(kind or self.spec.kind)

    def fitted(self, kind: str | None = None) -> tuple[Regressor, SongFeatures, FactorTarget]:
        """Return a fitted one, and what it was fitted to."""
        features, target = self.world(kind)
        return self.make().fit(features, target, run=RUN), features, target

    def users(self, model: Regressor, target: FactorTarget) -> NDArray[np.float32]:
        """Return the users that score the model's predictions."""
        if not self.spec.has_users:
            return target.user_factors
        return np.asarray(cast(HasUsers, model).user_factors(csr_array(target.surplus.T)))

    def assert_works(
        self, features: SongFeatures, target: FactorTarget, what: str, cure: str, *, may_refuse: bool = False
    ) -> None:
        """Fail unless it fits and predicts finite numbers, or, where it may, says by InputError why not."""
        with no_error(f"fit or predict on {what}", cure, may_refuse=may_refuse):
            predicted = self.make().fit(features, target, run=RUN).predict(features)
            assert np.isfinite(predicted).all(), f"{what}: predictions are not finite; {cure}"


def assert_close(
    found: NDArray[Any], expected: NDArray[Any], what: str, cure: str, *, exact: bool = False
) -> None:
    """Fail where numbers differ by more than rounding or, where they must be exact, at all."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}; {cure}"
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(found - expected).max()) / scale
    assert error <= (0 if exact else 1e-4), f"{what}: differ by {error:.2g} of the largest number; {cure}"
