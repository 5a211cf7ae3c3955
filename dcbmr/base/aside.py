"""Calls of code that may never return: on a thread beside the caller's, which is given up after a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

_POLL_S = 0.1


class GivenUpError(Exception):
    """A call took too long, or nobody waits for it any more."""


class Aside:
    """A thread that calls functions for the caller, one after the other, until it has taken too long.

    Nothing can end a thread that hangs: it is left behind, and dies with the process.

    Parameters
    ----------
    seconds : float
        What all calls may take together.
    cancelled : Event
        Ends the waiting once it is set.
    """

    def __init__(self, seconds: float, cancelled: Event) -> None:
        self._left_s, self._cancelled = seconds, cancelled
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread: Thread | None = None

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return ``function(*args)``, or raise what it raises; GivenUpError when it has taken too long."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="dcbmr-aside", daemon=True)
            self._thread.start()
        end = time.monotonic() + self._left_s
        self._calls.put((function, args))
        while True:
            left = end - time.monotonic()
            try:
                result, error = self._results.get(timeout=min(_POLL_S, max(left, 0)))
            except Empty:
                if left <= 0 or self._cancelled.is_set():
                    raise GivenUpError from None
                continue
            self._left_s = max(end - time.monotonic(), 0)
            if isinstance(error, Exception):
                raise error
            if error is not None:  # as of sys.exit(), which is nobody's wish but that code's
                raise RuntimeError(f"{type(error).__name__}: {error}") from error
            return result

    def close(self) -> None:
        """Let the thread end, now or when its call returns."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, args = call
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = function(*args), None
            except BaseException as error:
                outcome = None, error
            self._results.put(outcome)
            del call, function, args, outcome  # which may be large, and hold on to the stream
