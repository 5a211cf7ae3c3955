"""One side of the plays, users or songs, and where its rows are solved: here, or on the workers of an engine.

Both take the rows from the same kernel and add the same sums in the same order, so that the factors and the
objective have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.threads import resolve_n_threads
from dcbmr.factorization.half_sweep import (
    PlayRows,
    Problem,
    Tell,
    fixed_factors,
    gram_eigenvectors,
    half_sweep,
    ranges_of_equal_work,
    solve,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine

    Fixed = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]


class Side(Protocol):
    """The rows of one side."""

    n_rows: int

    def solve(
        self,
        others: NDArray[np.float32],
        problem: Problem,
        out: NDArray[np.float32],
        *,
        objective: bool,
        tell: Tell,
    ) -> NDArray[np.float64]:
        """Solve all rows for the factors of the other side; the rest as of :func:`half_sweep`."""
        ...


class SideHere:
    """Rows that are solved by this process.

    Parameters
    ----------
    plays : csr_array of shape (n_rows, n_others), float32
        Surplus.
    """

    def __init__(self, plays: csr_array) -> None:
        self._rows = PlayRows(plays)
        self.n_rows = plays.shape[0]

    def solve(
        self,
        others: NDArray[np.float32],
        problem: Problem,
        out: NDArray[np.float32],
        *,
        objective: bool,
        tell: Tell,
    ) -> NDArray[np.float64]:
        """Solve all rows."""
        fixed = fixed_factors(others, problem)
        return half_sweep(self._rows, fixed, problem, out, objective=objective, tell=tell)


class SideOnWorkers:
    """Rows that are solved by workers, each its own block of them, which takes as long as the others.

    The plays of a block go to its worker once. A sweep then takes the fixed factors to each node, once, and
    the solved rows back; and there, for conjugate gradients, where they were.

    Parameters
    ----------
    engine : RayEngine
    ranges : sequence of (begin, end)
        The rows of each block.
    blocks : iterable of Block
        What has the plays of each range as its ``surplus``, (n_rows, n_others) float32, once it has reached
        its worker.
    """

    def __init__(self, engine: RayEngine, ranges: Sequence[tuple[int, int]], blocks: Iterable[Block]) -> None:
        self._engine, self.ranges = engine, ranges
        self.n_rows = ranges[-1][1] if ranges else 0
        self.blocks = engine.place(blocks)

    def solve(
        self,
        others: NDArray[np.float32],
        problem: Problem,
        out: NDArray[np.float32],
        *,
        objective: bool,
        tell: Tell,
    ) -> NDArray[np.float64]:
        """Solve all rows."""
        fixed = self._engine.share((others, *gram_eigenvectors(others, problem.n_threads)))
        tasks = [
            (problem, out[begin:end] if problem.cg_steps else None, objective) for begin, end in self.ranges
        ]
        solved = self.blocks.map(_solve_block, tasks, fixed, what="rows")
        sums = []
        for (begin, end), (rows, some) in zip(self.ranges, solved, strict=True):
            out[begin:end] = rows
            sums.append(some)
            tell(len(sums) / len(self.ranges))
        total: NDArray[np.float64] = np.concatenate(sums).sum(axis=0)
        return total


def on_workers(engine: RayEngine, plays: csr_array, n_factors: int) -> SideOnWorkers:
    """Return rows that are here, for workers to solve: ``plays`` (n_rows, n_others) float32, surplus."""
    ranges = ranges_of_equal_work(plays.indptr, n_factors, engine.n_workers)
    return SideOnWorkers(engine, ranges, (_Rows(_rows_of(plays, *some)) for some in ranges))


class Block(Protocol):
    """The plays of some rows."""

    @property
    def surplus(self) -> csr_array:
        """Confidence above one, (n_rows, n_others) float32."""
        ...


@dataclass(frozen=True)
class _Rows:
    surplus: csr_array


def _rows_of(plays: csr_array, begin: int, end: int) -> csr_array:
    """Return a range of rows, without a copy of the plays."""
    some = slice(plays.indptr[begin], plays.indptr[end])
    return csr_array(
        (plays.data[some], plays.indices[some], plays.indptr[begin : end + 1] - some.start),
        shape=(end - begin, plays.shape[1]),
    )


def _solve_block(
    block: Block, task: tuple[Problem, NDArray[np.float32] | None, bool], fixed: Fixed
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the rows of a block, (n_rows, n_factors), and the sums over each 16 of them."""
    problem, start, objective = task
    problem = replace(problem, n_threads=resolve_n_threads(None))
    factors, eigenvalues, eigenvectors = fixed
    out = (
        np.zeros((block.surplus.shape[0], factors.shape[1]), np.float32) if start is None else np.array(start)
    )
    others = fixed_factors(factors, problem, (eigenvalues, eigenvectors))
    return out, solve(PlayRows(block.surplus), others, problem, out, objective=objective)
