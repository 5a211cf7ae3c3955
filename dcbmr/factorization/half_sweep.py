"""One half-sweep of weighted ALS: all users or all songs solved, the other side fixed (csrc/als.h)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

from dcbmr import _core
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tell = Callable[[float], None]

_FLOPS_A_CALL = 2e10  # work between two looks at Ctrl-C: a tenth of a second or so
# Rows that the kernel sums in one go (kSumRows of csrc/als.h): a cut between them changes no bit.
_SUM_ROWS = 16


@dataclass(frozen=True)
class Problem:
    """What every half-sweep of a factorization shares."""

    regularization: float
    unobserved_weight: float
    frequency_exponent: float
    cg_steps: int  # 0 for exact solutions
    n_threads: int

    @classmethod
    def of(cls, settings: Mapping[str, Any], n_threads: int | None) -> Self:
        """Out of the settings of :class:`dcbmr.WeightedALS`."""
        return cls(
            regularization=settings["regularization"],
            unobserved_weight=settings["unobserved_weight"],
            frequency_exponent=settings["frequency_exponent"],
            cg_steps=settings["cg_steps"] if settings["solver"] == "cg" else 0,
            n_threads=resolve_n_threads(n_threads),
        )

    def row_regularization(self, n_plays: NDArray[np.int64], n_others: int) -> NDArray[np.float64]:
        """Return lambda of each row, by its number of plays."""
        frequency = n_plays + self.unobserved_weight * n_others
        return np.asarray(self.regularization * frequency**self.frequency_exponent, dtype=np.float64)


Eigen = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def fixed_factors(
    factors: NDArray[np.float32], problem: Problem, eigen: Eigen | None = None
) -> _core.FixedFactors:
    """Return one side's factors, where the system of a row without plays is I: half a sweep's fixed side.

    Parameters
    ----------
    factors : ndarray of shape (n, n_factors), float32, C-contiguous
        Copied.
    problem : Problem
        The result does not depend on its ``n_threads``.
    eigen : (eigenvalues, eigenvectors), optional
        What :func:`gram_eigenvectors` returns, where it is known.
    """
    return _core.FixedFactors(
        factors,
        *(eigen or gram_eigenvectors(factors, problem.n_threads)),
        regularization=problem.regularization,
        unobserved_weight=problem.unobserved_weight,
        n_threads=problem.n_threads,
    )


@cache
def _blas() -> ThreadpoolController:
    """Return the libraries of threads, NumPy's among them. To look for them takes a millisecond."""
    return ThreadpoolController()


def gram_eigenvectors(factors: NDArray[np.float32], n_threads: int) -> Eigen:
    """Return the eigenvalues, (n_factors,), and the eigenvectors, one a column, of the Gram matrix."""
    # One thread: the bits of the result must not depend on how many there are.
    with _blas().limit(limits=1, user_api="blas"):
        eigenvalues, eigenvectors = np.linalg.eigh(_core.gramian(factors, n_threads))
    return eigenvalues, np.ascontiguousarray(eigenvectors)


class PlayRows:
    """The plays of users, or of songs, checked once for any number of half-sweeps.

    Parameters
    ----------
    plays : csr_array of shape (n_rows, n_others), float32
        Surplus.
    """

    def __init__(self, plays: csr_array) -> None:
        self.shape: tuple[int, int] = plays.shape
        self.indptr: NDArray[np.int64] = plays.indptr.astype(np.int64)
        self.core = _core.Plays(
            self.indptr, plays.indices.astype(np.int32, copy=False), plays.data, plays.shape[1]
        )
        self._ranges: dict[int, list[tuple[int, int]]] = {}

    def ranges(self, n_factors: int) -> list[tuple[int, int]]:
        """Return ranges of rows of some _FLOPS_A_CALL each."""
        if n_factors not in self._ranges:
            self._ranges[n_factors] = _row_ranges(self.indptr, n_factors)
        return self._ranges[n_factors]


def half_sweep(
    rows: PlayRows,
    others: _core.FixedFactors,
    problem: Problem,
    out: NDArray[np.float32],
    *,
    objective: bool,
    tell: Tell | None = None,
) -> NDArray[np.float64]:
    """Solve every row of ``out`` for its row of plays, the other side fixed.

    With conjugate gradients a row starts from what ``out`` holds. ``tell`` hears now and then which share of
    the work is done.

    Returns
    -------
    ndarray of shape (4,)
        Observed, unobserved (these two only with ``objective``) and regularization terms of the rows, and
        how many rows float64 had to solve.
    """
    sums: NDArray[np.float64] = solve(rows, others, problem, out, objective=objective, tell=tell).sum(axis=0)
    return sums


def solve(
    rows: PlayRows,
    others: _core.FixedFactors,
    problem: Problem,
    out: NDArray[np.float32],
    *,
    objective: bool,
    tell: Tell | None = None,
) -> NDArray[np.float64]:
    """Do a :func:`half_sweep`; return its sums over each 16 rows, (n_rows / 16, 4)."""
    regularization = None  # of each row, where it is not that of all
    if problem.frequency_exponent != 0:
        regularization = problem.row_regularization(np.diff(rows.indptr), rows.shape[1])
    sums = [np.zeros((0, 4))]
    try:
        ranges = rows.ranges(out.shape[1])
        for number, some in enumerate(ranges):
            if tell is not None and number:
                tell(number / len(ranges))
            found = others.solve_rows(
                rows.core,
                some,
                out,
                regularization=regularization,
                cg_steps=problem.cg_steps,
                with_errors=objective,
                n_threads=problem.n_threads,
            )
            sums.append(found)
    except RuntimeError as error:
        raise DcbmrError(str(error)) from error
    return np.concatenate(sums)


def _row_ranges(indptr: NDArray[np.int64], n_factors: int) -> list[tuple[int, int]]:
    """Cut the rows into ranges of some _FLOPS_A_CALL."""
    work = _work_until(indptr, n_factors)
    return list(_cut(work, int(work[-1] / _FLOPS_A_CALL) + 1 if len(work) else 0))


def ranges_of_equal_work(indptr: NDArray[Any], n_factors: int, n_ranges: int) -> list[tuple[int, int]]:
    """Cut the rows into at most so many ranges, none of them empty, that take about as long."""
    return list(_cut(_work_until(indptr, n_factors), n_ranges))


def _work_until(indptr: NDArray[Any], n_factors: int) -> NDArray[np.float64]:
    """Return the operations that all rows up to each one take, (n_rows,).

    Beside those of its system, a row is rotated and its plays are gathered, which takes as long as some more
    (by the rates of benchmarks/README.md for 16 to 400 plays).
    """
    n = np.diff(indptr).astype(np.float64)
    size, depth = np.minimum(n, n_factors), np.maximum(n, n_factors)
    system = size * size * (depth + size / 3)
    return np.cumsum(system + (3 * n_factors**2 + 28 * n * n_factors) * (n > 0))


def _cut(work: NDArray[np.float64], n_ranges: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges of equal work, between rows that are summed in one go."""
    wanted = np.arange(1, n_ranges) * (work[-1] / n_ranges if len(work) else 0)
    cuts = np.searchsorted(work, wanted) // _SUM_ROWS * _SUM_ROWS
    bounds = np.unique([0, *cuts, len(work)])
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def int32_indices(matrix: csr_array) -> csr_array:
    if max(matrix.shape) > np.iinfo(np.int32).max:
        raise InputError(f"a matrix of shape {matrix.shape} has more rows or columns than 2^31 - 1")
    return csr_array(
        (matrix.data, matrix.indices.astype(np.int32, copy=False), matrix.indptr), shape=matrix.shape
    )
