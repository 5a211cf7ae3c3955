"""Metric learning to rank, usable without the rest of dcbmr."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from dcbmr import InputError, Progress, load_tensors, resolve_n_threads, save_tensors
from dcbmr_mlr._cone import Array, Cone, DiagonalCone, FullCone
from dcbmr_mlr._oracle import most_violated
from dcbmr_mlr._solver import CuttingPlane, minimize

LOSSES = ("auc", "map")
FORMAT_VERSION = 1


class MLR:
    """Learn a metric under which the items that are relevant to a query come first.

    Minimises ``trace(W) + C * slack`` over positive semi-definite W, where for every set of rankings, one a
    query, the right rankings score above these by at least their loss, but for the slack (McFee and
    Lanckriet, "Metric learning to rank", ICML 2010; the structural SVM of one slack). Every sample serves as
    a query against all others.

    Parameters
    ----------
    loss : {"auc", "map"}
        Loss of a ranking: 1 - AUC, which weighs all pairs alike, or 1 - average precision, which looks at
        the top.
    C : float
        Weight of the slack against the trace of W; when it is too small, W is zero and a warning is given.
        Distances are measured in units of the data's root mean square distance from their mean, so that C
        does not depend on the scale of X.
    diagonal : bool
        Learn a weight a dimension only, in time linear in their number.
    n_queries : int or None
        Learn from this many samples drawn at random out of those that have relevant ones; None for all.
    tolerance : float
        In units of the loss: the fit ends when the objective is certainly within ``C * tolerance`` of the
        optimum and no ranking violates its constraint by more than the tolerance.
    max_iterations : int
        Cutting planes at the most.
    n_threads : int or None
        Threads of the separation oracle; None for every core. The matrix products go to NumPy's BLAS, with
        the threads it has.
    random_state : int
        Seed of the draw of queries.

    Attributes
    ----------
    metric_ : ndarray of shape (n_dims, n_dims), or (n_dims,) if diagonal, float64
        W in the units of X: the squared distance is (q - x)' W (q - x).
    components_ : ndarray of shape (rank, n_dims), float64
        L with L'L = W; the squared distance is that of the transformed samples.
    mean_ : ndarray of shape (n_dims,), float64
        Mean of X, subtracted by :meth:`transform`.
    history_ : list of dict
        One a cutting plane: objective, bound (no metric's objective is lower), slack, violation, n_planes.
    converged_ : bool
        Whether the tolerance was reached within ``max_iterations``.
    n_queries_ : int
        Queries learned from.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> artist = np.arange(60) % 6
    >>> style = 3 * rng.standard_normal((6, 2))
    >>> X = np.hstack([style[artist], 5 * rng.standard_normal((60, 4))])
    >>> mlr = MLR().fit(X, artist)
    >>> mlr.transform(X).shape  # the dimensions that mean nothing are gone
    (60, 2)
    >>> mlr.score(X, artist) > 0.99
    True
    """

    def __init__(
        self,
        *,
        loss: str = "auc",
        C: float = 300.0,
        diagonal: bool = False,
        n_queries: int | None = None,
        tolerance: float = 0.01,
        max_iterations: int = 200,
        n_threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.loss = loss
        self.C = C
        self.diagonal = diagonal
        self.n_queries = n_queries
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.n_threads = n_threads
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn wants them; ``deep`` is for its sake alone."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; InputError names one that there is not."""
        for name, value in params.items():
            if name not in _PARAMETERS:
                raise InputError(f"MLR has no parameter {name!r}; it has {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        if self.loss not in LOSSES:
            raise InputError(f"loss must be one of {', '.join(LOSSES)}; got {self.loss!r}")
        for name, low in (("C", 0.0), ("tolerance", 0.0)):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > low):
                raise InputError(f"{name} must be above {low:g} and finite; got {getattr(self, name)}")
        for name in ("max_iterations", "n_queries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1; got {value}")
        resolve_n_threads(self.n_threads)

    def fit(
        self,
        X: ArrayLike,
        relevance: Any,
        *,
        progress: Progress | None = None,
    ) -> Self:
        """Learn the metric.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_dims)
        relevance : sparse array or array-like of shape (n_samples, n_samples), or (n_samples,)
            Entry (q, i) is true where sample i is relevant to query q; a sample is never ranked for itself.
            A row without relevant samples, or with nothing else, is no query. One-dimensional: labels, and
            samples of one label are relevant to each other.
        progress : dcbmr.Progress, optional
            Told of every cutting plane, with the figures of ``history_``; it may raise to end the fit.

        Raises
        ------
        InputError
            An argument or a parameter is not as described here, or no sample is a query.
        """
        self.check()
        samples = _samples(X, "X")
        n_samples, n_dims = samples.shape
        mean = samples.mean(axis=0)
        samples = samples - mean
        scale = float(np.sqrt(np.vdot(samples, samples) / n_samples))
        if scale == 0:
            raise InputError("X: all samples are equal; a metric needs samples that differ")
        samples /= scale
        rows, mask = self._draw(*_mask(relevance, n_samples, n_samples, square=True))
        queries = samples[rows]
        n_threads = resolve_n_threads(self.n_threads)
        cone: Cone = DiagonalCone(n_dims) if self.diagonal else FullCone(n_dims)

        def oracle(w: Array) -> tuple[float, Array]:
            losses, weights = most_violated(cone.scores(w, queries, samples), mask, self.loss, n_threads)
            weights /= len(queries)
            return float(losses.mean()), cone.plane(weights, queries, samples)

        history: list[dict[str, float]] = []

        def record(iteration: int, plane: CuttingPlane) -> None:
            history.append({name: float(value) for name, value in vars(plane).items()})
            if progress is not None:
                progress("fit", iteration + 1, self.max_iterations, history[-1])

        metric, self.converged_ = minimize(
            oracle,
            cone,
            C=self.C,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            callback=record,
        )
        self.history_ = history
        self.mean_ = mean
        self.metric_ = metric / scale**2
        self.components_ = cone.components(self.metric_)
        self.n_queries_ = len(rows)
        if not len(self.components_):
            warnings.warn(
                f"metric learning to rank found the zero metric, under which all samples are alike: C = "
                f"{self.C:g} is too small, or X says nothing about what is relevant; try C = {10 * self.C:g}",
                stacklevel=2,
            )
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the samples where the metric is Euclidean, (n_samples, rank): L (x - mean)."""
        self._check_fitted()
        samples = _samples(X, "X", n_dims=len(self.mean_))
        return np.asarray((samples - self.mean_) @ self.components_.T)

    def score(self, X: ArrayLike, relevance: Any, corpus: ArrayLike | None = None) -> float:
        """Return the mean AUC, or average precision if ``loss`` is "map", of the queries' rankings.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_dims)
            The queries; samples without relevant or without irrelevant ones are skipped.
        relevance : as in :meth:`fit`, of shape (n_queries, n_corpus)
            Labels only without a corpus.
        corpus : array-like of shape (n_corpus, n_dims), optional
            What is ranked; by default the queries themselves, each but for itself.

        Notes
        -----
        Of two at the same distance the irrelevant one is ranked first by average precision, and AUC counts
        a half.
        """
        self._check_fitted()
        queries = self.transform(X)
        items = queries if corpus is None else self.transform(corpus)
        rows, mask = _mask(relevance, len(queries), len(items), square=corpus is None)
        if len(rows) == 0:
            raise InputError("relevance: no query has both relevant and irrelevant samples")
        scores = 2 * queries[rows] @ items.T - np.einsum("id,id->i", items, items)
        measure = _average_precision if self.loss == "map" else _auc
        return float(np.mean([measure(s[m >= 0], m[m >= 0] > 0) for s, m in zip(scores, mask, strict=True)]))

    def save(self, directory: Path) -> None:
        """Write the fitted metric into an existing directory: mlr.json and mlr.safetensors."""
        self._check_fitted()
        header = {
            "settings": self.get_params(),
            "learned": {name: getattr(self, f"{name}_") for name in _LEARNED},
        }
        tensors = {name: getattr(self, f"{name}_") for name in _TENSORS}
        save_tensors(directory, tensors, header, name="mlr", format_version=FORMAT_VERSION)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            A file is missing, damaged, or of another version; names it.
        """
        header, tensors = load_tensors(directory, name="mlr", format_version=FORMAT_VERSION)
        model = cls().set_params(**header["settings"])
        for source, names in ((header["learned"], _LEARNED), (tensors, _TENSORS)):
            for name in names:
                setattr(model, f"{name}_", source[name])
        return model

    def _draw(
        self, rows: NDArray[np.int64], mask: NDArray[np.int8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        if len(rows) == 0:
            raise InputError("relevance: no sample has both relevant and irrelevant ones to be ranked")
        if self.n_queries is None or self.n_queries >= len(rows):
            return rows, mask
        drawn = np.random.default_rng(self.random_state).choice(len(rows), self.n_queries, replace=False)
        drawn.sort()
        return rows[drawn], mask[drawn]

    def _check_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise InputError("this MLR has not been fitted; call fit first")


_PARAMETERS = tuple(inspect.signature(MLR).parameters)
_LEARNED = ("converged", "n_queries", "history")
_TENSORS = ("metric", "components", "mean")


def _samples(X: ArrayLike, name: str, n_dims: int | None = None) -> NDArray[np.float64]:
    if issparse(X):
        raise InputError(f"{name} is sparse; reduce it to a dense array first (for instance by PCA)")
    try:
        array = np.asarray(X, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must have shape (n_samples, n_dims), neither zero; got {array.shape}")
    if n_dims is not None and array.shape[1] != n_dims:
        raise InputError(f"{name} has {array.shape[1]} dimensions; the metric was learned on {n_dims}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise InputError(f"{name} has NaN or infinite values in {len(bad)} rows, the first is row {bad[0]}")
    return array


def _mask(
    relevance: Any, n_queries: int, n_items: int, *, square: bool
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return the rows that are queries, and for each 1 relevant, 0 irrelevant, -1 itself: (n, n_items)."""
    if hasattr(relevance, "tocsr"):
        _check_shape(relevance.shape, (n_queries, n_items))
        sparse = relevance.tocsr()
        rows = np.flatnonzero(np.diff(sparse.indptr))
        relevant = sparse[rows].toarray() != 0
    else:
        array = np.asarray(relevance)
        if array.ndim == 1 and square:
            _check_shape(array.shape, (n_queries,))
            array = array[:, None] == array[None, :]
        _check_shape(array.shape, (n_queries, n_items))
        rows = np.arange(n_queries)
        relevant = array != 0
    mask = relevant.astype(np.int8)
    if square:
        mask[np.arange(len(rows)), rows] = -1
    kept = (mask == 1).any(axis=1) & (mask == 0).any(axis=1)
    return rows[kept].astype(np.int64), np.ascontiguousarray(mask[kept])


def _check_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise InputError(f"relevance must have shape {wanted}; got {shape}")


def _average_precision(scores: Array, relevant: NDArray[np.bool_]) -> float:
    hits = relevant[np.lexsort((relevant, -scores))]
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def _auc(scores: Array, relevant: NDArray[np.bool_]) -> float:
    irrelevant = np.sort(scores[~relevant])
    below = np.searchsorted(irrelevant, scores[relevant], side="left")
    not_above = np.searchsorted(irrelevant, scores[relevant], side="right")
    return float(np.mean(below + not_above) / (2 * len(irrelevant)))
