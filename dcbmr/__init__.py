"""Recommend songs that nobody has played yet.

Everything public is reachable from here and is imported on first use, so that ``import dcbmr`` costs
nothing: ``dcbmr.PlayCounts``, ``dcbmr.WeightedALS``, ``dcbmr.LogMel``, ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcbmr.als import WeightedALS
    from dcbmr.codebook import Codebook
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
    from dcbmr.extraction import featurize
    from dcbmr.factors import Factors
    from dcbmr.features import MFCC, LogMel
    from dcbmr.hookspecs import hookimpl
    from dcbmr.metrics import RankingReport, evaluate_ranking, random_row
    from dcbmr.plays import PlayCounts
    from dcbmr.registry import get_loss, get_regressor, losses, regressors
    from dcbmr.store import FeatureStore, MemoryFeatures
    from dcbmr.tags import SongTags, evaluate_tags, plot_tags

__version__ = "0.1.0"

_HOME = {
    "Codebook": "codebook",
    "DcbmrError": "errors",
    "FactorTarget": "contract",
    "Factors": "factors",
    "FeatureStore": "store",
    "FitRun": "contract",
    "InputError": "errors",
    "LogMel": "features",
    "Loss": "contract",
    "LossSpec": "contract",
    "MFCC": "features",
    "MemoryFeatures": "store",
    "PlayCounts": "plays",
    "RankingReport": "metrics",
    "Regressor": "contract",
    "RegressorSpec": "contract",
    "SongFeatures": "contract",
    "SongTags": "tags",
    "WeightedALS": "als",
    "evaluate_ranking": "metrics",
    "evaluate_tags": "tags",
    "featurize": "extraction",
    "get_loss": "registry",
    "get_regressor": "registry",
    "hookimpl": "hookspecs",
    "losses": "registry",
    "plot_tags": "tags",
    "random_row": "metrics",
    "regressors": "registry",
}

__all__ = [
    "MFCC",
    "Codebook",
    "DcbmrError",
    "FactorTarget",
    "Factors",
    "FeatureStore",
    "FitRun",
    "InputError",
    "LogMel",
    "Loss",
    "LossSpec",
    "MemoryFeatures",
    "PlayCounts",
    "RankingReport",
    "Regressor",
    "RegressorSpec",
    "SongFeatures",
    "SongTags",
    "WeightedALS",
    "evaluate_ranking",
    "evaluate_tags",
    "featurize",
    "get_loss",
    "get_regressor",
    "hookimpl",
    "losses",
    "plot_tags",
    "random_row",
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
