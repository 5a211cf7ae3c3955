"""``dcbmr``, and ``python -m dcbmr``: imports nothing slow before Ctrl-C is watched for."""

import os
import sys

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

    run()


def _decode(path: str) -> None:
    from dcbmr.audio.decode import decode
    from dcbmr.errors import InputError

    try:
        for _ in decode(path):
            pass
    except InputError:
        return


if __name__ == "__main__":
    main()
