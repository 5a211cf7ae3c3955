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
        HasMemory,
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
    from dcbmr.datasets.convert import convert_dataset
    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.errors import DcbmrError, InputError
    from dcbmr.evaluation.candidates import ScoredSongs
    from dcbmr.evaluation.comparison import ComparedRows, compare_evaluations
    from dcbmr.evaluation.evaluation import evaluate_models
    from dcbmr.evaluation.kept import Evaluation
    from dcbmr.evaluation.play_figures import (
        PlayFigures,
        contributions_of_best,
        pool_folds,
        shared_plays,
    )
    from dcbmr.evaluation.results import Results, read_results
    from dcbmr.evaluation.statistics import Comparison, Interval, Uncertainty, bootstrap
    from dcbmr.evaluation.tags import TagReport, TagScore, evaluate_tags, plot_tags
    from dcbmr.evaluation.warm import evaluate_factors
    from dcbmr.experiment.config import ExperimentConfig
    from dcbmr.experiment.experiment import Experiment, plan_experiment, run_experiment
    from dcbmr.experiment.reading import read_experiment
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.factorization.factors import Factors
    from dcbmr.factorization.warm_start import PlaysChange
    from dcbmr.features.bag_of_words import bag_of_words
    from dcbmr.features.brought import BroughtReport, bring_vectors
    from dcbmr.features.codebook import Codebook, fit_codebook
    from dcbmr.features.featurize import FeaturizeReport, featurize
    from dcbmr.features.in_hand import with_vectors
    from dcbmr.features.joined import JoinedPipeline, pipeline_to
    from dcbmr.features.memory import MemoryFeatures
    from dcbmr.features.neighbours import similar_features
    from dcbmr.features.pca import PCA
    from dcbmr.features.pipeline import FeaturePipeline
    from dcbmr.features.stats import SongStatistics
    from dcbmr.features.store import FeatureStore
    from dcbmr.features.stored_kind import StoredKind
    from dcbmr.models.auto import train_auto
    from dcbmr.models.explain import Excerpt, WindowScores, explain, window_scores
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack, load_model
    from dcbmr.models.training import train
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.matching import IdMatch
    from dcbmr.plays.songs import SongTable, read_songs
    from dcbmr.plays.split import Split, split_plays
    from dcbmr.plays.tags import SongTags
    from dcbmr.ranking.chance import RandomRow, random_row
    from dcbmr.ranking.groups import by_activity, by_artist, by_popularity, have_known_artist
    from dcbmr.ranking.lists import ListReport, evaluate_lists
    from dcbmr.ranking.metrics import RANK_METRICS, RankMetric
    from dcbmr.ranking.ranks import HeldoutRanks
    from dcbmr.ranking.report import RankingReport, evaluate_ranking
    from dcbmr.ranking.topk import TopSongs, top_songs
    from dcbmr.recommendation.export import ExportReport, export_vectors
    from dcbmr.recommendation.listeners import plays_to_date
    from dcbmr.recommendation.lists import ListsReport, save_lists
    from dcbmr.recommendation.newer import NewerPlays
    from dcbmr.recommendation.per_artist import PerArtist
    from dcbmr.recommendation.predicted import Predicted, predict_new
    from dcbmr.recommendation.recommender import Recommender
    from dcbmr.report.write import write_report
    from dcbmr.tuning.factorization import tune_factorization
    from dcbmr.tuning.regressor import tune_regressor
    from dcbmr.tuning.search import Tuned


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
    "BroughtReport": "features.brought",
    "CONTRACT_VERSION": "contract.contract",
    "Codebook": "features.codebook",
    "ComparedRows": "evaluation.comparison",
    "Comparison": "evaluation.statistics",
    "DcbmrError": "errors",
    "Evaluation": "evaluation.kept",
    "Excerpt": "models.explain",
    "Experiment": "experiment.experiment",
    "ExperimentConfig": "experiment.config",
    "ExportReport": "recommendation.export",
    "FactorTarget": "contract.contract",
    "Factors": "factorization.factors",
    "FeatureConfig": "contract.features",
    "FeatureExtractor": "contract.features",
    "FeaturePipeline": "features.pipeline",
    "FeatureSpec": "contract.features",
    "FeatureStore": "features.store",
    "FeatureStream": "contract.features",
    "FeaturizeReport": "features.featurize",
    "FitRun": "contract.contract",
    "FrameSettings": "audio.frames",
    "HasActivations": "contract.contract",
    "HasCheck": "contract.contract",
    "HasMemory": "contract.contract",
    "HasUsers": "contract.contract",
    "HeldoutRanks": "ranking.ranks",
    "IdMatch": "plays.matching",
    "InputError": "errors",
    "Interval": "evaluation.statistics",
    "JoinedPipeline": "features.joined",
    "ListReport": "ranking.lists",
    "ListsReport": "recommendation.lists",
    "LogMel": "audio.frames",
    "Loss": "contract.contract",
    "LossSpec": "contract.contract",
    "MFCC": "audio.frames",
    "MemoryFeatures": "features.memory",
    "Model": "models.model",
    "NewerPlays": "recommendation.newer",
    "PCA": "features.pca",
    "Peers": "contract.contract",
    "PerArtist": "recommendation.per_artist",
    "PlayCounts": "plays.counts",
    "PlayFigures": "evaluation.play_figures",
    "PlaysChange": "factorization.warm_start",
    "Predicted": "recommendation.predicted",
    "Progress": "base.progress",
    "RANK_METRICS": "ranking.metrics",
    "RandomRow": "ranking.chance",
    "RankMetric": "ranking.metrics",
    "RankingReport": "ranking.report",
    "RayEngine": "engine.on_ray",
    "Recommender": "recommendation.recommender",
    "Regressor": "contract.contract",
    "RegressorSpec": "contract.contract",
    "Results": "evaluation.results",
    "ScoredSongs": "evaluation.candidates",
    "SharedSpectrum": "audio.frames",
    "SongFeatures": "contract.contract",
    "SongStatistics": "features.stats",
    "SongTable": "plays.songs",
    "SongTags": "plays.tags",
    "Split": "plays.split",
    "Stack": "models.stack",
    "StoredKind": "features.stored_kind",
    "TagReport": "evaluation.tags",
    "TagScore": "evaluation.tags",
    "TopSongs": "ranking.topk",
    "Tuned": "tuning.search",
    "Uncertainty": "evaluation.statistics",
    "WeightedALS": "factorization.als",
    "WindowScores": "models.explain",
    "bag_of_words": "features.bag_of_words",
    "bootstrap": "evaluation.statistics",
    "bring_vectors": "features.brought",
    "by_activity": "ranking.groups",
    "by_artist": "ranking.groups",
    "by_popularity": "ranking.groups",
    "compare_evaluations": "evaluation.comparison",
    "contributions_of_best": "evaluation.play_figures",
    "convert_dataset": "datasets.convert",
    "evaluate_factors": "evaluation.warm",
    "evaluate_lists": "ranking.lists",
    "evaluate_models": "evaluation.evaluation",
    "evaluate_ranking": "ranking.report",
    "evaluate_tags": "evaluation.tags",
    "explain": "models.explain",
    "export_vectors": "recommendation.export",
    "extractors": "contract.registry",
    "featurize": "features.featurize",
    "fit_codebook": "features.codebook",
    "get_extractor": "contract.registry",
    "get_loss": "contract.registry",
    "get_regressor": "contract.registry",
    "have_known_artist": "ranking.groups",
    "hookimpl": "contract.hookspecs",
    "load_model": "models.stack",
    "load_tensors": "base.tensors",
    "losses": "contract.registry",
    "pipeline_to": "features.joined",
    "plan_experiment": "experiment.experiment",
    "plays_to_date": "recommendation.listeners",
    "plot_tags": "evaluation.tags",
    "pool_folds": "evaluation.play_figures",
    "predict_new": "recommendation.predicted",
    "random_row": "ranking.chance",
    "read_experiment": "experiment.reading",
    "read_results": "evaluation.results",
    "read_songs": "plays.songs",
    "regressors": "contract.registry",
    "resolve_n_threads": "base.threads",
    "run_experiment": "experiment.experiment",
    "save_lists": "recommendation.lists",
    "save_tensors": "base.tensors",
    "share_spectrum": "audio.frames",
    "shared_plays": "evaluation.play_figures",
    "similar_features": "features.neighbours",
    "split_plays": "plays.split",
    "top_songs": "ranking.topk",
    "train": "models.training",
    "train_auto": "models.auto",
    "tune_factorization": "tuning.factorization",
    "tune_regressor": "tuning.regressor",
    "window_scores": "models.explain",
    "with_vectors": "features.in_hand",
    "write_report": "report.write",
}

