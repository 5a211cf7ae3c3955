"""Principal components of many rows, sparse or dense, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from dcbmr.base.arrays import blocks, read_tensors
from dcbmr.base.directory import new_directory, read_config, reading
from dcbmr.base.estimator import Estimator
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.features.seen import digests, seen

# Rows made dense at once: 64 MB at 4000 dimensions.
_BLOCK_ROWS = 4096
_TENSORS = ("mean", "components", "explained_variance", "explained_variance_ratio")


class PCA(Estimator):
    """Principal components that keep a share of the variance.

    The covariance is summed over blocks of rows, so that sparse counts of any number of songs need no more
    memory than (n_dims, n_dims) and a block; with fewer rows than dimensions the products between rows
    take its place.

    Parameters
    ----------
    variance : float
        Share of the variance to keep, in (0, 1]; the paper's 0.95. The fewest components that reach it
        are kept.
    n_threads : int, optional
        Threads to use; None for every core.

    Attributes
    ----------
    mean_ : ndarray of shape (n_dims,), float32
    components_ : ndarray of shape (n_components, n_dims), float32
        Unit rows by falling variance; of each, the entry of greatest size is positive.
    explained_variance_ : ndarray of shape (n_components,), float32
        Variance along each component, with n_rows - 1 in the denominator.
    explained_variance_ratio_ : ndarray of shape (n_components,), float32
        Its share of the whole variance.
    songs_ : ndarray of shape (n_songs,), uint64, or None
        A digest of the id of each song that a row was of, for :meth:`seen`; None where they are not known.
    """

    mean_: NDArray[np.float32]
    components_: NDArray[np.float32]
    explained_variance_: NDArray[np.float32]
    explained_variance_ratio_: NDArray[np.float32]
    songs_: NDArray[np.uint64] | None

    def __init__(self, *, variance: float = 0.95, n_threads: int | None = None) -> None:
        self.variance = variance
        self.n_threads = n_threads

    def fit(self, X: NDArray[Any] | csr_array, *, song_ids: Iterable[str] | None = None) -> Self:
        """Learn the components.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_rows, n_dims)
            At least two rows, all finite.
        song_ids : iterable of str, optional
            The songs that the rows are of, of which digests are kept with the components.

        Raises
        ------
        InputError
            ``variance`` is out of its range, or rows are too few, all equal, or not finite.
        """
        if not 0 < self.variance <= 1:
            raise InputError(f"variance must be in (0, 1]; got {self.variance}")
        matrix = _checked_matrix(X)
        n_rows, n_dims = matrix.shape
        if n_rows < 2:
            raise InputError(f"principal components need at least 2 rows; got {n_rows}")
        mean = np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel() / n_rows
        with self._threads():
            variances, components = (_of_covariance if n_rows > n_dims else _of_rows)(
                matrix, mean, self.variance
            )
        total = variances.sum()
        if total <= 0:
            raise InputError(f"all {n_rows} rows are equal: there is no variance to keep")
        n_components = len(components)
        largest = np.abs(components).argmax(axis=1)
        components *= np.sign(components[np.arange(n_components), largest])[:, None]
        self.songs_ = None if song_ids is None else digests(song_ids)
        self.mean_ = mean.astype(np.float32)
        self.components_ = np.ascontiguousarray(components, np.float32)
        self.explained_variance_ = variances[:n_components].astype(np.float32)
        self.explained_variance_ratio_ = (variances[:n_components] / total).astype(np.float32)
        return self

    def transform(self, X: NDArray[Any] | csr_array) -> NDArray[np.float32]:
        """Return the coordinates of rows ``X`` along the components, (n_rows, n_components)."""
        if not hasattr(self, "components_"):
            raise InputError("this PCA has no components yet: call fit or load first")
        matrix = _checked_matrix(X)
        if matrix.shape[1] != len(self.mean_):
            raise InputError(f"X has {matrix.shape[1]} dimensions, the components {len(self.mean_)}")
        reduced = np.empty((matrix.shape[0], len(self.components_)), np.float32)
        with self._threads():
            for rows in blocks(matrix.shape[0], _BLOCK_ROWS):
                np.matmul(_dense(matrix[rows]) - self.mean_, self.components_.T, out=reduced[rows])
        return reduced

    def seen(self, song_ids: Sequence[str]) -> list[str]:
        """Return those of ``song_ids`` that the components were learned from; none where not known."""
        return seen(song_ids, self.songs_)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the components to a directory of their own."""
        from safetensors.numpy import save_file

        names = [*_TENSORS, *([] if self.songs_ is None else ["songs"])]
        config = {
            "variance": self.variance,
            "n_components": len(self.components_),
            "n_songs": None if self.songs_ is None else len(self.songs_),
        }
        with new_directory(Path(directory), kind="pca", config=config, overwrite=overwrite) as beside:
            save_file({name: getattr(self, f"{name}_") for name in names}, beside / "pca.safetensors")

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read what :meth:`save` wrote."""
        config = read_config(Path(directory), kind="pca")
        with reading(directory):
            pca = cls(variance=config["variance"], n_threads=n_threads)
            pca.songs_ = None
            # Older ones do not know their songs.
            names = [*_TENSORS, *([] if config.get("n_songs") is None else ["songs"])]
            for name, value in read_tensors(Path(directory) / "pca.safetensors", *names).items():
                setattr(pca, f"{name}_", value)
            return pca

    def _threads(self) -> AbstractContextManager[Any]:
        from threadpoolctl import threadpool_limits

        limits: AbstractContextManager[Any] = threadpool_limits(resolve_n_threads(self.n_threads))
        return limits


def _checked_matrix(X: NDArray[Any] | csr_array) -> NDArray[Any] | csr_array:
    matrix = csr_array(X) if issparse(X) else np.asarray(X)
    if matrix.ndim != 2:
        raise InputError(f"X must be (n_rows, n_dims); got shape {matrix.shape}")
    if not np.isfinite(matrix.sum(dtype=np.float64)):
        raise InputError("X must be finite")
    return matrix


def _dense(rows: NDArray[Any] | csr_array) -> NDArray[np.float32]:
    return rows.astype(np.float32).toarray() if issparse(rows) else np.asarray(rows, np.float32)


def _of_covariance(
    matrix: NDArray[Any] | csr_array, mean: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All variances, falling, and components in rows, from the covariance summed over blocks of rows."""
    n_rows, n_dims = matrix.shape
    covariance = np.zeros((n_dims, n_dims))
    for rows in blocks(n_rows, _BLOCK_ROWS):
        centred = _dense(matrix[rows]) - mean.astype(np.float32)
        covariance += centred.T @ centred
    values, vectors = _leading(covariance, share)
    return values / (n_rows - 1), vectors.T


