"""Workers of a Ray cluster: what they are given to do, and what happens when one of them is lost."""

from __future__ import annotations

import itertools
import os
import signal
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from threading import current_thread, main_thread
from types import TracebackType
from typing import Any, Self

from dcbmr import _core
from dcbmr.base.threads import resolve_n_threads
from dcbmr.base.version import __version__
from dcbmr.engine.calls import Call, Part, Remote, Shared, Value, node_of
from dcbmr.engine.layout import threads_of_workers
from dcbmr.engine.words import check_there, in_words, is_no_room, last_line, losses, none_left
from dcbmr.engine.worker import Facts, Worker, seen
from dcbmr.errors import DcbmrError, InputError

_ISAS = ("portable", "avx2", "avx512")  # each can do what those before it can
_START_S = 120.0  # for workers to start
_LOOK_S = 1.0  # between two looks at what has become of lost workers
_DEPTH = 2  # tasks that a worker has: one at work, one that waits
_AHEAD = 4  # tasks given out for each worker, done or not, before the first of them is taken
_MOST_LOST = 3  # workers that may be lost with one task


class RayEngine:
    """Workers on the nodes of a Ray cluster; a context, which lets go of them.

    Workers are processes that do one task after the other, each with the threads of its CPUs. Results come in
    the order of the tasks and do not depend on how many workers there are; one loop over results at a time. A
    worker that is lost is replaced, and what it did is done again, by another one; an error of the work
    itself ends all at once and is not tried again. All compute on one instruction set, the best that every
    machine has: this process, too, while the context lasts.

    Parameters
    ----------
    address : str, optional
        Of a cluster, as "10.0.0.1:6379", "auto" or "ray://...". By default what the environment variable
        RAY_ADDRESS says, else Ray is started on this machine, and ended with the context.
    n_workers : int, optional
        By default one on each node.
    n_threads : int, optional
        Threads of each worker. By default all CPUs of a node are divided among its workers.
    n_gpus : int
        GPUs of each worker.

    Attributes
    ----------
    n_workers : int
    isa : str
        The instruction set that all compute on.

    Raises
    ------
    InputError
        Ray is not installed; there is no cluster, or one of another version of Ray, Python or dcbmr; it has
        too few CPUs.
    DcbmrError
        No worker starts.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        n_workers: int | None = None,
        n_threads: int | None = None,
        n_gpus: int = 0,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read as Ray is imported
        try:
            import ray
        except ImportError:
            raise InputError("--engine ray needs Ray: pip install 'dcbmr[ray]'") from None
        for name, value in (("n_workers", n_workers), ("n_threads", n_threads)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1; got {value}")
        self._ray = ray
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._wish = n_workers, n_threads
        self._n_gpus = n_gpus
        self._numbers = itertools.count()
        self._workers: list[Remote] = []
        self._todo: deque[Call] = deque()
        self._is_ours = False
        self._isa_before = self.isa = _core.isa()
        self.n_workers = 0

    def __enter__(self) -> Self:
        try:
            with in_words(self._ray):
                self._connect()
                cpus = [int(n["Resources"].get("CPU", 0)) for n in self._ray.nodes() if n["Alive"]]
                n_workers, n_threads = self._wish
                threads = threads_of_workers(cpus, n_workers=n_workers, n_threads=n_threads)
                there = int(self._ray.cluster_resources().get("GPU", 0))
                if there < self._n_gpus * len(threads):
                    raise InputError(
                        f"the cluster has {there} GPUs; {len(threads)} workers with {self._n_gpus} each were "
                        "asked for"
                    )
                for n in threads:
                    self._start(n)
                self._wait_for_all()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __repr__(self) -> str:
        there = [worker for worker in self._workers if worker.facts]
        on = Counter(worker.facts.node for worker in there if worker.facts)
        threads = " or ".join(map(str, sorted({worker.n_threads for worker in there})))
        return (
            f"{len(there)} worker{'s' * (len(there) > 1)} on {len(on)} machine{'s' * (len(on) > 1)}, "
            f"{threads} thread{'s' * (threads != '1')} each, kernels on {self.isa}"
        )

    def share(self, value: Value) -> Shared[Value]:
        """Return a value for :meth:`map`, which goes to each node once and must not be changed any more.

        It goes again when it is let go of. Arrays in it are not copied there, and are read-only.
        """
        with in_words(self._ray):
            return Shared(next(self._numbers), self._ray.put(value))

    def map(
        self, work: Callable[..., Value], tasks: Iterable[Any], *shared: Shared[Any], what: str
    ) -> Iterator[Value]:
        """Yield ``work(task, *shared)`` of each task, in their order, of which a few are in hand at once.

        Parameters
        ----------
        work : callable
            A function of a module. What it does twice must be as good as done once.
        tasks : iterable
            What can be pickled.
        *shared : Shared
        what : str
            What the tasks are, for the messages: "users".

        Raises
        ------
        DcbmrError
            The work failed, or three workers were lost with one task, or all are.
        """
        calls = (
            Call(f"block {number} of the {what}", work, task, shared) for number, task in enumerate(tasks, 1)
        )
        return self._run(calls)

    def place(self, values: Iterable[Any]) -> Placed:
        """Return values that stay with the workers, each with one of them."""
        return Placed(self, [Part(next(self._numbers), value) for value in values])

    def check_sees(self, path: str | os.PathLike[str], what: str) -> None:
        """Raise InputError where a worker does not see a file as it is seen here."""
        here = seen(path)
        for worker in self._ready():
            with in_words(self._ray):
                try:
                    there = self._ray.get(worker.actor.run.remote(seen, os.path.abspath(path), {}, None))
                except losses(self._ray) as error:
                    self._lose(worker, error)
                    continue
            if there != here:
                found = "another file lies there" if there else "there is no such file"
                raise InputError(
                    f"a worker on {node_of(worker)} does not see {what}, {path}: {found}; wanted is a disk "
                    "that all machines share, under the same path"
                )

    def _connect(self) -> None:
        if self._address != "local":
            check_there(self._address)
        if self._ray.is_initialized():
            return
        n_workers, n_threads = self._wish
        cpus = max(resolve_n_threads(None), (n_workers or 1) * (n_threads or 1))
        on_this_machine = {}
        if self._address == "local":
            on_this_machine = {"num_cpus": cpus, "include_dashboard": False}
            os.environ.setdefault("RAY_worker_niceness", "0")  # as nice as this process, not 15 more
        before = signal.getsignal(signal.SIGTERM)
        self._is_ours = True
        try:
            self._ray.init(self._address, log_to_driver=False, logging_level="ERROR", **on_this_machine)
        except Exception as error:  # Ray has no class of its own for it
            if "timed out during startup" not in str(error):
                raise
            raise DcbmrError(
                "Ray did not start within its 30 s: this machine is busy, or /dev/shm or /tmp is full; try "
                "again, or start it beforehand (ray start --head) and give --ray-address auto"
            ) from error
        if current_thread() is main_thread():  # Ray takes it
            signal.signal(signal.SIGTERM, before)

    def _start(self, n_threads: int) -> None:
        has = {"num_cpus": n_threads, "num_gpus": self._n_gpus}
        actor = self._ray.remote(Worker).options(**has, max_restarts=0).remote(n_threads)
        self._workers.append(Remote(actor, n_threads, actor.facts.remote()))

    def _wait_for_all(self) -> None:
        """Wait for the workers, and bring all machines to one instruction set."""
        began = time.monotonic()
        wanted = len(self._workers)
        while (late := wanted - len(self._ready())) and time.monotonic() - began < _START_S:
            self._take_results()
        if not self._ready():
            raise DcbmrError(none_left(f"none of {wanted} has started within {_START_S:.0f} s"))
        if late:
            warnings.warn(
                f"{late} of {wanted} workers have not started within {_START_S:.0f} s: the CPUs may be in "
                f"use by others; going on with {wanted - late}",
                stacklevel=4,
            )
        self.n_workers = wanted
        found = {self.isa, *(worker.facts.isa for worker in self._ready() if worker.facts)}
        self.isa = min(found, key=_ISAS.index)
        _core.set_isa(self.isa)
        for worker in self._ready():
            worker.actor.use_isa.remote(self.isa)

    def _ready(self) -> list[Remote]:
        return [worker for worker in self._workers if worker.facts]

    def _run(self, calls: Iterator[Call], n_ahead: int | None = None) -> Iterator[Any]:
        """Yield the results of calls in their order."""
        window: deque[Call] = deque()
        try:
            while True:
                more = list(islice(calls, (n_ahead or _AHEAD * self.n_workers) - len(window)))
                window += more
                self._todo += more
                if not window:
                    return
                with in_words(self._ray):
                    while not window[0].is_done:
                        self._give_out()
                        self._take_results()
                yield window.popleft().result
        finally:  # what was given up is done, but nobody waits for it
            self._todo.clear()
            for worker in self._workers:
                worker.calls.clear()

    def _give_out(self) -> None:
        """Give workers what waits, as far as they take it."""
        for _ in range(len(self._todo)):
            call = self._todo.popleft()
            worker = self._worker_for(call)
            if worker is None:
                self._todo.append(call)
                continue
            shared = {each.number: [each.reference] for each in call.shared}
            kept = call.part.number if call.part else None
            worker.calls[worker.actor.run.remote(call.work, call.task, shared, kept)] = call

    def _worker_for(self, call: Call) -> Remote | None:
        """Return who is to do it; None where it has to wait."""
        ready = self._ready()
        if not ready:
            return None
        least = min(ready, key=lambda worker: len(worker.calls))
        if call.part is None:
            # What was lost before is done alone, to know what loses workers.
            alone = any(other.n_lost for other in (call, *least.calls.values()))
            return least if len(least.calls) < (1 if alone else _DEPTH) else None
        home = call.part.home
        # After losses one worker may have more than another: what is idle takes something over.
        if home is None or home not in ready or len(home.calls) > len(least.calls):
            if home is not None and home in ready:
                home.actor.forget.remote([call.part.number])
            call.part.home = home = least
            home.actor.keep.remote(call.part.number, call.part.value)
        return home

    def _take_results(self) -> None:
        """Wait a moment, and take what is there by then."""
        at_work = {reference: worker for worker in self._workers for reference in worker.calls}
        starting = {worker.starting: worker for worker in self._workers if worker.facts is None}
        if not at_work and not starting:
            raise DcbmrError(none_left("all were lost, and none could be started in their place"))
        timeout = _LOOK_S if at_work else _START_S
        done, _ = self._ray.wait([*at_work, *starting], num_returns=1, timeout=timeout)
        if not done and not at_work and self._todo:
            raise DcbmrError(none_left(f"none has started within {_START_S:.0f} s"))
        for reference in done:
            if reference in starting:
                self._welcome(starting[reference])
            elif reference in at_work[reference].calls:  # else its worker is lost by now
                self._take(reference, at_work[reference])

    def _welcome(self, worker: Remote) -> None:
        """Take a worker for ready; one that cannot be used is let go of."""
        try:
            facts: Facts = self._ray.get(worker.starting)
        except self._ray.exceptions.RayError as error:
            if "No module named" in str(error):
                raise InputError(
                    f"a worker has no dcbmr {__version__}, or not all of it: install the same version on all "
                    f"machines of the cluster: {last_line(error)}"
                ) from error
            self._workers.remove(worker)  # its machine is gone
            if self.n_workers:
                self._start(worker.n_threads)
            return
        if facts.dcbmr != __version__:
            raise InputError(
                f"the worker on {facts.node} has dcbmr {facts.dcbmr}, and this is {__version__}: install the "
                "same version on all machines of the cluster"
            )
        if self.n_workers:  # in the place of one that was lost
            if _ISAS.index(facts.isa) < _ISAS.index(self.isa):
                self._workers.remove(worker)
                self._ray.kill(worker.actor)
                warnings.warn(f"a new worker on {facts.node} is not used: it has no {self.isa}", stacklevel=2)
                return
            worker.actor.use_isa.remote(self.isa)
        worker.facts = facts

    def _take(self, reference: Any, worker: Remote) -> None:
        """Take a result, or find out why there is none."""
        call = worker.calls[reference]
        exceptions = self._ray.exceptions
        try:
            call.result = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, exceptions.RayError):  # of what it was to read
                self._lose(worker, error.cause)
                return
            if isinstance(error.cause, DcbmrError):
                kind = InputError if isinstance(error.cause, InputError) else DcbmrError
                raise kind(f"{call.name}: {error.cause}") from error
            if is_no_room(error.cause):
                raise DcbmrError(
                    f"{call.name}: {node_of(worker)} has no room where it writes: {error.cause}; free some "
                    "space there, and go on with --resume"
                ) from error
            raise DcbmrError(
                f"{call.name} failed on {node_of(worker)}: {type(error.cause).__name__}: {error.cause}"
            ) from error
        except losses(self._ray) as error:
            self._lose(worker, error)
            return
        call.is_done = True
        del worker.calls[reference]

    def _lose(self, worker: Remote, error: Exception) -> None:
        """Give what a lost worker had to others, and start one in its place."""
        self._workers.remove(worker)
        with suppress(Exception):
            self._ray.kill(worker.actor)  # where it only could not be reached
        self._start(worker.n_threads)
        calls = list(worker.calls.values())
        for call in calls:  # the one at work, and one that waited or whose result was on its way
            call.n_lost += 1
        guilty = next((call for call in calls if call.n_lost >= _MOST_LOST), None)
        if guilty:
            raise DcbmrError(
                f"{guilty.name}: {_MOST_LOST} workers were lost with it, the last on {node_of(worker)} "
                f"({last_line(error)}); the memory of the machine may not suffice: give fewer workers, or "
                "look into the log of Ray, /tmp/ray/session_latest/logs"
            )
        names = " and ".join(call.name for call in calls) or "nothing in hand"
        warnings.warn(f"the worker on {node_of(worker)} was lost with {names}: done again", stacklevel=2)
        self._todo.extendleft(reversed(calls))

    def _close(self) -> None:
        _core.set_isa(self._isa_before)
        self._todo.clear()
        for worker in self._workers:
            with suppress(Exception):
                self._ray.kill(worker.actor)
        self._workers.clear()
        if self._is_ours:
            self._ray.shutdown()


class Placed:
    """Values that stay with the workers of a :class:`RayEngine`; one that is lost goes to another."""

    def __init__(self, engine: RayEngine, parts: list[Part]) -> None:
        self._engine, self._parts = engine, parts

    def map(
        self, work: Callable[..., Value], tasks: Sequence[Any], *shared: Shared[Any], what: str
    ) -> Iterator[Value]:
        """Yield ``work(value, task, *shared)`` of each value and its task; see :meth:`RayEngine.map`."""
        n = len(self._parts)
        calls = (
            Call(f"block {number} of {n} of the {what}", work, task, shared, part)
            for number, (part, task) in enumerate(zip(self._parts, tasks, strict=True), 1)
        )
        return self._engine._run(calls, n_ahead=n)
