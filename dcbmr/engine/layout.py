"""How many workers of how many threads a cluster has room for."""

from __future__ import annotations

from collections.abc import Sequence

from dcbmr.errors import InputError


def threads_of_workers(
    cpus: Sequence[int], *, n_workers: int | None = None, n_threads: int | None = None
) -> list[int]:
    """Return the threads of each worker: its CPUs, which are all on one node.

    Parameters
    ----------
    cpus : sequence of int
        CPUs of each node.
    n_workers : int, optional
        By default one on each node, with all of its CPUs; or, with ``n_threads``, as many as there is room
        for.
    n_threads : int, optional
        Threads of each worker; by default as many as leave room for all.

    Raises
    ------
    InputError
        There is not room for so many.
    """
    if n_workers is None and n_threads is None:
        return [n for n in cpus if n]
    if n_threads is None:
        n_threads = next((n for n in range(max(cpus), 0, -1) if _room(cpus, n) >= (n_workers or 1)), 1)
    room = _room(cpus, n_threads)
    wanted = room if n_workers is None else n_workers
    if not 0 < wanted <= room:
        threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
        raise InputError(
            f"the cluster has {sum(cpus)} CPUs on {len(cpus)} nodes, which are enough for {room} workers of "
            f"{threads} each; {max(wanted, 1)} were asked for"
        )
    return [n_threads] * wanted


def _room(cpus: Sequence[int], n_threads: int) -> int:
    return sum(n // n_threads for n in cpus)
