"""The conformance suite: what every regressor, loss and kind of feature must do, ours and everybody's.

``pytest --dcbmr nearest`` runs it. In the tests of a plugin::

    import dcbmr.testing
    import pytest

    @pytest.mark.parametrize("check", dcbmr.testing.regressor_checks("nearest"), ids=str)
    def test_nearest(check):
        check()
"""

from dcbmr.testing.checks import Check
from dcbmr.testing.features import feature_checks
from dcbmr.testing.losses import loss_checks
from dcbmr.testing.named import named_checks
from dcbmr.testing.regressors import regressor_checks
from dcbmr.testing.world import planted_world, subset

__all__ = [
    "Check",
    "feature_checks",
    "loss_checks",
    "named_checks",
    "planted_world",
    "regressor_checks",
    "subset",
]
