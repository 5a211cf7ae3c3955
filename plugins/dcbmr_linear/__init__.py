"""Linear regression from the bag of words to the song factors."""

from __future__ import annotations

from collections.abc import Iterable

from dcbmr import RegressorSpec, hookimpl

DCBMR_CONTRACT = 2


@hookimpl
def dcbmr_regressors() -> Iterable[RegressorSpec]:
    """Offer ridge regression."""
    return [
        RegressorSpec(
            "linear",
            "dcbmr_linear.linear:Linear",
            "ridge regression on the bag of words, its lambda by leave-one-out",
            losses=("mse", "wpe"),
        )
    ]
