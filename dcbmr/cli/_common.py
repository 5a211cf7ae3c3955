"""What the commands share: options, outputs, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dcbmr.base.signals import watch
from dcbmr.base.text import harmless

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.plays.counts import PlayCounts

threads_option = click.option(
    "--threads",
    "n_threads",
    type=click.IntRange(min=1),
    default=None,
    help="Threads to use.  [default: every core]",
)
seed_option = click.option(
    "--seed", "random_state", type=int, default=0, show_default=True, help="Seed of every random choice."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")


def force_option(when: str) -> Callable[[Any], Any]:
    """``--force``: go on where a command would rather ask."""
    return click.option("--force", is_flag=True, help=f"Go on with {when}")


_PLAYS_OPTIONS = (
    click.option(
        "--columns",
        metavar="USER,SONG[,COUNT]",
        help="Columns of the plays, names of a header or numbers from 1, and time=COLUMN and seconds=COLUMN "
        "of a log; without COUNT each row is one play.  [default: by their usual names]",
    ),
    click.option(
        "--since",
        metavar="TIME",
        help="Only plays from this time on: 2024-01-31, 2024-01-31T18:30 (UTC), or seconds since 1970.",
    ),
    click.option("--until", metavar="TIME", help="Only plays before this time."),
    click.option(
        "--min-seconds",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Only plays of at least so many seconds (a column with ms in its name holds milliseconds).",
    ),
)


_WORDS_OPTIONS = (
    click.option(
        "--words",
        "n_words",
        type=click.IntRange(min=2),
        default=4000,
        show_default=True,
        help="Words of the codebook, for regressors on bag of words (the paper's 4000).",
    ),
    click.option(
        "--variance",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.95,
        show_default=True,
        help="Share of the variance of the word counts that the PCA keeps (the paper's 0.95).",
    ),
    click.option(
        "--standardize/--no-standardize",
        default=True,
        show_default=True,
        help="Learn the codebook from standardized frames; see `dcbmr codebook --help`.",
    ),
    click.option(
        "--weighting",
        type=click.Choice(["count", "sqrt"]),
        default="count",
        show_default=True,
        help="Word counts, as in the paper, or their square roots.",
    ),
)


def plays_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How plays are read: ``--columns``, ``--since``, ``--until``, ``--min-seconds``.

    The command gets those that were given as one mapping, ``reading``, for :func:`read_plays`.
    """
    return gathered(command, _PLAYS_OPTIONS, "reading", ("columns", "since", "until", "min_seconds"))


def words_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How words are made of frames: ``--words``, ``--variance``, ``--standardize``, ``--weighting``.

    The command gets them as one mapping, ``words``, for :func:`dcbmr.pipeline_to`.
    """
    return gathered(command, _WORDS_OPTIONS, "words", ("n_words", "variance", "standardize", "weighting"))


def gathered(
    command: Callable[..., Any],
    options: Sequence[Callable[[Any], Any]],
    name: str,
    names: Sequence[str],
    into: Callable[..., Any] = dict,
) -> Callable[..., Any]:
    """Return a command with some more options, which it gets, as far as they have values, as one argument."""

    @wraps(command)
    def gathering(*args: Any, **given: Any) -> Any:
        values = {option: given.pop(option) for option in names}
        found = {option: value for option, value in values.items() if value is not None}
        return command(*args, **{name: into(**found)}, **given)

    for option in reversed(options):
        gathering = option(gathering)
    return gathering


_ENGINE_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Work on this machine, or on the workers of a Ray cluster (pip install 'dcbmr[ray]').",
    ),
    click.option(
        "--workers",
        "n_workers",
        type=click.IntRange(min=1),
        help="With --engine ray: how many, sharing the CPUs of the cluster; --threads are those of each.  "
        "[default: one on each machine]",
    ),
    click.option(
        "--ray-address",
        "address",
        metavar="HOST:PORT",
        help="With --engine ray: a cluster that runs, as 10.0.0.1:6379 or auto.  [default: $RAY_ADDRESS, "
        "else Ray is started on this machine]",
    ),
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--engine``, ``--workers`` and ``--ray-address``, as one mapping, ``cluster``, for :func:`at_work`."""
    return gathered(command, _ENGINE_OPTIONS, "cluster", ("engine", "n_workers", "address"))


@contextmanager
def at_work(
    cluster: Mapping[str, Any], n_threads: int | None, *, n_gpus: int = 0
) -> Iterator[RayEngine | None]:
    """Give the engine that was asked for, and say what it has; None for this machine alone."""
    wish = dict(cluster)
    if wish.pop("engine") == "local":
        if wish:
            raise click.UsageError("--workers and --ray-address go with --engine ray")
        yield None
        return
    from dcbmr.engine.on_ray import RayEngine

    watch.unwind()
    with RayEngine(**wish, n_threads=n_threads, n_gpus=n_gpus) as engine:
        click.echo(f"ray: {engine}", err=True)
        yield engine


def is_given(name: str) -> bool:
    """Say whether an option of the command that runs was given, and does not have its default."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def flags_of(options: Mapping[str, Any]) -> str:
    """Return the flags of options by their names."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)


