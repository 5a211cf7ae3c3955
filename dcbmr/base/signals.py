"""Ctrl-C and SIGTERM end a command in a line, whenever they come.

Light, since it is there before everything else: :mod:`dcbmr.__main__` calls :func:`watch` first of all.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = (
    False  # for type checkers it is true; `typing` takes a while, in which Ctrl-C is not watched for
)
if TYPE_CHECKING:
    from typing import Any

SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """Unwinds a command that was told to stop; BaseException, so that nobody takes it for an error."""


class _Watch:
    """What is done about the signals of this process; nothing until :meth:`begin`."""

    def __init__(self) -> None:
        self.watched: list[signal.Signals] = []
        self.received: signal.Signals | None = None

    def begin(self) -> None:
        """End the process at once when a signal comes: there is nothing yet to tidy up."""
        # One that is ignored, as nohup's and background jobs' are, stays ignored.
        self.watched = [number for number in SAID if signal.getsignal(number) != signal.SIG_IGN]
        for number in self.watched:
            signal.signal(number, self._leave)

    def unwind(self) -> None:
        """From here on there is something to tidy up: the first signal raises Stopped, a second ends."""
        for number in self.watched:
            signal.signal(number, self._raise)
        if self.watched:
            sys.unraisablehook = self._unraisable

    def end(self) -> None:
        """Let signals end the process as the system would: whatever is to be said has been said."""
        for number in self.watched:
            signal.signal(number, signal.SIG_DFL)

    def _leave(self, number: int, _: object) -> None:
        os.write(2, f"{SAID[signal.Signals(number)]}\n".encode())
        os._exit(128 + number)

    def _raise(self, number: int, _: object) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number)
        raise Stopped

    def _unraisable(self, what: Any) -> None:
        """Send a signal again that came where nothing can be raised, as in a finalizer."""
        if what.exc_type is Stopped and self.received is not None:
            again, self.received = self.received, None
            signal.raise_signal(again)
        else:
            sys.__unraisablehook__(what)


watch = _Watch()
