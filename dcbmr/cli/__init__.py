"""The command line: thin, no arithmetic.

One module a command; each imports at its top only what is light (click, errors), and the rest inside the
function that runs, so that ``dcbmr --help`` comes back at once.
"""

from __future__ import annotations

import io
import signal
import sys
import traceback
import warnings
from functools import partial

import click

from dcbmr.base.signals import WORDS, watch
from dcbmr.base.text import harmless
from dcbmr.base.version import __version__
from dcbmr.cli import (
    codebook,
    compare,
    dataset,
    demo,
    doctor,
    evaluate,
    experiment,
    explain,
    export,
    factorize,
    featurize,
    plugin,
    plugins,
    predict,
    recommend,
    report,
    similar,
    split,
    stack,
    tags,
    train,
    tune,
    vectors,
)
from dcbmr.cli._common import Run
from dcbmr.errors import DcbmrError, InputError


def _say_version(context: click.Context) -> None:
    if context.params["verbose"]:
        from dcbmr.doctor.machine import installation

        for name, text in doctor.lines_of_installation(installation()):
            click.echo(f"{name:<16} {text}")
    else:
        click.echo(f"dcbmr, version {__version__}")
    context.exit()


class _InOrder(click.Group):
    """Lists the commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, wanted: _say_version(context) if wanted else None,
    help="Show the version and exit; with --verbose those of formats, packages and kernels, too.",
)
@click.option("--verbose", is_flag=True, is_eager=True, help="Say more; goes with --version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback with an error.")
@click.option("--no-plugins", is_flag=True, help="Use nothing that did not come with dcbmr.")
@click.pass_context
def cli(context: click.Context, no_plugins: bool, verbose: bool) -> None:
    """Recommend songs that nobody has played yet, from play counts and audio.

    \b
    plays ── split ── factorize ─┐
                                 ├─ train ── evaluate / recommend / similar / predict
    audio ── featurize ──────────┘

    Start with:  dcbmr demo -o demo
    """
    if verbose:
        raise click.UsageError("--verbose goes with --version")
    if no_plugins:
        from dcbmr.contract.registry import built_in_only

        context.with_resource(built_in_only())


for module in (
    dataset,
    split,
    tune,
    factorize,
    featurize,
    codebook,
    demo,
    experiment,
    train,
    stack,
    evaluate,
    compare,
    recommend,
    similar,
    predict,
    export,
    explain,
    report,
    tags,
    vectors,
    plugins,
    plugin,
    doctor,
):
    cli.add_command(module.command)


def _show_warning(message: Warning | str, *_: object, debug: bool, **__: object) -> None:
    cause = message.__cause__ if isinstance(message, Warning) else None
    if debug and cause is not None:
        click.echo("".join(traceback.format_exception(cause)), err=True, nl=False)
    click.echo(f"dcbmr: warning: {harmless(str(message))}", err=True)


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"the memory does not suffice: {error}"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def main(args: list[str] | None = None) -> None:
    """Run the command line: exit 2 on wrong input, 1 on failure, 130 on Ctrl-C, 143 on SIGTERM."""
    words = sys.argv[1:] if args is None else args
    for stream in (sys.stdout, sys.stderr):
        # Where the locale has no letter for a name, show its code rather than fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    run = Run(debug="--debug" in words)
    warnings.showwarning = partial(_show_warning, debug=run.debug)
    try:
        status = cli.main(words, prog_name="dcbmr", standalone_mode=False, obj=run)
    except BaseException as error:
        status = _status_of(error, run)
        if status is None:
            raise
    finally:
        watch.end()
    sys.exit(status if isinstance(status, int) else 0)


def _status_of(error: BaseException, run: Run) -> int | None:
    """Say in a line what ended a command, and return its exit status; None where it has to be shown whole."""
    # Where a signal came, whatever was raised on the way out comes of it.
    stopped = watch.received
    if stopped is None and isinstance(error, click.Abort | KeyboardInterrupt):
        stopped = signal.SIGINT
    if stopped is not None:
        click.echo(f"{WORDS[stopped]}{run.what_is_left()}", err=True)
        return 128 + stopped
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has gone; nothing is left to say, not even at interpreter shutdown.
        sys.stderr.close()
        return 1
    if run.debug or not isinstance(error, DcbmrError | OSError | MemoryError):
        return None
    click.echo(f"dcbmr: {harmless(_in_words(error))}", err=True)
    return 2 if isinstance(error, InputError) else 1
