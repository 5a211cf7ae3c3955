"""What runs on a worker: it does what it is told, and keeps what it was given to keep."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcbmr.base.version import __version__


@dataclass(frozen=True)
class Facts:
    """What a worker is, and what it runs on."""

    node: str
    process: int
    dcbmr: str
    isa: str


class Worker:
    """A process of the cluster, which does one thing after the other.

    Parameters
    ----------
    n_threads : int
        What ``n_threads=None`` means there.
    """

    def __init__(self, n_threads: int) -> None:
        # Read by OpenMP runtimes as they are loaded, which is later.
        os.environ |= {"OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": "PASSIVE"}
        import ray

        if not ray.get_gpu_ids():  # those of the machine are for workers that were given one
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._kept: dict[int, Any] = {}
        self._shared: dict[int, Any] = {}

    def facts(self) -> Facts:
        """Return what the worker is."""
        from dcbmr import _core

        return Facts(socket.gethostname(), os.getpid(), __version__, _core.isa())

    def use_isa(self, name: str) -> None:
        """Compute on an instruction set from here on."""
        from dcbmr import _core

        _core.set_isa(name)

    def keep(self, number: int, value: Any) -> None:
        """Keep a value."""
        self._kept[number] = value

    def forget(self, numbers: Sequence[int]) -> None:
        """Let go of values that were kept."""
        for number in numbers:
            self._kept.pop(number, None)

    def run(
        self, work: Callable[..., Any], task: Any, shared: Mapping[int, Sequence[Any]], kept: int | None
    ) -> Any:
        """Return ``work(task, *shared)``; ``work(kept, task, *shared)`` of something kept.

        ``shared`` has references by number. What they lead to stays until something else is shared: what the
        work keeps with it, as packed songs, serves the next call, too.
        """
        import ray

        self._shared = {number: self._shared.get(number) for number in shared}
        for number, (reference,) in shared.items():
            if self._shared[number] is None:
                self._shared[number] = ray.get(reference)
        values = self._shared.values()
        return work(task, *values) if kept is None else work(self._kept[kept], task, *values)


def seen(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the size and the time of a file; None where there is none."""
    with suppress(OSError):
        found = Path(path).stat()
        return found.st_size, int(found.st_mtime)
    return None
