"""``dcbmr``, and ``python -m dcbmr``: imports nothing before Ctrl-C is watched for."""

from dcbmr.base.signals import watch


def main() -> None:
    """Run the command line."""
    watch.begin()
    from dcbmr.cli import main as run

    run()


if __name__ == "__main__":
    main()
