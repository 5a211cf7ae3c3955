"""Work on several threads whose results come in order: bounded, and over at once when it is to stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Event
from types import TracebackType
from typing import Generic, Self, TypeVar

from dcbmr.base.threads import resolve_n_threads

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks in hand for each thread: a long one at the head must not stop the others.
_AHEAD = 8


class OrderedPool(Generic[Task, Result]):
    """Threads that do the same with many tasks; a context, which stops all work when it is left.

    Leaving it, by Ctrl-C or an error, too, cancels what has not begun, waits for what has, and closes the
    results that nobody took.

    Parameters
    ----------
    work : callable
        ``work(task, cancelled)`` makes the result of a task, on any thread. The event ``cancelled`` is set
        once no more results are wanted: work that takes long looks at it now and then, and ends early. An
        exception ends the work of all.
    close : callable, optional
        Called with each result when it is done with, whether it was taken or not.
    n_threads : int, optional
        None for every core.
    """

    def __init__(
        self,
        work: Callable[[Task, Event], Result],
        *,
        close: Callable[[Result], None] | None = None,
        n_threads: int | None = None,
    ) -> None:
        self._work, self._close = work, close
        self._n_ahead = _AHEAD * resolve_n_threads(n_threads)
        self._ahead: deque[tuple[Task, Future[Result]]] = deque()
        self._threads = ThreadPoolExecutor(resolve_n_threads(n_threads), "dcbmr")
        self._cancelled = Event()

    def in_order(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Yield each task and its result, in the order of ``tasks``, of which a few a thread are in hand.

        A result is closed when the next one is asked for.
        """
        rest = iter(tasks)
        while True:
            for task in islice(rest, self._n_ahead - len(self._ahead)):
                self._ahead.append((task, self._threads.submit(self._work, task, self._cancelled)))
            if not self._ahead:
                return
            task, future = self._ahead[0]
            yield task, future.result()
            self._ahead.popleft()
            self._close_result(future)

    def _close_result(self, future: Future[Result]) -> None:
        if self._close and not future.cancelled() and not future.exception():
            self._close(future.result())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancelled.set()
        self._threads.shutdown(cancel_futures=True)
        for _, future in self._ahead:
            self._close_result(future)
        self._ahead.clear()
