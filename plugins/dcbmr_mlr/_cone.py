"""The two sets of metrics that MLR learns from: positive semi-definite matrices, full or diagonal.

With W a metric, ``distance(q, x) = (q - x)' W (q - x)``. A metric is an array of the cone's shape: (d, d),
or (d,) for a diagonal. The constraints of the structural SVM are planes: arrays of the same shape.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]


class Cone(Protocol):
    """What the solver needs to know of a set of metrics over d dimensions."""

    identity: Array

    def project(self, w: Array) -> Array:
        """Return the nearest metric to ``w``, an array of the cone's shape."""
        ...

    def largest(self, w: Array) -> float:
        """Return the least c for which ``c * identity - w`` is a metric."""
        ...

    def scores(self, w: Array, queries: Array, items: Array) -> Array:
        """Return -distance(query, item) but for a constant a query, (n_queries, n_items)."""
        ...

    def plane(self, weights: Array, queries: Array, items: Array) -> Array:
        """Return the gradient in w of ``sum(weights * scores(w))``; rows of weights sum to zero."""
        ...

    def components(self, w: Array) -> Array:
        """Return L of shape (rank, d) with L'L the metric, its rows in order of falling weight."""
        ...


class FullCone:
    """Positive semi-definite matrices."""

    def __init__(self, n_dims: int) -> None:
        self.identity: Array = np.eye(n_dims)
        self._threads = ThreadpoolController()

    def _one_thread(self) -> AbstractContextManager[object]:
        """Keep eigenvalues from the threads of BLAS: they gain them nothing, and wait by spinning."""
        limited: AbstractContextManager[object] = self._threads.limit(limits=1, user_api="blas")
        return limited

    def project(self, w: Array) -> Array:
        with self._one_thread():
            values, vectors = np.linalg.eigh(w)
        kept = vectors[:, values > 0]
        return np.asarray((kept * values[values > 0]) @ kept.T)

    def largest(self, w: Array) -> float:
        with self._one_thread():
            return float(np.linalg.eigvalsh(w)[-1])

    def scores(self, w: Array, queries: Array, items: Array) -> Array:
        result = (2 * queries @ w) @ items.T
        result -= np.einsum("id,id->i", items @ w, items)
        return np.asarray(result)

    def plane(self, weights: Array, queries: Array, items: Array) -> Array:
        # -sum of weights * (q - x)(q - x)'; its q q' terms cancel in every row.
        cross = queries.T @ (weights @ items)
        return np.asarray(cross + cross.T - (items.T * weights.sum(axis=0)) @ items)

    def components(self, w: Array) -> Array:
        values, vectors = np.linalg.eigh(w)
        order = np.argsort(-values, kind="stable")
        order = order[values[order] > 1e-9 * max(float(values[-1]), 0.0)]
        rows = (vectors[:, order] * np.sqrt(values[order])).T
        # The sign of an eigenvector is arbitrary: make the largest entry of each positive.
        signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
        return np.asarray(rows * signs[:, None])


class DiagonalCone:
    """Diagonal matrices without a negative entry, kept as their diagonals."""

    def __init__(self, n_dims: int) -> None:
        self.identity: Array = np.ones(n_dims)

    def project(self, w: Array) -> Array:
        return np.maximum(w, 0.0)

    def largest(self, w: Array) -> float:
        return float(w.max())

    def scores(self, w: Array, queries: Array, items: Array) -> Array:
        return np.asarray((2 * queries * w) @ items.T - (items * items) @ w)

    def plane(self, weights: Array, queries: Array, items: Array) -> Array:
        cross = np.einsum("qd,qd->d", queries, weights @ items)
        return np.asarray(2 * cross - weights.sum(axis=0) @ (items * items))

    def components(self, w: Array) -> Array:
        order = np.argsort(-w, kind="stable")
        order = order[w[order] > 0]
        rows = np.zeros((len(order), len(w)))
        rows[np.arange(len(order)), order] = np.sqrt(w[order])
        return rows
