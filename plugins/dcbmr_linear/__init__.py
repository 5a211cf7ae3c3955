"""Ridge regression from a vector a song to the song factors, linear and with a kernel."""

from __future__ import annotations

from collections.abc import Iterable

from dcbmr import RegressorSpec, hookimpl

DCBMR_CONTRACT = 2


@hookimpl
def dcbmr_regressors() -> Iterable[RegressorSpec]:
    """Offer both."""
    return [
        RegressorSpec(
            "linear",
            "dcbmr_linear.linear:Linear",
            "ridge regression on a vector a song, its lambda by leave-one-out",
            losses=("mse", "wpe"),
            has_check=True,
            has_memory=True,
        ),
        RegressorSpec(
            "kernel_ridge",
            "dcbmr_linear.kernel_ridge:KernelRidge",
            "ridge regression with a Gaussian kernel, its width and lambda by leave-one-out",
            kind="stats",
            has_check=True,
            has_memory=True,
        ),
    ]