def read_plays(files: Sequence[Path], reading: Mapping[str, Any]) -> PlayCounts:
    """Read plays, and say where rows were counted, and how many were left out, and why."""
    from dcbmr.plays.counts import PlayCounts

    n_rows, left_out, each_is_a_play = 0, dict[str, float](), False
    with show_progress() as bars:

        def show(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            nonlocal n_rows, each_is_a_play
            n_rows, each_is_a_play = step, stage == "count plays"
            left_out.update(figures)
            bars(stage, step, n_steps, {}, shown="rows")

        plays = PlayCounts.read(files, **reading, progress=show)
    say_rows(n_rows, left_out, each_is_a_play=each_is_a_play)
    return plays


def say_rows(n_rows: int, left_out: Mapping[str, float], *, each_is_a_play: bool) -> None:
    """Say where rows were counted, and how many were left out, and why."""
    each = ", each counted as one play" if each_is_a_play else ""
    why = ", ".join(f"{n:,.0f} {reason}" for reason, n in left_out.items())
    if each or why:
        click.echo(f"{n_rows:,} rows{each}{'; left out: ' if why else ''}{why}", err=True)


@dataclass
class Run:
    """One call of the command line.

    Attributes
    ----------
    debug : bool
        Show a traceback with an error, or a warning.
    can_resume : callable, optional
        Of a command with --resume: says whether there is something to go on with.
    """

    debug: bool = False
    can_resume: Callable[[], bool] | None = None

    def what_is_left(self) -> str:
        """Return how to go on, to be put after "interrupted"."""
        if self.can_resume is None:
            return ""
        return "; --resume continues" if self.can_resume() else " before anything was kept"


def claim(output: Path, *, can_resume: Callable[[], bool] | None = None) -> None:
    """Keep other commands off ``output`` until this one ends, and unwind it when it is told to stop."""
    from dcbmr.base.directory import sole_writer

    context = click.get_current_context()
    context.ensure_object(Run).can_resume = can_resume
    watch.unwind()
    context.with_resource(sole_writer(output))


def begin(
    output: Path, *, kind: str, overwrite: bool, resume: bool | None = None, replaces: Collection[str] = ()
) -> bool:
    """Claim the output of a command, before its work; return False where it is finished already.

    ``resume`` is None for commands that have no --resume; ``replaces`` are other kinds that it may overwrite.
    """
    from dcbmr.base.directory import begin_output, is_unfinished

    claim(output, can_resume=None if resume is None else lambda: is_unfinished(output))
    return begin_output(output, kind=kind, replaces=replaces, overwrite=overwrite, resume=bool(resume))


def say_finished(output: Path, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Say that there is nothing for --resume to do, where the output was made with the settings wanted."""
    from dcbmr.base.settings import check_settings

    check_settings(
        wanted,
        {name: found.get(name) for name in wanted},
        f"{output} is finished, and was made",
        remedy="give the same settings, or --overwrite to make it anew",
    )
    click.echo(f"{output} is finished; nothing to resume", err=True)


def output_option(what: str, *, required: bool = True) -> Callable[[Any], Any]:
    """``-o DIR``: where a command writes its directory."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        required=required,
        help=f"Directory to write {what} to.",
    )


@dataclass
class _Stage:
    """A stage of long work: when it began, at which step, and where it is."""

    task: TaskID
    began: float
    first: float
    last: float
    is_told: bool = False

    def left(self, n_steps: int | None) -> float | None:
        """Return the seconds that it will take, as fast as it was; None before a percent is over."""
        done = self.last - self.first
        if not n_steps or done <= 0 or 100 * done < n_steps - self.first:
            return None
        return (time.monotonic() - self.began) / done * (n_steps - self.last)


class Bars:
    """A bar for each stage of long work, made when it begins; a :class:`dcbmr.Progress`.

    After the first percent of a stage it says how long the rest will take. Where there is no terminal a line
    says so once, unless that is less than a minute.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._stages: dict[str, _Stage] = {}

    def __call__(
        self, stage: str, step: float, n_steps: int | None, figures: Mapping[str, float], /, shown: str = ""
    ) -> None:
        """Move the bar of ``stage``; ``shown`` in place of the figures."""
        at = self._stages.get(stage)
        if at is None or step < at.last:  # the next of several of one name
            task = at.task if at else self._bars.add_task(stage, total=n_steps, figures="", left="")
            at = self._stages[stage] = _Stage(task, time.monotonic(), step, step)
        at.last = step
        left = at.left(n_steps)
        shown = shown or "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        to_go = "" if left is None else f"{timedelta(seconds=round(left))} to go"
        self._bars.update(at.task, completed=step, total=n_steps, figures=shown, left=to_go)
        if self._bars.disable and left is not None and not at.is_told:
            at.is_told = True
            if left >= 60:
                hours, minutes = divmod(round(left / 60), 60)
                click.echo(f"{stage}: about {hours} h {minutes:02} min to go", err=True)

    def print(self, line: str) -> None:
        """Print a line above the bars, or to a plain log."""
        self._bars.console.print(line, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def show_progress() -> Iterator[Bars]:
    """Show the stages of long work on standard error; on a terminal only, plain logs stay plain."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    watch.unwind()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        # Rich would forget what is longer ago than half a minute, which a step may take.
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bars:
        yield Bars(bars)


# A directory that a command reads; what is wrong with it is said by who reads it.
directory_argument = click.Path(path_type=Path)


def some(names: Sequence[str], n: int = 5) -> str:
    """Return the first few of many names."""
    return ", ".join(map(harmless, names[:n])) + (", ..." if len(names) > n else "")
