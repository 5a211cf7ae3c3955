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

    from dcbmr.audio.frames import MFCC, FrameSettings, LogMel, SharedSpectrum, share_spectrum
    from dcbmr.base.progress import Progress
    from dcbmr.base.tensors import load_tensors, save_tensors
    from dcbmr.base.threads import resolve_n_threads
    from dcbmr.contract.contract import (
        CONTRACT_VERSION,
        FactorTarget,
        FitRun,
        HasActivations,
        HasCheck,
        HasUsers,
        Loss,
        LossSpec,
        Peers,
        Regressor,
        RegressorSpec,
        SongFeatures,
    )
    from dcbmr.contract.features import FeatureConfig, FeatureExtractor, FeatureSpec, FeatureStream
    from dcbmr.contract.hookspecs import hookimpl
    from dcbmr.contract.registry import (
        extractors,
        get_extractor,
        get_loss,
        get_regressor,
        losses,
        regressors,
    )
    from dcbmr.errors import DcbmrError, InputError
    from dcbmr.evaluation.evaluation import Evaluation, ScoredSongs, evaluate_models
    from dcbmr.evaluation.tags import TagReport, TagScore, evaluate_tags, plot_tags
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.factorization.factors import Factors
    from dcbmr.features.bag_of_words import bag_of_words
    from dcbmr.features.brought import BroughtReport, bring_vectors
    from dcbmr.features.codebook import Codebook, fit_codebook
    from dcbmr.features.featurize import FeaturizeReport, featurize
    from dcbmr.features.in_hand import with_vectors
    from dcbmr.features.joined import JoinedPipeline, pipeline_to
    from dcbmr.features.memory import MemoryFeatures
    from dcbmr.features.pca import PCA
    from dcbmr.features.pipeline import FeaturePipeline
    from dcbmr.features.store import FeatureStore
    from dcbmr.features.stored_kind import StoredKind
    from dcbmr.models.explain import Excerpt, explain
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack, load_model
    from dcbmr.models.training import train
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.matching import IdMatch
    from dcbmr.plays.songs import SongTable, read_songs
    from dcbmr.plays.split import Split, split_plays
    from dcbmr.plays.tags import SongTags
    from dcbmr.ranking.metrics import RandomRow, RankingReport, evaluate_ranking, random_row
    from dcbmr.ranking.topk import TopSongs, top_songs
    from dcbmr.recommendation.recommender import Recommender


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
    "CONTRACT_VERSION": "contract.contract",
    "BroughtReport": "features.brought",
    "Codebook": "features.codebook",
    "DcbmrError": "errors",
    "Evaluation": "evaluation.evaluation",
    "Excerpt": "models.explain",
    "FactorTarget": "contract.contract",
    "Factors": "factorization.factors",
    "FeatureConfig": "contract.features",
    "FeatureExtractor": "contract.features",
    "FeaturePipeline": "features.pipeline",
    "FeatureSpec": "contract.features",
    "FeatureStream": "contract.features",
    "FeatureStore": "features.store",
    "FeaturizeReport": "features.featurize",
    "FitRun": "contract.contract",
    "FrameSettings": "audio.frames",
    "HasActivations": "contract.contract",
    "HasCheck": "contract.contract",
    "HasUsers": "contract.contract",
    "IdMatch": "plays.matching",
    "InputError": "errors",
    "JoinedPipeline": "features.joined",
    "LogMel": "audio.frames",
    "Loss": "contract.contract",
    "LossSpec": "contract.contract",
    "MFCC": "audio.frames",
    "MemoryFeatures": "features.memory",
    "Model": "models.model",
    "PCA": "features.pca",
    "Progress": "base.progress",
    "PlayCounts": "plays.counts",
    "RandomRow": "ranking.metrics",
    "Peers": "contract.contract",
    "RankingReport": "ranking.metrics",
    "Recommender": "recommendation.recommender",
    "Regressor": "contract.contract",
    "RegressorSpec": "contract.contract",
    "ScoredSongs": "evaluation.evaluation",
    "SharedSpectrum": "audio.frames",
    "SongFeatures": "contract.contract",
    "StoredKind": "features.stored_kind",
    "SongTable": "plays.songs",
    "SongTags": "plays.tags",
    "Split": "plays.split",
    "TagReport": "evaluation.tags",
    "TagScore": "evaluation.tags",
    "TopSongs": "ranking.topk",
    "Stack": "models.stack",
    "WeightedALS": "factorization.als",
    "evaluate_models": "evaluation.evaluation",
    "bag_of_words": "features.bag_of_words",
    "bring_vectors": "features.brought",
    "pipeline_to": "features.joined",
    "with_vectors": "features.in_hand",
    "evaluate_ranking": "ranking.metrics",
    "evaluate_tags": "evaluation.tags",
    "explain": "models.explain",
    "extractors": "contract.registry",
    "featurize": "features.featurize",
    "fit_codebook": "features.codebook",
    "get_extractor": "contract.registry",
    "get_loss": "contract.registry",
    "get_regressor": "contract.registry",
    "hookimpl": "contract.hookspecs",
    "load_model": "models.stack",
    "load_tensors": "base.tensors",
    "losses": "contract.registry",
    "plot_tags": "evaluation.tags",
    "random_row": "ranking.metrics",
    "read_songs": "plays.songs",
    "regressors": "contract.registry",
    "split_plays": "plays.split",
    "top_songs": "ranking.topk",
    "train": "models.training",
    "resolve_n_threads": "base.threads",
    "save_tensors": "base.tensors",
    "share_spectrum": "audio.frames",
}

__all__ = [
    "CONTRACT_VERSION",
    "MFCC",
    "PCA",
    "BroughtReport",
    "Codebook",
    "DcbmrError",
    "Evaluation",
    "Excerpt",
    "FactorTarget",
    "Factors",
    "FeatureConfig",
    "FeatureExtractor",
    "FeaturePipeline",
    "FeatureSpec",
    "FeatureStore",
    "FeatureStream",
    "FeaturizeReport",
    "FitRun",
    "FrameSettings",
    "HasActivations",
    "HasCheck",
    "HasUsers",
    "IdMatch",
    "InputError",
    "JoinedPipeline",
    "LogMel",
    "Loss",
    "LossSpec",
    "MemoryFeatures",
    "Model",
    "Peers",
    "PlayCounts",
    "Progress",
    "RandomRow",
    "RankingReport",
    "Recommender",
    "Regressor",
    "RegressorSpec",
    "ScoredSongs",
    "SharedSpectrum",
    "SongFeatures",
    "SongTable",
    "SongTags",
    "Split",
    "Stack",
    "StoredKind",
    "TagReport",
    "TagScore",
    "TopSongs",
    "WeightedALS",
    "bag_of_words",
    "bring_vectors",
    "evaluate_models",
    "evaluate_ranking",
    "evaluate_tags",
    "explain",
    "extractors",
    "featurize",
    "fit_codebook",
    "get_extractor",
    "get_loss",
    "get_regressor",
    "hookimpl",
    "load_model",
    "load_tensors",
    "losses",
    "pipeline_to",
    "plot_tags",
    "random_row",
    "read_songs",
    "regressors",
    "resolve_n_threads",
    "save_tensors",
    "share_spectrum",
    "split_plays",
    "testing",
    "top_songs",
    "train",
    "with_vectors",
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
