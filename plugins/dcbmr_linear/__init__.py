"""Linear regression from a vector a song to the song factors."""

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
            "ridge regression on a vector a song, its lambda by leave-one-out",
            losses=("mse", "wpe"),
            has_check=True,
        )
    ]
