"""What linear and kernel ridge share: centred vectors, the axes of their scatter, and exact leaving-out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array, issparse

from dcbmr import FactorTarget, InputError

Float64 = NDArray[np.float64]

# Numbers in float64 at once, of vectors or of the users of plays: 64 MB.
GATHERED = 1 << 23
# Lambdas to try, in units of the largest eigenvalue: from next to none to next to the mean alone.
GRID = np.logspace(-6, 2, 33)


@dataclass(frozen=True, eq=False)
class Centred:
    """The vectors less their mean, in float64 a block at a time: whole, they would take many times more."""

    vectors: NDArray[Any] | csr_array  # (n_songs, n_dims)
    mean: Float64  # (n_dims,)

    @classmethod
    def of(cls, vectors: NDArray[Any] | csr_array) -> Self:
        sums = np.asarray(vectors.sum(axis=0, dtype=np.float64)).ravel()
        if not np.isfinite(sums).all():
            raise InputError("the song vectors must be finite")
        return cls(csr_array(vectors) if issparse(vectors) else vectors, sums / vectors.shape[0])

    @property
    def block_songs(self) -> int:
        return max(GATHERED // max(len(self.mean), 1), 1)

    def __getitem__(self, songs: slice | NDArray[np.int64]) -> Float64:
        chosen = self.vectors[songs]
        dense = chosen.toarray() if issparse(chosen) else chosen
        centred: Float64 = dense - self.mean
        return centred

    def blocks(self) -> Iterator[tuple[slice, Float64]]:
        for first in range(0, self.vectors.shape[0], self.block_songs):
            songs = slice(first, min(first + self.block_songs, self.vectors.shape[0]))
            yield songs, self[songs]

    def weighted_sum(self, weights: Float64) -> Float64:
        """Return X' weights, (n_dims, n_columns)."""
        total = np.zeros((len(self.mean), weights.shape[1]))
        for songs, block in self.blocks():
            total += block.T @ weights[songs]
        return total


@dataclass(frozen=True, eq=False)
class Basis:
    """The axes of the centred vectors X, along which their scatter is diagonal: with Z = X axes."""

    vectors: Centred  # X
    axes: Float64  # (n_dims, rank), orthonormal columns
    energies: Float64  # (rank,): diagonal of Z'Z, falling

    @staticmethod
    def memory(n_songs: int, n_dims: int, n_factors: int) -> float:
        """Return how many bytes it takes to find the axes, and to choose a lambda by them."""
        n_axes = min(n_songs, n_dims)
        whole = 16 * n_songs * n_dims if n_dims > n_songs else 0
        blocks = 32 * min(n_songs * n_dims, GATHERED)
        return 32 * n_axes**2 + whole + blocks + 40 * n_songs * n_factors

    @classmethod
    def of(cls, vectors: Centred) -> Self:
        n_songs, n_dims = vectors.vectors.shape
        if n_dims <= n_songs:
            scatter = np.zeros((n_dims, n_dims))
            for _, block in vectors.blocks():
                scatter += block.T @ block
        else:
            whole = vectors[:]
            scatter = whole @ whole.T
        values, axes = eigh(scatter, check_finite=False, overwrite_a=True)
        values, axes = values[::-1], axes[:, ::-1]
        # What is less is rounding, as in a dimension that never changes.
        rank = int((values > 1e-12 * values[0]).sum()) if len(values) and values[0] > 0 else 0
        values, axes = values[:rank], axes[:, :rank]
        if n_dims > n_songs:
            axes = whole.T @ (axes / np.sqrt(values))
        return cls(vectors, axes, values)

    def solve(self, targets: Float64, regularization: float) -> Float64:
        """Return the ridge weights (rank, n_targets) for centred targets."""
        return self._products(targets) / (self.energies + regularization)[:, None]

    def _products(self, targets: Float64) -> Float64:
        products: Float64 = self.axes.T @ self.vectors.weighted_sum(targets)
        return products

    def choose(
        self, targets: Float64, groups: NDArray[np.int64], regularization: float | None = None
    ) -> tuple[float, dict[float, float]]:
        """Return the lambda that does best when groups are left out, or the one given, and the errors."""
        top = self.energies[0] if len(self.energies) else 1.0
        lambdas = GRID * top if regularization is None else np.array([regularization], np.float64)
        errors = self.leave_out(targets, lambdas, groups)
        # Of equals the largest: it trusts the features least.
        best = float(lambdas[errors == errors.min()].max())
        return best, dict(zip(lambdas.tolist(), errors.tolist(), strict=True))

    def leave_out(self, targets: Float64, lambdas: Float64, groups: NDArray[np.int64]) -> Float64:
        """Return the mean over songs of the squared error when their group is left out, for each lambda.

        With H = 1/n + Z (Z'Z + lambda)^-1 Z' the errors of the songs of a group, predicted from all others,
        are exactly (1 - H_gg)^-1 times their residuals: for one song, Allen's PRESS (1974).
        """
        products = self._products(targets)
        inverses = 1 / (self.energies + lambdas[:, None])
        errors = np.zeros(len(lambdas))
        for rows in _of_one_size(groups, self.vectors.block_songs):
            z = (self.vectors[rows.ravel()] @ self.axes).reshape(*rows.shape, -1)
            for i, inverse in enumerate(inverses):
                residuals = targets[rows] - z @ (inverse[:, None] * products)
                scaled = z * np.sqrt(inverse)
                hat = scaled @ scaled.transpose(0, 2, 1) + 1 / len(targets)
                left_out = np.linalg.solve(np.eye(rows.shape[1]) - hat, residuals)
                errors[i] += np.square(left_out).sum() / len(targets)
        return errors


def _of_one_size(groups: NDArray[np.int64], n_songs: int) -> Iterator[NDArray[np.int64]]:
    """Yield groups of one size together, (n_groups, size): as many as ``n_songs`` hold, but at least one."""
    order = np.argsort(groups, kind="stable")
    sizes = np.unique(groups, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        at_once = max(n_songs // size, 1)
        for first in range(0, len(rows), at_once):
            yield rows[first : first + at_once]


def groups_of(target: FactorTarget) -> NDArray[np.int64]:
    """Return the artist of each song or, where artists are not known or there is only one, the song."""
    if target.groups is not None and (target.groups != target.groups[0]).any():
        return target.groups
    return np.arange(len(target.song_factors))


def training_factors(vectors: NDArray[Any] | csr_array, target: FactorTarget) -> Float64:
    """Return the song factors to learn in float64.

    Raises
    ------
    InputError
        Fewer than two songs, or rows that do not match; factors that are not finite.
    """
    factors = np.asarray(target.song_factors, np.float64)
    if vectors.shape[0] != len(factors) or len(factors) < 2:
        raise InputError(
            f"ridge regression needs a vector and factors for each of at least 2 songs; got "
            f"{vectors.shape[0]} vectors and {len(factors)} rows of factors"
        )
    if not np.isfinite(factors).all():
        raise InputError("the song factors must be finite")
    return factors
