"""Tasks, and the workers that do them, as the engine keeps account of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dcbmr.engine.worker import Facts

Value = TypeVar("Value")


class Shared(Generic[Value]):
    """A value that all workers can read, once on each node; see :meth:`RayEngine.share`."""

    def __init__(self, number: int, reference: Any) -> None:
        self.number, self.reference = number, reference


@dataclass(eq=False)
class Call:
    """A task, until its result is taken."""

    name: str
    work: Callable[..., Any]
    task: Any
    shared: Sequence[Shared[Any]]
    part: Part | None = None
    n_lost: int = 0
    is_done: bool = False
    result: Any = None


@dataclass(eq=False)
class Part:
    """What stays with a worker, its home."""

    number: int
    value: Any
    home: Remote | None = None


@dataclass(eq=False)
class Remote:
    """A worker, as it is seen from here."""

    actor: Any
    n_threads: int
    starting: Any
    facts: Facts | None = None
    calls: dict[Any, Call] = field(default_factory=dict)  # by reference to the result, in order


def node_of(worker: Remote) -> str:
    return f"{worker.facts.node} (process {worker.facts.process})" if worker.facts else "an unknown machine"
