"""Weighted matrix factorization of play counts by alternating least squares, and its result.

Minimises, over all pairs of a user u and a song i,

    sum c (p - x_u . y_i)^2 + lambda (sum |x_u|^2 + sum |y_i|^2)
    p = [r > 0],   c = 1 + alpha log(1 + r / epsilon)

(Hu, Koren and Volinsky, ICDM 2008; van den Oord, Dieleman and Schrauwen, NIPS 2013, eq. 1 to 3). A half-sweep
solves the factors of all users, or of all songs, exactly; the kernel is csrc/als.h.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from dcbmr import _core
from dcbmr._threads import resolve_n_threads
from dcbmr.directory import new_directory, read_config
from dcbmr.errors import DcbmrError, InputError
from dcbmr.plays import (
    PlayCounts,
    check_confidence,
    checked_counts,
    ids_array,
    read_lines,
    surplus,
    write_lines,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TENSORS = "factors.safetensors"
_CHECKPOINT = "als-checkpoint"
_FLOPS_A_CALL = 2e10  # work between two looks at Ctrl-C: a tenth of a second or so


@dataclass(frozen=True)
class _Problem:
    """What every half-sweep shares."""

    regularization: float
    unobserved_weight: float
    frequency_exponent: float
    cg_steps: int  # 0 for exact solutions
    n_threads: int

    def row_regularization(self, plays: csr_array) -> NDArray[np.float64]:
        """Return lambda of each row of ``plays``, or one value where it is the same for all."""
        if self.frequency_exponent == 0:
            return np.array([self.regularization], dtype=np.float64)
        frequency = np.diff(plays.indptr) + self.unobserved_weight * plays.shape[1]
        return np.asarray(self.regularization * frequency**self.frequency_exponent, dtype=np.float64)


class _Eigenbasis:
    """One side's factors, rotated to where their Gram matrix is diagonal."""

    def __init__(self, factors: NDArray[np.float32], n_threads: int) -> None:
        n_factors = factors.shape[1]
        # One thread: the bits of the result must not depend on how many there are.
        with threadpool_limits(1, user_api="blas"):
            eigenvalues, basis = np.linalg.eigh(_core.gramian(factors, n_threads))
        self.eigenvalues = np.maximum(eigenvalues, 0)
        padded = np.zeros((2, n_factors, _core.padded(n_factors)), dtype=np.float32)
        padded[0, :, :n_factors] = basis
        padded[1, :, :n_factors] = basis.T
        self.basis, self.back = padded
        self.rotated = _core.rotate(factors, self.basis, n_threads)


def _half_sweep(
    plays: csr_array, others: _Eigenbasis, problem: _Problem, out: NDArray[np.float32], *, objective: bool
) -> NDArray[np.float64]:
    """Solve every row of ``out`` for its row of ``plays`` (surplus), the other side fixed.

    With conjugate gradients a row starts from what ``out`` holds.

    Returns
    -------
    ndarray of shape (4,)
        Observed, unobserved (these two only with ``objective``) and regularization terms of the rows, and
        how many rows float64 had to solve.
    """
    indptr = plays.indptr.astype(np.int64)
    indices = plays.indices.astype(np.int32, copy=False)
    regularization = problem.row_regularization(plays)
    sums = np.zeros(4)
    try:
        for begin, end in _row_ranges(indptr, out.shape[1]):
            sums += _core.solve_rows(
                indptr, indices, plays.data, others.rotated, others.eigenvalues, others.basis, others.back,
                regularization, problem.unobserved_weight, problem.cg_steps, begin, end, objective, out,
                problem.n_threads,
            )  # fmt: skip
    except RuntimeError as error:
        raise DcbmrError(str(error)) from error
    return sums


def _row_ranges(indptr: NDArray[np.int64], n_factors: int) -> Iterator[tuple[int, int]]:
    """Cut the rows into ranges of some _FLOPS_A_CALL."""
    n = np.diff(indptr).astype(np.float64)
    size, depth = np.minimum(n, n_factors), np.maximum(n, n_factors)
    work = np.cumsum(size**2 * depth + size**3 / 3)
    n_ranges = int(work[-1] / _FLOPS_A_CALL) + 1 if len(work) else 0
    cuts = np.searchsorted(work, np.arange(1, n_ranges) * _FLOPS_A_CALL)
    bounds = np.unique([0, *cuts, len(n)])
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


