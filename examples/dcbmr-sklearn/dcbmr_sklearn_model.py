"""The regressor: one of the table of estimators, on vectors of one scale."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from dcbmr_sklearn_estimators import ESTIMATORS, check_forest
from scipy.sparse import issparse

from dcbmr import InputError, load_tensors, save_tensors


@dataclass(kw_only=True, eq=False)
class SklearnRegressor:
    """An estimator of scikit-learn.

    Parameters
    ----------
    estimator : {"kernel_ridge", "random_forest", "neighbours"}
    alpha : float
        Of kernel ridge: the weight of the squared norm.
    n_estimators, min_samples_leaf : int
        Of the forest: its trees, and the fewest songs in a leaf.
    n_neighbors : int
        Of nearest neighbours: songs to average over, weighted by their nearness.
    random_state : int
        Seed of the forest.
    """

    estimator: Literal["kernel_ridge", "random_forest", "neighbours"] = "kernel_ridge"
    alpha: float = 1.0
    n_estimators: int = 200
    min_samples_leaf: int = 2
    n_neighbors: int = 20
    random_state: int = 0

    def check(self):
        """Raise InputError for a parameter that is out of its range."""
        if self.estimator not in ESTIMATORS:
            raise InputError(f"estimator must be one of {', '.join(ESTIMATORS)}; got {self.estimator!r}")
        if not self.alpha > 0:
            raise InputError(f"alpha must be positive; got {self.alpha}")
        for name in ("n_estimators", "min_samples_leaf", "n_neighbors"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")

    def fit(self, songs, target, *, run=None):
        """Learn from all songs: none of these estimators stops early, so validation songs are used, too."""
        vectors = _dense(songs.vectors())
        # One scale for all dimensions: principal components differ in theirs on purpose.
        self.mean_, self.scale_ = vectors.mean(axis=0), np.float32(vectors.std(axis=0).mean() or 1)
        self.offset_ = target.song_factors.mean(axis=0)
        fit, _ = ESTIMATORS[self.estimator]
        n_threads = run.n_threads if run else None
        self.arrays_ = fit(self, self._scaled(vectors), target.song_factors - self.offset_, n_threads)
        return self

    def predict(self, songs):
        """Return (n_songs, n_factors) float32."""
        _, predict = ESTIMATORS[self.estimator]
        predicted = predict(self, self.arrays_, self._scaled(_dense(songs.vectors())))
        return (predicted + self.offset_).astype(np.float32)

    def _scaled(self, vectors):
        return (vectors - self.mean_) / self.scale_

    def save(self, directory):
        """Write safetensors and JSON: arrays and settings, no estimator."""
        common = {"mean": self.mean_, "scale": np.array([self.scale_]), "offset": self.offset_}
        tensors = common | {f"fitted.{name}": array for name, array in self.arrays_.items()}
        save_tensors(directory, tensors, asdict(self), name="sklearn", format_version=1)

    @classmethod
    def load(cls, directory):
        """Read what ``save`` wrote."""
        header, tensors = load_tensors(directory, name="sklearn", format_version=1)
        model = cls(**header)
        model.check()
        model.mean_, model.scale_, model.offset_ = tensors["mean"], tensors["scale"][0], tensors["offset"]
        fitted = {name: array for name, array in tensors.items() if name.startswith("fitted.")}
        model.arrays_ = {name.removeprefix("fitted."): array for name, array in fitted.items()}
        if model.estimator == "random_forest":
            check_forest(model.arrays_, len(model.mean_))
        return model


def _dense(vectors):
    # Kinds with many dimensions, as word counts, come as a sparse matrix.
    return np.asarray(vectors.toarray() if issparse(vectors) else vectors, np.float32)
