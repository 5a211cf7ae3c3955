"""How many threads a kernel may use."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

from dcbmr.errors import InputError


def resolve_n_threads(n_threads: int | None) -> int:
    """Return ``n_threads``, or for None as many as this process may use cores.

    Those are the cores that it may run on (``taskset``, a batch system), at most the quota of processor time
    of its control group (``docker --cpus``, Kubernetes), rounded up, and at most ``OMP_NUM_THREADS``.
    """
    if n_threads is None:
        cores = n_cores()
        wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        limit = int(wish) if wish.isdecimal() and int(wish) > 0 else cores
        return max(1, math.ceil(min(cores, limit, cpu_quota())))
    if n_threads < 1:
        raise InputError(f"n_threads must be at least 1, or None for every core; got {n_threads}")
    return int(n_threads)


def n_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_quota(root: Path = Path("/")) -> float:
    """Return the cores' worth of time that the control groups of this process grant; inf without a limit.

    Below ``root`` lie ``proc`` and ``sys``. A group is bound by those above it too. In a container the path
    in ``proc/self/cgroup`` may be that of the host, of which only the ends exist here: all are tried.
    """
    quota = math.inf
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            mount, read = root / "sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            try:
                quota = min(quota, read(mount / folder))
            except (OSError, ValueError):  # no such group here, or one without a limit
                continue
    return quota


def _quota_v2(folder: Path) -> float:
    granted, period = (folder / "cpu.max").read_text().split()
    return int(granted) / int(period)  # ValueError for "max"


def _quota_v1(folder: Path) -> float:
    granted = int((folder / "cpu.cfs_quota_us").read_text())
    return granted / int((folder / "cpu.cfs_period_us").read_text()) if granted > 0 else math.inf
