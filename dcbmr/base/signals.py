"""Ctrl-C and SIGTERM end a command in a line, whenever they come.

Light, since it is there before everything else: :mod:`dcbmr.__main__` calls :func:`watch` first of all.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from _thread import get_ident, start_new_thread  # `threading` takes longer to import
from contextlib import contextmanager, suppress

# For type checkers it is true; `typing` takes a while to import, in which Ctrl-C is not watched for.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, NoReturn

_TWICE_S = 0.5
_PATIENCE_S = 0.4  # of the processor, with an import; that of PyTorch takes more than two
_SHOW_CURSOR = b"\x1b[?25h\n"  # which a bar of progress hides
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
HEARD, SAID = 1, 2  # what a parent that waits is told


class Stopped(BaseException):
    """Unwinds a command that was told to stop; BaseException, so that nobody takes it for an error."""


class _Watch:
    """What is done about the signals of this process; nothing until :meth:`begin`."""

    def __init__(self) -> None:
        self.watched: list[signal.Signals] = []
        self.received: signal.Signals | None = None
        self.temporary: set[str] = set()  # files to remove where there is no time to unwind
        self.answers: Callable[[int], None] = lambda _: None  # tells a parent that waits
        self._received_at = 0.0
        self._postponed_at: float | None = None
        self._is_held = False

    def begin(self) -> None:
        """End the process at once when a signal comes: there is nothing yet to tidy up."""
        # One that is ignored, as nohup's and background jobs' are, stays ignored.
        self.watched = [number for number in WORDS if signal.getsignal(number) != signal.SIG_IGN]
        self.end()
        # While Python ends it gives signals back to the system, which would kill a command that is through.
        atexit.register(self._ignore)

    def unwind(self) -> None:
        """From here on there is something to tidy up: the first signal raises Stopped, a second ends."""
        for number in self.watched:
            signal.signal(number, self._raise)
        if self.watched:
            sys.unraisablehook = self._unraisable

    def end(self) -> None:
        """End the process at once again: everything is tidy. After a signal, the next one does so anyway."""
        if self.received is None:
            for number in self.watched:
                signal.signal(number, self._leave)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Answer signals when the block is over: what it begins and what it keeps belong together."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def _ignore(self) -> None:
        for number in self.watched:
            signal.signal(number, signal.SIG_IGN)

    def _leave(self, number: int, _: object) -> NoReturn:
        os.write(2, f"{WORDS[signal.Signals(number)]}\n".encode())
        self.answers(SAID)
        os._exit(128 + number)

    def leave(self, number: int) -> NoReturn:
        """Say what came and end the process at once, without unwinding anything."""
        for file in self.temporary:
            with suppress(OSError):
                os.unlink(file)
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)
        self._leave(number, None)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            # Sent to all processes of a command, one comes twice: by the parent (dcbmr.base.crashes), too.
            if time.monotonic() - self._received_at > _TWICE_S:
                os._exit(128 + number)
            return
        if self._is_held or _is_importing(frame):
            # What is raised in an import may be lost, or come out as something else, or abort a library that
            # is being loaded: the signal comes again, until it is over. One that takes long is ended as by a
            # kill, which loses nothing either.
            if self._postponed_at is None:
                self._postponed_at = time.process_time()
            if not self._is_held and time.process_time() - self._postponed_at > _PATIENCE_S:
                self.leave(number)
            start_new_thread(_send_later, (get_ident(), number))
            return
        self.received, self._received_at = signal.Signals(number), time.monotonic()
        self.answers(HEARD)
        raise Stopped

    def _unraisable(self, what: Any) -> None:
        """Send a signal again that came where nothing can be raised, as in a finalizer."""
        if what.exc_type is Stopped and self.received is not None:
            again, self.received = self.received, None
            start_new_thread(_send_later, (get_ident(), again))  # here it would be lost, too
        else:
            sys.__unraisablehook__(what)


def _send_later(thread: int, number: int) -> None:
    time.sleep(0.02)
    signal.pthread_kill(thread, number)  # to the thread that may be waiting for something


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


watch = _Watch()