def _of_rows(
    matrix: NDArray[Any] | csr_array, mean: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same from the products between rows, of which there are fewer than dimensions."""
    centred = _dense(matrix) - mean
    values, vectors = _leading(centred @ centred.T, share)
    scale = np.sqrt(np.where(values > 0, values, 1))[: vectors.shape[1]]
    return values / (len(centred) - 1), (centred.T @ (vectors / scale)).T


def _leading(products: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All eigenvalues, falling, and in columns the vectors of the fewest that make up ``share`` of them.

    The steps of LAPACK's dsyevr, since how many vectors are wanted is known only from the values, and all of
    them cost as much as the values. The first step waits for memory and not for cores: on one thread it
    takes little longer, and beside other programs many times less, since threads of BLAS wait by spinning.
    """
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    n = len(products)
    if n == 1:  # which the wrappers of LAPACK do not take
        return np.maximum(products[0], 0), np.ones((1, 1))
    with threadpool_limits(1, user_api="blas"):
        # Of three diagonals; symmetric, so that its transpose is the same in Fortran's order.
        reduced, diagonal, beside, tau, failed = lapack.dsytrd(
            products.T, lower=1, lwork=64 * n, overwrite_a=1
        )
    rising, failed_values = lapack.dsterf(diagonal, beside)
    values = np.maximum(rising[::-1], 0)
    # share = 1 keeps what is more than rounding in float32.
    possible = max(1, int((values > 1e-6 * values[0]).sum()))
    reached = np.cumsum(values) / (values.sum() or 1)
    n_vectors = min(int(np.searchsorted(reached, share)) + 1, possible)
    ends = 0.0, 0.0, n - n_vectors + 1, n
    *_, vectors, failed_vectors = lapack.dstemr(diagonal, np.append(beside, 0), 2, *ends, compute_v=1)
    if failed or failed_values or failed_vectors:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    vectors = vectors[:, :n_vectors]
    vectors[1:], *_ = lapack.dormqr("L", "N", reduced[1:, :-1], tau, vectors[1:], lwork=64 * n)
    return values, vectors[:, ::-1]
