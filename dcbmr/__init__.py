"""Recommend songs that nobody has played yet.

Everything public is reachable from here and is imported on first use, so that ``import dcbmr`` costs
nothing: ``dcbmr.PlayCounts``, ``dcbmr.WeightedALS``, ``dcbmr.LogMel``, ...
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # for type checkers it is true; `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

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
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.featurize import featurize
    from dcbmr.features.memory import MemoryFeatures
    from dcbmr.features.store import FeatureStore
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.tags import SongTags
    from dcbmr.ranking.metrics import RankingReport, evaluate_ranking, random_row


def _installed() -> ModuleSpec | None:
    """Return the installed dcbmr where this is a folder of sources, as in a clone, without the kernels."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    if any(finder.find_spec("dcbmr._core", __path__) for finder in finders):
        return None
    here = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))
    elsewhere = [folder for folder in sys.path if os.path.realpath(folder) != here]
    spec = PathFinder.find_spec("dcbmr", elsewhere)
    is_whole = spec is not None and PathFinder.find_spec("dcbmr._core", spec.submodule_search_locations)
    return spec if is_whole else None


# Python looks in the current folder first. In a clone it finds the sources, which have no kernels: what is
# installed takes their place, all of it, as from any other folder.
if (_spec := _installed()) is not None and _spec.loader is not None:
    from importlib.util import module_from_spec

    sys.modules[__name__] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])

from dcbmr.base.version import __version__ as __version__  # noqa: E402

_HOME = {
    "Codebook": "features.codebook",
    "DcbmrError": "errors",
    "FactorTarget": "contract.contract",
    "Factors": "factorization.factors",
    "FeatureStore": "features.store",
    "FitRun": "contract.contract",
    "InputError": "errors",
    "LogMel": "audio.frames",
    "Loss": "contract.contract",
    "LossSpec": "contract.contract",
    "MFCC": "audio.frames",
    "MemoryFeatures": "features.memory",
    "Progress": "base.progress",
    "PlayCounts": "plays.counts",
    "RankingReport": "ranking.metrics",
    "Regressor": "contract.contract",
    "RegressorSpec": "contract.contract",
    "SongFeatures": "contract.contract",
    "SongTags": "plays.tags",
    "WeightedALS": "factorization.als",
    "evaluate_ranking": "ranking.metrics",
    "evaluate_tags": "evaluation.tags",
    "featurize": "features.featurize",
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
    "Progress",
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
    if name == "_core":
        try:
            return import_module("dcbmr._core")
        except ModuleNotFoundError:
            here = os.path.dirname(__file__)
            raise ImportError(
                f"{here} holds the sources of dcbmr without its compiled kernels, and no dcbmr is installed "
                f"in this Python: pip install {os.path.dirname(here) or '.'}"
            ) from None
    if name not in _HOME:
        raise AttributeError(f"module 'dcbmr' has no attribute {name!r}")
    value = getattr(import_module(f"dcbmr.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "testing"])
