"""Metric learning to rank: the class ``MLR``, usable by itself, and the regressor ``mlr`` made with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dcbmr import RegressorSpec, hookimpl

if TYPE_CHECKING:
    from dcbmr_mlr.mlr import MLR

DCBMR_CONTRACT = 2

__all__ = ["MLR"]


@hookimpl
def dcbmr_regressors() -> list[RegressorSpec]:
    return [
        RegressorSpec(
            name="mlr",
            factory="dcbmr_mlr.regressor:MLRRegressor",
            summary="metric learning to rank: near is what the same people play",
            has_check=True,
            has_memory=True,
            has_users=True,
            space={"C": (10.0, 1e4), "n_relevant": (5, 50)},
        )
    ]


def __getattr__(name: str) -> Any:
    if name != "MLR":
        raise AttributeError(f"module 'dcbmr_mlr' has no attribute {name!r}")
    return import_module("dcbmr_mlr.mlr").MLR
