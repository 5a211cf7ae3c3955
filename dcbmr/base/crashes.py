"""A library that crashes costs one file, not the command, and one that does not listen is not waited for.

Decoders are C libraries, and a damaged file may end their process; and while a library is loaded or
computes, Python hears of no signal. So commands run in a child of a parent that does nothing but wait. It
sees which files were in hand, tries each of them in a process of its own, and starts the command again
without the one that crashes; and it ends a command that has not heard of a signal in time. Light, since it is
there before all else.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from mmap import mmap
from typing import NoReturn

from dcbmr.base.signals import SAID, watch

_N_SLOTS = 256  # files in hand at once; those of more threads are not known
_SLOT_BYTES = 4 + 4096  # the length of a path, and the longest there is
_CRASHES = {
    -number: number.name
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
}
_MOST_UNEXPLAINED = 3
_HEARS_IN_S = 0.6
_PR_SET_PDEATHSIG = 1


class InHand:
    """The files that this process reads at the moment; its parent, where it has one that waits, sees them.

    Attributes
    ----------
    left_out : dict of str to str
        Files that are not to be read, and the signal that ended who read them.
    is_restarted : bool
        Whether this process takes the place of one that crashed.
    process : int
        The process that the user knows: the parent, where there is one.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}
        self.is_restarted = False
        self.process = 0
        self._memory: mmap | None = None
        self._free = deque(range(_N_SLOTS))

    def share(self) -> None:
        """Keep what is in hand where children see it, too, and a parent what its child has."""
        self._memory = mmap(-1, _N_SLOTS * _SLOT_BYTES + 1)
        self.process = os.getpid()

    @contextmanager
    def holding(self, path: str) -> Iterator[None]:
        """Have a file in hand until the block ends."""
        name = os.fsencode(path)
        if self._memory is None or not self._free or len(name) > _SLOT_BYTES - 4:
            yield
            return
        slot = self._free.pop()
        at = slot * _SLOT_BYTES
        self._memory[at + 4 : at + 4 + len(name)] = name
        self._memory[at : at + 4] = len(name).to_bytes(4, "little")
        try:
            yield
        finally:
            self._memory[at : at + 4] = bytes(4)
            self._free.append(slot)

    @property
    def answered(self) -> int:
        """How far the child is with a signal: 0, or HEARD, while it tidies up, or SAID."""
        assert self._memory is not None
        return self._memory[-1]

    @answered.setter
    def answered(self, value: int) -> None:
        assert self._memory is not None
        self._memory[-1] = value

    def take(self) -> list[str]:
        """Return the files that a child had in hand when it ended, and forget them."""
        assert self._memory is not None
        found = []
        for at in range(0, _N_SLOTS * _SLOT_BYTES, _SLOT_BYTES):
            if length := int.from_bytes(self._memory[at : at + 4], "little"):
                found.append(os.fsdecode(self._memory[at + 4 : at + 4 + length]))
                self._memory[at : at + 4] = bytes(4)
        return found


in_hand = InHand()


def outlive(work: Callable[[], None], trial: Callable[[str], object]) -> NoReturn:
    """Run ``work`` in a child process, again after each crash without the file that caused it.

    A signal is answered by the child; by this process, as by a kill, where the child has not heard of it
    within 0.6 s. For the first lines of a command: of a process with threads, a fork leaves nothing that
    could be used.

    Parameters
    ----------
    work : callable
        The command, which ends the child. What it reads is in hand meanwhile.
    trial : callable
        Does with one file what may have crashed.

    Raises
    ------
    SystemExit
        In the parent, with the status of the last child; in a child, what ``work`` raises.
    """
    in_hand.share()
    n_unexplained = 0
    while (status := _in_child(work)) in _CRASHES:
        suspects = in_hand.take()
        guilty = [path for path in suspects if _in_child(partial(trial, path)) in _CRASHES]
        in_hand.take()
        n_unexplained += not guilty
        if not suspects or n_unexplained > _MOST_UNEXPLAINED:
            break
        # A damaged heap may crash later, or not in a trial: then all that was in hand is left out.
        for path in guilty or suspects:
            in_hand.left_out[path] = _CRASHES[status]
            _say(
                f"warning: {path} was being read when a library crashed ({_CRASHES[status]}); it is left out"
            )
        in_hand.is_restarted = True
    if status < 0:
        _say(f"killed by {signal.Signals(-status).name}")
    sys.exit(status if status >= 0 else 128 - status)


def _in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a child, and return its exit status, or the number of its signal, negative."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waited = {signal.SIGCHLD, *watch.watched}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    in_hand.answered = 0
    child = os.fork()
    if child == 0:
        die_with(parent)
        watch.answers = partial(setattr, in_hand, "answered")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)
        work()
        sys.exit()
    told, deadline = 0, None
    while True:
        left_s = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        came = signal.sigtimedwait(waited, left_s)
        if came is None:
            if deadline is not None and not in_hand.answered:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                if in_hand.answered == SAID:  # meanwhile
                    os._exit(128 + told)
                watch.leave(told)
            deadline = None
        elif came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        else:
            if came.si_code <= 0:  # sent to this process; Ctrl-C comes to the child as well
                os.kill(child, came.si_signo)
            if deadline is None:
                told, deadline = came.si_signo, time.monotonic() + _HEARS_IN_S


def die_with(parent: int) -> None:
    """Be killed when the parent is: nobody would expect a command to go on that was killed."""
    from ctypes import CDLL

    CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _say(line: str) -> None:
    os.write(2, f"dcbmr: {line}\n".encode(errors="backslashreplace"))
