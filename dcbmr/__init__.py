"""Recommend songs that nobody has played yet.

Everything public is reachable from here and is imported on first use, so that ``import dcbmr`` costs
nothing: ``dcbmr.PlayCounts``, ``dcbmr.WeightedALS``, ``dcbmr.LogMel``, ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcbmr.audio.frames import MFCC, LogMel
    from dcbmr.base.progress import Progress
    from dcbmr.contract.contract import (
        FactorTarget,
        FitRun,
        Loss,
        LossSpec,
        Regressor,
        RegressorSpec,
        SongFeatures,
    )
    from dcbmr.contract.hookspecs import hookimpl
    from dcbmr.contract.registry import get_loss, get_regressor, losses, regressors
    from dcbmr.errors import DcbmrError, InputError
    from dcbmr.evaluation.tags import evaluate_tags, plot_tags
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.factorization.factors import Factors
    from dcbmr.features.codebook import Codebook, bag_of_words, fit_codebook
    from dcbmr.features.featurize import FeaturizeReport, featurize
    from dcbmr.features.memory import MemoryFeatures
    from dcbmr.features.pca import PCA
    from dcbmr.features.store import FeatureStore
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.tags import SongTags
    from dcbmr.ranking.metrics import RankingReport, evaluate_ranking, random_row

from dcbmr.base.version import __version__ as __version__

_HOME = {
    "Codebook": "features.codebook",
    "DcbmrError": "errors",
    "FactorTarget": "contract.contract",
    "Factors": "factorization.factors",
    "FeatureStore": "features.store",
    "FeaturizeReport": "features.featurize",
    "FitRun": "contract.contract",
    "InputError": "errors",
    "LogMel": "audio.frames",
    "Loss": "contract.contract",
    "LossSpec": "contract.contract",
    "MFCC": "audio.frames",
    "MemoryFeatures": "features.memory",
    "PCA": "features.pca",
    "Progress": "base.progress",
    "PlayCounts": "plays.counts",
    "RankingReport": "ranking.metrics",
    "Regressor": "contract.contract",
    "RegressorSpec": "contract.contract",
    "SongFeatures": "contract.contract",
    "SongTags": "plays.tags",
    "WeightedALS": "factorization.als",
    "bag_of_words": "features.codebook",
    "evaluate_ranking": "ranking.metrics",
    "evaluate_tags": "evaluation.tags",
    "featurize": "features.featurize",
    "fit_codebook": "features.codebook",
    "get_loss": "contract.registry",
    "get_regressor": "contract.registry",
    "hookimpl": "contract.hookspecs",
    "losses": "contract.registry",
    "plot_tags": "evaluation.tags",
    "random_row": "ranking.metrics",
    "regressors": "contract.registry",
}

__all__ = [
    "MFCC",
    "PCA",
    "Codebook",
    "DcbmrError",
    "FactorTarget",
    "Factors",
    "FeatureStore",
    "FeaturizeReport",
    "FitRun",
    "InputError",
    "LogMel",
    "Loss",
    "LossSpec",
    "MemoryFeatures",
    "PlayCounts",
    "Progress",
    "RankingReport",
    "Regressor",
    "RegressorSpec",
    "SongFeatures",
    "SongTags",
    "WeightedALS",
    "bag_of_words",
    "evaluate_ranking",
    "evaluate_tags",
    "featurize",
    "fit_codebook",
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
