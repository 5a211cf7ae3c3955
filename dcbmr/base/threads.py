"""How many threads a kernel may use."""

from __future__ import annotations

import os

from dcbmr.errors import InputError


def resolve_n_threads(n_threads: int | None) -> int:
    """Return ``n_threads``, or for None every core that this process may use.

    ``OMP_NUM_THREADS`` lowers the default, as it does for every OpenMP program.
    """
    if n_threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        return min(cores, int(wish)) if wish.isdecimal() and int(wish) > 0 else cores
    if n_threads < 1:
        raise InputError(f"n_threads must be at least 1, or None for every core; got {n_threads}")
    return int(n_threads)
