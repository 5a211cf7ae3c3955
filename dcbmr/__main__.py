"""``dcbmr``, and ``python -m dcbmr``: imports nothing slow before Ctrl-C is watched for."""

import os
import sys
from contextlib import suppress

# Read by OpenMP runtimes as they are loaded. Threads that wait by spinning take the cores from whoever they
# wait for: beside one other busy process on two cores, a small network trains ten to thirty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    from dcbmr.base.signals import watch
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    sys.exit(130)


def main() -> None:
    """Run the command line."""
    watch.begin()
    if sys.platform != "linux":  # prctl and sigwaitinfo are Linux's
        _run()
        return
    from dcbmr.base.crashes import outlive

    outlive(_run, _decode)


def _run() -> None:
    from dcbmr.cli import main as run

    try:
        run()
    except SystemExit as ended:
        if watch.received is not None:
            _end_at_once(int(ended.code or 0))
        raise


def _end_at_once(status: int) -> None:
    """End this process after a signal, when all is tidy: to take down PyTorch would last a second more."""
    from atexit import _run_exitfuncs

    _run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _decode(path: str) -> None:
    from dcbmr.audio.trial import read_through

    read_through(path)


if __name__ == "__main__":
    main()
