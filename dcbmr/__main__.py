"""``dcbmr``, and ``python -m dcbmr``: imports nothing slow before Ctrl-C is watched for."""

import sys

try:
    from dcbmr.base.signals import watch
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    sys.exit(130)


def main() -> None:
    """Run the command line."""
    watch.begin()
    from dcbmr.cli import main as run

    run()


if __name__ == "__main__":
    main()
