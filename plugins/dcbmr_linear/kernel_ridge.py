"""Kernel ridge regression with a Gaussian kernel, its width and lambda by leave-one-out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array, issparse

from dcbmr import FactorTarget, FitRun, InputError, SongFeatures, load_tensors, save_tensors
from dcbmr_linear.ridge import GATHERED, Basis, Centred, Float64, groups_of, training_factors

FORMAT_VERSION = 1
# Widths to try, in units of the median distance of two songs; the widest is next to linear.
_WIDTHS = (4.0, 2.0, 1.0, 0.5, 0.25)


class KernelRidge:
    """Kernel ridge regression from song vectors to song factors.

    A song's factors are a mean and a weighted sum of how alike it is to the songs learned from, where x and z
    are alike by ``exp(-|x - z|^2 / (2 width^2))``. Squared error plus lambda times the squared norm in the
    kernel's space is least. Up to ``n_landmarks`` songs that is exact. Of more songs so many are drawn at
    random, and the sum is over them, while all are learned from: time and memory then grow with the
    number of songs as they do for linear regression (Nystroem's method: Williams and Seeger, NIPS 2000; Rudi,
    Camoriano and Rosasco, NIPS 2015).

    Width and lambda are chosen together by leave-one-out, in closed form: each song predicted from all others
    or, where artists are known, from all other artists'. Distances weigh all dimensions alike, so they should
    be of one scale. Songs of ``target.validation`` are learned from as well.

    Parameters
    ----------
    width : float, optional
        Distance at which songs are alike by exp(-1/2). By default the one of 5 from a quarter to four times
        the median distance between landmarks that does best.
    regularization : float, optional
        Lambda. By default the one of 33 from 1e-6 to 100 times the largest eigenvalue of the kernel's centred
        matrix that does best.
    n_landmarks : int
        Songs that others are compared with. The work beside theirs grows with its cube.
    random_state : int
        Seed of the choice of landmarks.

    Attributes
    ----------
    landmarks_ : ndarray of shape (n_landmarks, n_dims), float32
    weights_ : ndarray of shape (n_landmarks, n_factors), float64
    intercept_ : ndarray of shape (n_factors,), float64
    width_, regularization_ : float
        Those used.
    leave_one_out_ : dict of float to dict
        For each width tried the mean squared error of leave-one-out for each lambda tried.
    """

    landmarks_: NDArray[np.float32]
    weights_: Float64
    intercept_: Float64
    width_: float
    regularization_: float
    leave_one_out_: dict[float, dict[float, float]]

    def __init__(
        self,
        *,
        width: float | None = None,
        regularization: float | None = None,
        n_landmarks: int = 2000,
        random_state: int = 0,
    ) -> None:
        self.width = width
        self.regularization = regularization
        self.n_landmarks = n_landmarks
        self.random_state = random_state

    def check(self) -> None:
        """Raise InputError for a parameter out of its range."""
        if self.width is not None and not 0 < self.width < np.inf:
            raise InputError(f"width must be positive and finite; got {self.width}")
        if self.regularization is not None and not 0 < self.regularization < np.inf:
            raise InputError(f"regularization must be positive and finite; got {self.regularization}")
        if self.n_landmarks < 2:
            raise InputError(f"n_landmarks must be at least 2; got {self.n_landmarks}")

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes a fit takes beside what it is given."""
        n_landmarks = min(self.n_landmarks, n_songs)
        # Similarities of all songs to the landmarks, and what makes vectors of them.
        alike = 8 * n_songs * n_landmarks + 24 * n_landmarks**2
        return alike + Basis.memory(n_songs, n_landmarks, n_factors)

    def fit(self, songs: SongFeatures, target: FactorTarget, *, run: FitRun | None = None) -> Self:
        """Learn from the songs' vectors.

        Raises
        ------
        InputError
            Fewer than two songs, rows that do not match, values that are not finite, parameters out of range.
        """
        self.check()
        run = run or FitRun()
        vectors = songs.vectors()
        factors = training_factors(vectors, target)
        mean = factors.mean(axis=0)
        groups = groups_of(target)
        landmarks = _Landmarks.of(vectors, self.n_landmarks, self.random_state)
        widths = [self.width] if self.width is not None else landmarks.widths()
        self.leave_one_out_ = {}
        least = np.inf
        run.report("fit", 0, len(widths), {})
        for step, width in enumerate(widths, 1):
            axes = landmarks.axes(width)
            basis = Basis.of(Centred.of(landmarks.map(vectors, width, axes)))
            regularization, errors = basis.choose(factors - mean, groups, self.regularization)
            self.leave_one_out_[width] = errors
            if errors[regularization] < least:
                least = errors[regularization]
                self.width_, self.regularization_ = width, regularization
                weights = basis.axes @ basis.solve(factors - mean, regularization)
                self.weights_ = axes @ weights
                self.intercept_ = mean - basis.vectors.mean @ weights
            run.report("fit", step, len(widths), {"error": errors[regularization]})
        self.landmarks_ = landmarks.vectors
        return self

    def predict(self, songs: SongFeatures) -> NDArray[np.float32]:
        """Return the song factors, (n_songs, n_factors)."""
        if not hasattr(self, "weights_"):
            raise InputError("this kernel ridge regression has no weights yet: call fit or load first")
        if songs.n_dims != self.landmarks_.shape[1]:
            raise InputError(
                f"the songs have {songs.n_dims} dimensions, the landmarks {self.landmarks_.shape[1]}"
            )
        predicted = _Landmarks(self.landmarks_).map(songs.vectors(), self.width_, self.weights_)
        return (predicted + self.intercept_).astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write kernel_ridge.safetensors and kernel_ridge.json."""
        header: dict[str, Any] = {
            "width": self.width,
            "regularization": self.regularization,
            "n_landmarks": self.n_landmarks,
            "random_state": self.random_state,
            "width_used": self.width_,
            "regularization_used": self.regularization_,
            "leave_one_out": [[width, list(errors.items())] for width, errors in self.leave_one_out_.items()],
        }
        tensors: dict[str, NDArray[Any]] = {
            "landmarks": self.landmarks_,
            "weights": self.weights_,
            "intercept": self.intercept_,
        }
        save_tensors(directory, tensors, header, name="kernel_ridge", format_version=FORMAT_VERSION)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""
        header, tensors = load_tensors(directory, name="kernel_ridge", format_version=FORMAT_VERSION)
        params = {name: header[name] for name in ("width", "regularization", "n_landmarks", "random_state")}
        model = cls(**params)
        model.landmarks_, model.weights_ = tensors["landmarks"], tensors["weights"]
        model.intercept_ = tensors["intercept"]
        model.width_, model.regularization_ = header["width_used"], header["regularization_used"]
        model.leave_one_out_ = {
            width: {float(value): error for value, error in errors}
            for width, errors in header["leave_one_out"]
        }
        return model


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """Songs that others are compared with."""

    vectors: NDArray[np.float32]  # (n_landmarks, n_dims)

    @classmethod
    def of(cls, vectors: NDArray[Any] | csr_array, n_landmarks: int, random_state: int) -> Self:
        n_songs = vectors.shape[0]
        rows: NDArray[np.int64] = np.arange(n_songs)
        if n_songs > n_landmarks:
            drawn = np.random.default_rng(random_state).choice(n_songs, n_landmarks, replace=False)
            rows = np.sort(drawn)
        landmarks = _dense(vectors[rows]).astype(np.float32)
        if not np.isfinite(landmarks).all():
            raise InputError("the song vectors must be finite")
        return cls(landmarks)

    def widths(self) -> list[float]:
        """Return the widths to try; of songs that are all alike any does."""
        squares = self._squared_distances(self.vectors)
        median = float(np.sqrt(np.median(squares[np.triu_indices(len(squares), 1)])))
        return [factor * (median or 1.0) for factor in _WIDTHS]

    def axes(self, width: float) -> Float64:
        """Return what makes similarities to the landmarks a vector whose inner products are the kernel.

        Among the landmarks that holds exactly: with their matrix U S U' it is U S^-1/2, (n_landmarks, rank).
        """
        values, axes = eigh(self._alike(self.vectors, width), check_finite=False, overwrite_a=True)
        kept = values > 1e-10 * values[-1]
        found: Float64 = axes[:, kept] / np.sqrt(values[kept])
        return found

    def map(self, vectors: NDArray[Any] | csr_array, width: float, axes: Float64) -> Float64:
        """Return K axes, (n_songs, n_columns), K the similarities of songs to the landmarks."""
        found = np.empty((vectors.shape[0], axes.shape[1]))
        for songs in _blocks(vectors.shape[0], max(GATHERED // max(self.vectors.shape), 1)):
            found[songs] = self._alike(_dense(vectors[songs]), width) @ axes
        return found

    def _alike(self, vectors: NDArray[Any], width: float) -> Float64:
        alike = self._squared_distances(vectors)
        alike *= -0.5 / width**2
        np.exp(alike, out=alike)
        return alike

    def _squared_distances(self, vectors: NDArray[Any]) -> Float64:
        # Less their mean, for what is far from the origin loses digits.
        mean = self.vectors.mean(axis=0, dtype=np.float64)
        x, z = vectors - mean, self.vectors - mean
        squares: Float64 = np.square(x).sum(axis=1)[:, None] + np.square(z).sum(axis=1)
        squares -= 2 * x @ z.T
        np.maximum(squares, 0, out=squares)
        return squares


def _blocks(n_rows: int, size: int) -> Iterator[slice]:
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def _dense(vectors: NDArray[Any] | csr_array) -> NDArray[Any]:
    return vectors.toarray() if issparse(vectors) else vectors
