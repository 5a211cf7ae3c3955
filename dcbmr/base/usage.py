"""What a stretch of work takes: time, time of the processors, memory."""

from __future__ import annotations

import re
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_ABOUT = Path("/proc/self/status")  # of Linux
_FORGET_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Usage:
    """What some work took; of two stretches of it the sum.

    Attributes
    ----------
    seconds : float
        By the clock.
    processor_seconds : float
        Of all threads of this process, user and system.
    memory_mib : int
        The most memory that the process had meanwhile; on macOS since it started.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    memory_mib: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.seconds + other.seconds,
            self.processor_seconds + other.processor_seconds,
            max(self.memory_mib, other.memory_mib),
        )

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name, to the millisecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


class Meter:
    """Measures from its creation on; one at a time, since the system keeps a single peak of the memory."""

    def __init__(self) -> None:
        with suppress(OSError):
            _FORGET_PEAK.write_text("5")
        self._seconds, self._processor_seconds = time.perf_counter(), time.process_time()

    def usage(self) -> Usage:
        """Return what was taken so far."""
        return Usage(
            time.perf_counter() - self._seconds,
            time.process_time() - self._processor_seconds,
            peak_memory_mib(),
        )


def peak_memory_mib() -> int:
    """Return the most memory that this process had, since it started or since a `Meter` did."""
    with suppress(OSError):  # not ru_maxrss, which remembers the process that started this one
        peak = re.search(r"VmHWM:\s*(\d+)", _ABOUT.read_text())
        if peak:
            return round(int(peak[1]) / 2**10)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (2**20 if sys.platform == "darwin" else 2**10))
