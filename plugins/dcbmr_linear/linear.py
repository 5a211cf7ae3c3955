"""Ridge regression with its lambda by leave-one-out, for both objectives of the paper."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_array

from dcbmr import FactorTarget, FitRun, InputError, SongFeatures, load_tensors, save_tensors
from dcbmr_linear.ridge import GATHERED, Basis, Centred, Float64, groups_of, training_factors

FORMAT_VERSION = 1


class Linear:
    """Linear regression from song vectors to song factors.

    With ``loss="mse"`` the squared error of the factors plus lambda times the squared weights is least.
    With ``loss="wpe"`` it is the weighted prediction error of the plays, sum over songs and users of
    c (p - x_u . y')^2 with the users' factors fixed: a linear system too, which conjugate gradients solve
    without ever forming it. The intercept bears no penalty.

    Lambda is chosen by leave-one-out: each song predicted from all others or, where artists are known, from
    all other artists', since the songs to come are of artists not heard before. Songs of
    ``target.validation`` are learned from as well: leave-one-out needs no song set aside.

    Parameters
    ----------
    loss : {"mse", "wpe"}
    regularization : float, optional
        Lambda. By default the one of 33 from 1e-6 to 100 times the largest eigenvalue of the features'
        scatter that does best in leave-one-out, for all factors together.

    Attributes
    ----------
    weights_ : ndarray of shape (n_dims, n_factors), float32
    intercept_ : ndarray of shape (n_factors,), float32
    regularization_ : float
        The lambda used.
    leave_one_out_ : dict
        The mean squared error of leave-one-out for each lambda tried; for "wpe", in the metric of the mean
        song's confidences.
    """

    weights_: NDArray[np.float32]
    intercept_: NDArray[np.float32]
    regularization_: float
    leave_one_out_: dict[float, float]

    def __init__(self, *, loss: Literal["mse", "wpe"] = "mse", regularization: float | None = None) -> None:
        self.loss = loss
        self.regularization = regularization

    def check(self) -> None:
        """Raise InputError for another loss, or a lambda below 0."""
        if self.loss not in ("mse", "wpe"):
            raise InputError(f"loss must be 'mse' or 'wpe'; got {self.loss!r}")
        if self.regularization is not None and not 0 <= self.regularization < np.inf:
            raise InputError(f"regularization must be at least 0 and finite; got {self.regularization}")

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes a fit takes beside what it is given."""
        taken = Basis.memory(n_songs, n_dims, n_factors)
        if self.loss == "wpe":
            # The plays and the users in float64, twice each, and users gathered by plays.
            taken += 30 * n_pairs + 24 * n_users * n_factors + 24 * min(n_pairs * n_factors, GATHERED)
        return taken

    def fit(self, songs: SongFeatures, target: FactorTarget, *, run: FitRun | None = None) -> Self:
        """Learn from the songs' vectors, which are taken block by block into float64.

        Raises
        ------
        InputError
            Fewer than two songs, rows that do not match, values that are not finite, a lambda below 0.
        """
        self.check()
        vectors = songs.vectors()
        factors = training_factors(vectors, target)
        basis = Basis.of(Centred.of(vectors))
        mean = factors.mean(axis=0)
        metric = _mean_confidence(target) if self.loss == "wpe" else np.eye(factors.shape[1])
        root = cholesky(metric, lower=True)
        # Mean confidence L L': the error (y - y')' L L' (y - y') is the squared error of the rows y' L.
        if self.regularization is None:
            targets = (factors - mean) @ root
            self.regularization_, self.leave_one_out_ = basis.choose(targets, groups_of(target))
        else:
            self.leave_one_out_ = {}
            self.regularization_ = float(self.regularization)
        weights = basis.solve(factors - mean, self.regularization_)
        if self.loss == "wpe":
            weights, mean = _solve_wpe(
                basis, target, self.regularization_, root, weights, mean, run or FitRun()
            )
        self.weights_ = (basis.axes @ weights).astype(np.float32)
        self.intercept_ = (mean - basis.vectors.mean @ (basis.axes @ weights)).astype(np.float32)
        return self

    def predict(self, songs: SongFeatures) -> NDArray[np.float32]:
        """Return the song factors, (n_songs, n_factors)."""
        if not hasattr(self, "weights_"):
            raise InputError("this linear regression has no weights yet: call fit or load first")
        if songs.n_dims != len(self.weights_):
            raise InputError(f"the songs have {songs.n_dims} dimensions, the weights {len(self.weights_)}")
        predicted: NDArray[np.float32] = np.asarray(songs.vectors() @ self.weights_, np.float32)
        return predicted + self.intercept_

    def save(self, directory: Path) -> None:
        """Write linear.safetensors and linear.json."""
        header = {
            "loss": self.loss,
            "regularization": self.regularization,
            "regularization_used": self.regularization_,
            "leave_one_out": list(self.leave_one_out_.items()),
        }
        tensors = {"weights": self.weights_, "intercept": self.intercept_}
        save_tensors(directory, tensors, header, name="linear", format_version=FORMAT_VERSION)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""
        header, tensors = load_tensors(directory, name="linear", format_version=FORMAT_VERSION)
        model = cls(loss=header["loss"], regularization=header["regularization"])
        model.weights_, model.intercept_ = tensors["weights"], tensors["intercept"]
        model.regularization_ = header["regularization_used"]
        model.leave_one_out_ = {float(value): error for value, error in header["leave_one_out"]}
        return model


def _mean_confidence(target: FactorTarget) -> Float64:
    """Return the mean over songs of A_i = sum over users of c x x'."""
    users = np.asarray(target.user_factors, np.float64)
    surplus = np.asarray(target.surplus.sum(axis=0, dtype=np.float64)).ravel() / target.surplus.shape[0]
    mean: Float64 = (users * (1 + surplus)[:, None]).T @ users
    # A trace of the identity, for a factor that no user has.
    return mean + (1e-9 * np.trace(mean) / len(mean) or 1.0) * np.eye(len(mean))


def _solve_wpe(
    basis: Basis,
    target: FactorTarget,
    regularization: float,
    root: Float64,
    weights: Float64,
    intercept: Float64,
    run: FitRun,
) -> tuple[Float64, Float64]:
    r"""Return weights (rank, n_factors) and intercept that minimise the weighted prediction error.

    For song i with y' = W'z_i + b the error is, but for a constant, y'A_i y' - 2 b_i'y' with
    A_i = sum_u c x_u x_u' and b_i = sum_{u played} c x_u. The penalty is lambda tr(W A W'), A = L L' the
    mean of the A_i, so that lambda means what it means for squared error: were all A_i equal, both
    objectives would have one solution for one lambda, which is why leave-one-out can choose it.

    In the variables T of W = diag(energies + lambda)^-1/2 T L^-1 the system is the identity but for
    the differences between the A_i, and conjugate gradients need few steps.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    # A feature without energy has no weight to find when lambda is 0 too; basis keeps none of those.
    scale = 1 / np.sqrt(basis.energies + regularization)
    n_songs, n_factors = target.song_factors.shape
    scaled_axes = basis.axes * scale
    shrinkage = np.append(regularization * scale**2, 0)[:, None]
    users: Float64 = solve_triangular(root, np.asarray(target.user_factors, np.float64).T, lower=True).T
    surplus = csr_array(target.surplus).astype(np.float64)
    gramian = users.T @ users
    shape = (len(scale) + 1, n_factors)

    def gathered(sums: Float64, total: Float64) -> Float64:
        """Return F' a for F = (X scaled_axes, 1/sqrt(n)), of X' a and the total of the rows of a."""
        return np.vstack([scaled_axes.T @ sums, total * n_songs**-0.5])

    def apply(variables: Float64) -> Float64:
        t = variables.reshape(shape)
        weights, intercept = scaled_axes @ t[:-1], t[-1] * n_songs**-0.5
        sums, total = np.zeros_like(weights), np.zeros(n_factors)
        for songs, block in basis.vectors.blocks():
            predicted = block @ weights + intercept
            confident = predicted @ gramian + _weighted_users(surplus[songs], users, predicted)
            sums += block.T @ confident
            total += confident.sum(axis=0)
        return (gathered(sums, total) + shrinkage * t).ravel()

    played = csr_array((1 + surplus.data, surplus.indices, surplus.indptr), shape=surplus.shape) @ users
    right = gathered(basis.vectors.weighted_sum(played), played.sum(axis=0)).ravel()
    # y' L is the prediction in the new variables; start from the weights of the squared error.
    start = np.vstack([weights / scale[:, None], intercept * n_songs**0.5]) @ root
    step = 0

    def report(variables: Float64) -> None:
        nonlocal step
        step += 1
        run.report("fit", step, None, {})

    operator = LinearOperator((right.size, right.size), matvec=apply, dtype=np.float64)
    solution, failed = cg(operator, right, x0=start.ravel(), rtol=1e-7, maxiter=1000, callback=report)
    if failed:
        warnings.warn(
            f"linear, loss 'wpe': not solved to 1e-7 after {failed} steps; a larger regularization helps",
            stacklevel=3,
        )
    t = solve_triangular(root, solution.reshape(shape).T, lower=True, trans="T").T
    return t[:-1] * scale[:, None], t[-1] * n_songs**-0.5


def _weighted_users(surplus: csr_array, users: Float64, predicted: Float64) -> Float64:
    """Return, for each song, the sum over its plays of s (x_u . y') x_u, without a users x songs matrix."""
    result = np.empty_like(predicted)
    # At most so many plays at once, but a song at least.
    plays = max(GATHERED // users.shape[1], 1)
    first = 0
    while first < len(predicted):
        begin = int(surplus.indptr[first])
        last = max(first + 1, int(np.searchsorted(surplus.indptr, begin + plays, side="right")) - 1)
        rows = slice(first, last)
        lengths = np.diff(surplus.indptr[first : last + 1])
        held = slice(begin, int(surplus.indptr[last]))
        indices = surplus.indices[held]
        scores = np.einsum("ij,ij->i", users[indices], np.repeat(predicted[rows], lengths, axis=0))
        weighted = csr_array(
            (surplus.data[held] * scores, indices, surplus.indptr[first : last + 1] - begin),
            shape=(last - first, len(users)),
        )
        result[rows] = weighted @ users
        first = last
    return result