__all__ = [
    "CONTRACT_VERSION",
    "MFCC",
    "PCA",
    "RANK_METRICS",
    "BroughtReport",
    "Codebook",
    "ComparedRows",
    "Comparison",
    "DcbmrError",
    "Evaluation",
    "Excerpt",
    "Experiment",
    "ExperimentConfig",
    "ExportReport",
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
    "HasMemory",
    "HasUsers",
    "HeldoutRanks",
    "IdMatch",
    "InputError",
    "Interval",
    "JoinedPipeline",
    "ListReport",
    "ListsReport",
    "LogMel",
    "Loss",
    "LossSpec",
    "MemoryFeatures",
    "Model",
    "NewerPlays",
    "Peers",
    "PerArtist",
    "PlayCounts",
    "PlayFigures",
    "PlaysChange",
    "Predicted",
    "Progress",
    "RandomRow",
    "RankMetric",
    "RankingReport",
    "RayEngine",
    "Recommender",
    "Regressor",
    "RegressorSpec",
    "Results",
    "ScoredSongs",
    "SharedSpectrum",
    "SongFeatures",
    "SongStatistics",
    "SongTable",
    "SongTags",
    "Split",
    "Stack",
    "StoredKind",
    "TagReport",
    "TagScore",
    "TopSongs",
    "Tuned",
    "Uncertainty",
    "WeightedALS",
    "WindowScores",
    "bag_of_words",
    "bootstrap",
    "bring_vectors",
    "by_activity",
    "by_artist",
    "by_popularity",
    "compare_evaluations",
    "contributions_of_best",
    "convert_dataset",
    "evaluate_factors",
    "evaluate_lists",
    "evaluate_models",
    "evaluate_ranking",
    "evaluate_tags",
    "explain",
    "export_vectors",
    "extractors",
    "featurize",
    "fit_codebook",
    "get_extractor",
    "get_loss",
    "get_regressor",
    "have_known_artist",
    "hookimpl",
    "load_model",
    "load_tensors",
    "losses",
    "pipeline_to",
    "plan_experiment",
    "plays_to_date",
    "plot_tags",
    "pool_folds",
    "predict_new",
    "random_row",
    "read_experiment",
    "read_results",
    "read_songs",
    "regressors",
    "resolve_n_threads",
    "run_experiment",
    "save_lists",
    "save_tensors",
    "share_spectrum",
    "shared_plays",
    "similar_features",
    "split_plays",
    "testing",
    "top_songs",
    "train",
    "train_auto",
    "tune_factorization",
    "tune_regressor",
    "window_scores",
    "with_vectors",
    "write_report",
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