class WeightedALS:
    """Weighted matrix factorization of play counts.

    Parameters
    ----------
    n_factors : int
        Latent factors of a user and of a song. The paper uses 50 on its subset and 400 on all data.
    alpha, epsilon : float
        Confidence c = 1 + alpha log(1 + r / epsilon) of r plays. The paper does not print them; 2 and 1e-6
        are what Liang, Zhan and Ellis (ISMIR 2015) and the authors' group's own code use. With these the
        confidence is nearly binary: c(1) = 28.6, c(10) = 33.2, c(100) = 37.8.
    regularization : float
        lambda, positive. Not printed either; 1e-5 is that code's.
    n_iterations : int
        Sweeps at the most: the users, then the songs.
    solver : {"cholesky", "cg"}
        How a row is solved: exactly, or by a few steps of conjugate gradients from where it was (Takács,
        Pilászy and Tikk, RecSys 2011), in a basis where the confidence alone makes the system hard.
    n_threads : int or None
        None for every core of the process. The result does not depend on it.
    random_state : int
        Seed of the initial song factors.
    cg_steps : int
        Steps of solver "cg" a row and sweep.
    tolerance : float
        Stop once a sweep changes the objective by less than this share of it; 0 for never.
    unobserved_weight : float
        Confidence of a pair without plays; 1 in the paper, the "alpha" of iALS in Rendle et al. (RecSys
        2022), "Revisiting the performance of iALS on item recommendation benchmarks".
    frequency_exponent : float
        nu of frequency-scaled regularization, lambda (n + unobserved_weight n_others)^nu for a row of n
        plays (the same paper, eq. 8); 0 for the paper's lambda.
    init_scale : float
        Initial song factors are normal with standard deviation init_scale / sqrt(n_factors) (the same
        paper, section 4.2).

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors), float32
    song_factors_ : ndarray of shape (n_songs, n_factors), float32
        A user or a song without plays has zeros.
    factors_ : Factors
        Both, with ids, plays and settings.
    objective_ : list of dict
        After each sweep the terms ``observed``, ``unobserved``, ``regularization``, their ``total``, the
        ``seconds`` of the sweep, and ``n_retried``, how many rows float32 could not solve.
    """

    def __init__(
        self,
        n_factors: int = 50,
        *,
        alpha: float = 2.0,
        epsilon: float = 1e-6,
        regularization: float = 1e-5,
        n_iterations: int = 15,
        solver: Literal["cholesky", "cg"] = "cholesky",
        n_threads: int | None = None,
        random_state: int = 0,
        cg_steps: int = 3,
        tolerance: float = 0.0,
        unobserved_weight: float = 1.0,
        frequency_exponent: float = 0.0,
        init_scale: float = 0.1,
    ) -> None:
        self.n_factors = n_factors
        self.alpha = alpha
        self.epsilon = epsilon
        self.regularization = regularization
        self.n_iterations = n_iterations
        self.solver = solver
        self.n_threads = n_threads
        self.random_state = random_state
        self.cg_steps = cg_steps
        self.tolerance = tolerance
        self.unobserved_weight = unobserved_weight
        self.frequency_exponent = frequency_exponent
        self.init_scale = init_scale

    def _settings(self) -> dict[str, Any]:
        """Return what the result depends on, checked."""
        settings: dict[str, Any] = {
            "n_factors": self.n_factors,
            "alpha": self.alpha,
            "epsilon": self.epsilon,
            "regularization": self.regularization,
            "n_iterations": self.n_iterations,
            "solver": self.solver,
            "random_state": self.random_state,
            "cg_steps": self.cg_steps,
            "tolerance": self.tolerance,
            "unobserved_weight": self.unobserved_weight,
            "frequency_exponent": self.frequency_exponent,
            "init_scale": self.init_scale,
        }
        check_confidence(self.alpha, self.epsilon)
        for name in ("n_factors", "n_iterations", "cg_steps"):
            if not isinstance(settings[name], int) or settings[name] < 1:
                raise InputError(f"{name} must be a whole number of at least 1; got {settings[name]!r}")
        for name in ("regularization", "init_scale"):
            if not (np.isfinite(settings[name]) and settings[name] > 0):
                raise InputError(f"{name} must be a positive number; got {settings[name]}")
        if not 0 < self.unobserved_weight <= 1:
            raise InputError(f"unobserved_weight must lie in (0, 1]; got {self.unobserved_weight}")
        for name in ("frequency_exponent", "tolerance"):
            if not (np.isfinite(settings[name]) and settings[name] >= 0):
                raise InputError(f"{name} must be at least 0; got {settings[name]}")
        if self.solver not in ("cholesky", "cg"):
            raise InputError(f"solver must be 'cholesky' or 'cg'; got {self.solver!r}")
        return settings

    def fit(
        self,
        plays_or_counts: PlayCounts | csr_array,
        callback: Callable[[int, Mapping[str, float]], None] | None = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Factorize plays.

        Parameters
        ----------
        plays_or_counts : PlayCounts, or csr_array of shape (n_users, n_songs)
            Raw plays. Rows and columns of a matrix get their numbers as ids.
        callback : callable, optional
            ``callback(sweep, objective)`` after each sweep, from 1; it may raise to stop.
        checkpoint : path, optional
            Directory that is written anew after each sweep.
        resume : bool
            Continue from the checkpoint, if there is one, to the bits of an unbroken run. It must be of
            the same plays and settings; n_iterations and tolerance may differ.
        """
        settings = self._settings()
        plays = plays_or_counts if isinstance(plays_or_counts, PlayCounts) else _numbered(plays_or_counts)
        users = _int32(surplus(plays.counts, self.alpha, self.epsilon))
        songs = _int32(users.T.tocsr())
        problem = _problem(settings, self.n_threads)
        state = _Checkpoint(Path(checkpoint), settings, users) if checkpoint is not None else None
        saved = state.load() if state is not None and resume else None
        if saved is not None:
            user_factors, song_factors, self.objective_ = saved
        else:
            song_factors = self._initial_factors(songs)
            user_factors = np.zeros((len(plays.user_ids), self.n_factors), dtype=np.float32)
            self.objective_ = []
        while len(self.objective_) < self.n_iterations and not self._converged():
            started = time.perf_counter()
            terms = _sweep(users, songs, user_factors, song_factors, problem)
            self.objective_.append({**terms, "seconds": time.perf_counter() - started})
            if state is not None:
                state.save(user_factors, song_factors, self.objective_)
            if callback is not None:
                callback(len(self.objective_), self.objective_[-1])
        self.user_factors_: NDArray[np.float32] = user_factors
        self.song_factors_: NDArray[np.float32] = song_factors
        self.factors_ = Factors(
            user_ids=plays.user_ids,
            song_ids=plays.song_ids,
            user_factors=user_factors,
            song_factors=song_factors,
            counts=plays.counts,
            config={**settings, "objective": self.objective_},
        )
        return self

    def _initial_factors(self, songs: csr_array) -> NDArray[np.float32]:
        rng = np.random.default_rng(self.random_state)
        factors = rng.standard_normal((songs.shape[0], self.n_factors), dtype=np.float32)
        factors *= self.init_scale / np.sqrt(self.n_factors)
        factors[np.diff(songs.indptr) == 0] = 0
        return factors

    def _converged(self) -> bool:
        if len(self.objective_) < 2:
            return False
        before, now = (terms["total"] for terms in self.objective_[-2:])
        return abs(before - now) < self.tolerance * now


def _sweep(
    users: csr_array,
    songs: csr_array,
    user_factors: NDArray[np.float32],
    song_factors: NDArray[np.float32],
    problem: _Problem,
) -> dict[str, float]:
    """Solve the users, then the songs, in place; return the objective's terms."""
    basis = _Eigenbasis(song_factors, problem.n_threads)
    of_users = _half_sweep(users, basis, problem, user_factors, objective=False)
    del basis  # as large as the factors
    basis = _Eigenbasis(user_factors, problem.n_threads)
    of_songs = _half_sweep(songs, basis, problem, song_factors, objective=True)
    observed, unobserved, penalty = of_songs[0], of_songs[1], of_users[2] + of_songs[2]
    terms = {
        "observed": observed,
        "unobserved": unobserved,
        "regularization": penalty,
        "total": observed + unobserved + penalty,
        "n_retried": of_users[3] + of_songs[3],
    }
    return {name: float(value) for name, value in terms.items()}


class _Checkpoint:
    """The state of a fit after a sweep, as a directory."""

    _FREE = ("n_iterations", "tolerance")  # settings that a resumed run may change

    def __init__(self, path: Path, settings: Mapping[str, Any], plays: csr_array) -> None:
        digest = 0
        for part in (plays.indptr, plays.indices, plays.data):
            digest = zlib.crc32(part.data, digest)
        self._path = path
        self._identity = {name: value for name, value in settings.items() if name not in self._FREE}
        self._identity |= {"shape": list(plays.shape), "n_plays": int(plays.nnz), "crc32_of_plays": digest}

    def save(
        self,
        user_factors: NDArray[np.float32],
        song_factors: NDArray[np.float32],
        objective: list[dict[str, float]],
    ) -> None:
        from safetensors.numpy import save_file

        config = {**self._identity, "objective": objective}
        with new_directory(self._path, kind=_CHECKPOINT, config=config, overwrite=True) as folder:
            save_file({"user_factors": user_factors, "song_factors": song_factors}, folder / _TENSORS)

    def load(self) -> tuple[NDArray[np.float32], NDArray[np.float32], list[dict[str, float]]] | None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not self._path.exists():
            return None
        config = read_config(self._path, kind=_CHECKPOINT)
        for name, value in self._identity.items():
            if config.get(name) != value:
                raise InputError(
                    f"{self._path} is of another run: its {name} is {config.get(name)}, here it is {value}"
                )
        try:
            tensors = load_file(self._path / _TENSORS)
            return tensors["user_factors"], tensors["song_factors"], config["objective"]
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{self._path} is damaged: {type(error).__name__}: {error}") from error


def _problem(settings: Mapping[str, Any], n_threads: int | None) -> _Problem:
    return _Problem(
        regularization=settings["regularization"],
        unobserved_weight=settings["unobserved_weight"],
        frequency_exponent=settings["frequency_exponent"],
        cg_steps=settings["cg_steps"] if settings["solver"] == "cg" else 0,
        n_threads=resolve_n_threads(n_threads),
    )


def _numbered(counts: csr_array) -> PlayCounts:
    n_users, n_songs = counts.shape
    users, songs = (ids_array([str(i) for i in range(n)], "ids") for n in (n_users, n_songs))
    return PlayCounts(users, songs, counts)


def _int32(matrix: csr_array) -> csr_array:
    if max(matrix.shape) > np.iinfo(np.int32).max:
        raise InputError(f"a matrix of shape {matrix.shape} has more rows or columns than 2^31 - 1")
    return csr_array(
        (matrix.data, matrix.indices.astype(np.int32, copy=False), matrix.indptr), shape=matrix.shape
    )


@dataclass(frozen=True)
class Factors:
    """What factorize learned.

    Attributes
    ----------
    user_ids, song_ids : ndarray of object
        Ids, as str, of the rows.
    user_factors : ndarray of shape (n_users, n_factors), float32
    song_factors : ndarray of shape (n_songs, n_factors), float32
    counts : csr_array of shape (n_users, n_songs), float32
        The plays that they were fitted on.
    config : dict
        Settings of :class:`WeightedALS`, and the objective after each sweep.
    heldout_songs : tuple of str
        Songs that the plays were split from before; empty where that is not known.
    """

    user_ids: NDArray[np.object_]
    song_ids: NDArray[np.object_]
    user_factors: NDArray[np.float32]
    song_factors: NDArray[np.float32]
    counts: csr_array
    config: dict[str, Any] = field(default_factory=dict)
    heldout_songs: tuple[str, ...] = ()

    @cached_property
    def surplus(self) -> csr_array:
        """Confidence above one of the plays, (n_users, n_songs) float32."""
        return surplus(self.counts, self.config["alpha"], self.config["epsilon"])

    @cached_property
    def has_plays(self) -> NDArray[np.bool_]:
        """Which songs anybody played, (n_songs,); the others have zeros for factors."""
        played = np.zeros(len(self.song_ids), bool)
        played[self.counts.indices[self.counts.data > 0]] = True
        return played

    def fold_in_users(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return the exact factors of users out of their plays, the songs' factors fixed.

        Parameters
        ----------
        counts : csr_array of shape (n, n_songs)
            Plays, columns in the order of ``song_ids``.
        n_threads : int or None
            None for every core.

        Returns
        -------
        ndarray of shape (n, n_factors), float32
            Zeros for a user without plays.
        """
        return self._fold_in(counts, self._song_basis, len(self.song_ids), n_threads)

    def fold_in_songs(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return the exact factors of songs out of their plays, the users' factors fixed.

        Parameters
        ----------
        counts : csr_array of shape (n, n_users)
            Plays, columns in the order of ``user_ids``.
        n_threads : int or None
            None for every core.

        Returns
        -------
        ndarray of shape (n, n_factors), float32
            Zeros for a song without plays.
        """
        return self._fold_in(counts, self._user_basis, len(self.user_ids), n_threads)

    @cached_property
    def _song_basis(self) -> _Eigenbasis:
        return _Eigenbasis(self.song_factors, resolve_n_threads(None))

    @cached_property
    def _user_basis(self) -> _Eigenbasis:
        return _Eigenbasis(self.user_factors, resolve_n_threads(None))

    def _fold_in(
        self, counts: csr_array, basis: _Eigenbasis, n_others: int, n_threads: int | None
    ) -> NDArray[np.float32]:
        counts = checked_counts(counts)
        if counts.shape[1] != n_others:
            raise InputError(
                f"counts must have {n_others} columns, as the factors have; got {counts.shape[1]}"
            )
        out = np.zeros((counts.shape[0], self.song_factors.shape[1]), dtype=np.float32)
        plays = _int32(surplus(counts, self.config["alpha"], self.config["epsilon"]))
        exact = replace(_problem(self.config, n_threads), cg_steps=0)
        _half_sweep(plays, basis, exact, out, objective=False)
        return out

    def save(self, directory: str | Path, overwrite: bool = False) -> None:
        """Write the factors as a directory: safetensors, lists of ids, and ``config.json``."""
        from safetensors.numpy import save_file

        tensors = {
            "user_factors": self.user_factors,
            "song_factors": self.song_factors,
            "counts.data": self.counts.data,
            "counts.indices": self.counts.indices.astype(np.int32, copy=False),
            "counts.indptr": self.counts.indptr.astype(np.int64),
        }
        with new_directory(
            Path(directory), kind="factors", config=self.config, overwrite=overwrite
        ) as folder:
            save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / _TENSORS)
            write_lines(folder / "user_ids.txt", self.user_ids)
            write_lines(folder / "song_ids.txt", self.song_ids)
            write_lines(folder / "heldout_songs.txt", self.heldout_songs)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        directory = Path(directory)
        config = read_config(directory, kind="factors")
        try:
            tensors = load_file(directory / _TENSORS)
            users, songs, heldout = (
                _read_ids(directory / f"{name}.txt") for name in ("user_ids", "song_ids", "heldout_songs")
            )
            n_factors = config["n_factors"]
            counts = csr_array(
                (tensors["counts.data"], tensors["counts.indices"], tensors["counts.indptr"]),
                shape=(len(users), len(songs)),
            )
            counts.check_format()
            for side, ids in (("user_factors", users), ("song_factors", songs)):
                if tensors[side].shape != (len(ids), n_factors):
                    raise ValueError(f"{side} has shape {tensors[side].shape}, not {(len(ids), n_factors)}")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(f"{directory} is damaged: {type(error).__name__}: {error}") from error
        return cls(
            user_ids=users,
            song_ids=songs,
            user_factors=tensors["user_factors"],
            song_factors=tensors["song_factors"],
            counts=counts,
            config=config,
            heldout_songs=tuple(heldout),
        )


def _read_ids(path: Path) -> NDArray[np.object_]:
    return ids_array(list(read_lines(path)), path.name)


def confidence_quantiles(
    counts: csr_array, alpha: float, epsilon: float, at: Sequence[float] = (0, 0.25, 0.5, 0.75, 0.95, 1)
) -> dict[float, tuple[float, float]]:
    """Return, for quantiles of the plays, how many plays that is and the confidence they get."""
    plays = np.quantile(counts.data, at)
    return {q: (float(r), float(1 + alpha * np.log1p(r / epsilon))) for q, r in zip(at, plays, strict=True)}
