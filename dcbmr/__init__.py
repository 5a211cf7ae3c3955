"""Recommend songs that nobody has played yet.

Everything public is reachable from here and is imported on first use, so that ``import dcbmr`` costs
nothing: ``dcbmr.PlayCounts``, ``dcbmr.WeightedALS``, ``dcbmr.LogMel``, ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcbmr.contract import (
        FactorTarget,
        FitRun,
        Loss,
        LossSpec,
        Regressor,
        RegressorSpec,
        SongFeatures,
    )
    from dcbmr.errors import DcbmrError, InputError
    from dcbmr.hookspecs import hookimpl
    from dcbmr.registry import get_loss, get_regressor, losses, regressors

__version__ = "0.1.0"

_HOME = {
    "DcbmrError": "errors",
    "FactorTarget": "contract",
    "FitRun": "contract",
    "InputError": "errors",
    "Loss": "contract",
    "LossSpec": "contract",
    "Regressor": "contract",
    "RegressorSpec": "contract",
    "SongFeatures": "contract",
    "get_loss": "registry",
    "get_regressor": "registry",
    "hookimpl": "hookspecs",
    "losses": "registry",
    "regressors": "registry",
}

__all__ = [
    "DcbmrError",
    "FactorTarget",
    "FitRun",
    "InputError",
    "Loss",
    "LossSpec",
    "Regressor",
    "RegressorSpec",
    "SongFeatures",
    "get_loss",
    "get_regressor",
    "hookimpl",
    "losses",
    "regressors",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("dcbmr.testing")
    if name not in _HOME:
        raise AttributeError(f"module 'dcbmr' has no attribute {name!r}")
    value = getattr(import_module(f"dcbmr.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "testing"])
