"""Work that all workers do together: each knows the others, and they end together."""

from __future__ import annotations

import asyncio
import operator
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from typing import TYPE_CHECKING, Any

from dcbmr.base.progress import Progress, silent
from dcbmr.engine.calls import Remote, Shared, Value, node_of
from dcbmr.engine.words import in_words, last_line, none_left
from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine

_START_S = 120.0  # for workers to start in the place of others
_TELL_S = 0.5  # between two looks at how far they are
_DOUBT_S = 10.0  # to find out why one could not reach another
_MOST_LOST = 3  # times that workers may be lost before the work gets any further


class Meeting:
    """An actor by which workers exchange arrays, and tell how far they are."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rounds: dict[int, tuple[dict[int, Any], asyncio.Event]] = {}
        self._told: list[Any] = []

    async def gather(self, number: int, rank: int, value: Any) -> list[Any]:
        """Return what all give in the round ``number``, by rank, when the last one has come."""
        given, are_all = self._rounds.setdefault(number, ({}, asyncio.Event()))
        given[rank] = value
        if len(given) == self._size:
            del self._rounds[number]
            are_all.set()
        await are_all.wait()
        return [given[each] for each in range(self._size)]

    async def tell(self, *step: Any) -> None:
        """Note how far it is."""
        self._told.append(step)

    async def told(self) -> list[Any]:
        """Return what was told since the last call."""
        told, self._told = self._told, []
        return told


class MetPeers:
    """The workers of a piece of work as one of them sees them: :class:`dcbmr.Peers`."""

    def __init__(self, meeting: Any, rank: int, size: int) -> None:
        from ray.util import get_node_ip_address

        self._meeting, self.rank, self.size = meeting, rank, size
        self.host = get_node_ip_address()
        self._n_rounds = 0

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Return every worker's ``array`` in the order of the ranks."""
        self._n_rounds += 1
        gathered: list[NDArray[Any]] = self._asked(self._meeting.gather, self._n_rounds, self.rank, array)
        return gathered

    def sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of every worker's ``array``, added in the order of the ranks."""
        summed: NDArray[Any] = reduce(operator.add, self.gather(array))
        return summed

    def tell(self, stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        """Report progress to whoever waits for the work."""
        self._asked(self._meeting.tell, stage, step, n_steps, dict(figures))

    def _asked(self, method: Any, *given: Any) -> Any:
        import ray

        try:
            return ray.get(method.remote(*given))
        except ray.exceptions.RayError as error:
            raise ConnectionError(f"the other workers cannot be reached: {last_line(error)}") from error


Work = Callable[..., Value]


class _Lost(Exception):
    """A worker was lost, and with it what all did."""

    def __init__(self, worker: Remote | None, error: BaseException) -> None:
        super().__init__(last_line(error))
        self.where = "an unknown machine" if worker is None else node_of(worker)


def run_together(
    engine: RayEngine, work: Work[Value], *shared: Shared[Any], what: str, progress: Progress | None = None
) -> Value:
    """Have all workers of an engine do one piece of work, and return the result of the first of them.

    Where one is lost all are started again, and the work with them; what it does then should go on where it
    was.

    Parameters
    ----------
    engine : RayEngine
    work : callable
        A function of a module, called on each worker as ``work(peers, report, is_again, *shared)``: the
        others, who hears of progress, and whether workers were lost before. It lets a ConnectionError
        through, which says that another one cannot be reached.
    *shared : Shared
    what : str
        What it is, for the messages: "the fit".
    progress : Progress, optional
        Told here of what the workers report; it may raise to stop.

    Raises
    ------
    DcbmrError
        The work failed on a worker, or workers were lost three times before it got any further.
    """
    furthest, n_lost, is_again = -1, 0, False
    reached = -1

    def note(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        nonlocal reached
        reached = max(reached, step)
        (progress or silent)(stage, step, n_steps, figures)

    while True:
        with in_words(engine._ray):
            workers = _all_ready(engine)
            meeting = engine._ray.remote(Meeting).options(num_cpus=0).remote(len(workers))
            try:
                return _run_once(engine._ray, workers, meeting, work, is_again, shared, what, note)
            except _Lost as lost:
                _start_again(engine, workers)
                n_lost, furthest = (n_lost + 1 if reached <= furthest else 1), max(furthest, reached)
                if n_lost == _MOST_LOST:
                    raise DcbmrError(
                        f"{what}: workers were lost {n_lost} times before it got any further, the last on "
                        f"{lost.where} ({lost}); the memory of the machine may not suffice: give fewer "
                        "workers, or look into the log of Ray, /tmp/ray/session_latest/logs"
                    ) from lost
                warnings.warn(
                    f"the worker on {lost.where} was lost: {what} goes on from the last checkpoint",
                    stacklevel=3,
                )
                is_again = True
            except BaseException:
                _start_again(engine, workers)  # they would wait for each other
                raise
            finally:
                engine._ray.kill(meeting)


def _run_once(
    ray: Any,
    workers: Sequence[Remote],
    meeting: Any,
    work: Work[Value],
    is_again: bool,
    shared: Sequence[Shared[Any]],
    what: str,
    note: Progress,
) -> Value:
    references = {each.number: [each.reference] for each in shared}
    at_work = {
        worker.actor.run.remote(
            _as_peer, (work, meeting, rank, len(workers), is_again), references, None
        ): worker
        for rank, worker in enumerate(workers)
    }
    results: list[Value] = []
    first = next(iter(at_work))
    waiting, doubt, since = list(at_work), None, 0.0
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=_TELL_S)
        for reference in done:
            worker = at_work[reference]
            try:
                result = ray.get(reference)
                if reference is first:
                    results.append(result)
            except ray.exceptions.RayTaskError as error:
                # One that cannot reach another tells late: why, the other one knows.
                if not isinstance(error.cause, ConnectionError | ray.exceptions.RayError):
                    raise _named(error.cause, f"{what} on {node_of(worker)}") from error
                doubt, since = doubt or _Lost(worker, error.cause), since or time.monotonic()
            except ray.exceptions.RayError as error:
                raise _Lost(worker, error) from error
        if doubt and (not waiting or time.monotonic() - since > _DOUBT_S):
            raise doubt
        _pass_on(ray, meeting, note)
    return results[0]


def _pass_on(ray: Any, meeting: Any, note: Progress) -> None:
    try:
        told = ray.get(meeting.told.remote())
    except ray.exceptions.RayError as error:
        raise _Lost(None, error) from error
    for step in told:
        note(*step)


def _as_peer(task: tuple[Work[Value], Any, int, int, bool], *shared: Any) -> Value:
    """What a worker does: its part of the work, of which the first reports."""
    work, meeting, rank, size, is_again = task
    peers = MetPeers(meeting, rank, size)
    result: Value = work(peers, silent if rank else peers.tell, is_again, *shared)
    return result


def _named(error: BaseException, where: str) -> DcbmrError:
    if isinstance(error, DcbmrError):
        return (InputError if isinstance(error, InputError) else DcbmrError)(f"{where}: {error}")
    return DcbmrError(f"{where} failed: {type(error).__name__}: {error}")


def _all_ready(engine: RayEngine) -> list[Remote]:
    """Return the workers, when all have started or late ones were waited for."""
    began = time.monotonic()
    while (late := {w.starting: w for w in engine._workers if not w.facts}) and (
        time.monotonic() - began < _START_S
    ):
        for reference in engine._ray.wait(list(late), timeout=_TELL_S)[0]:
            engine._welcome(late[reference])
    if not (workers := engine._ready()):
        raise DcbmrError(none_left(f"none has started within {_START_S:.0f} s"))
    if len(workers) < len(engine._workers):
        warnings.warn(
            f"{len(workers)} of {len(engine._workers)} workers are there: going on with them", stacklevel=4
        )
    return workers


def _start_again(engine: RayEngine, workers: Sequence[Remote]) -> None:
    """End workers, whatever they are doing, and start as many."""
    for worker in workers:
        engine._workers.remove(worker)
        with suppress(Exception):
            engine._ray.kill(worker.actor)
        engine._start(worker.n_threads)
