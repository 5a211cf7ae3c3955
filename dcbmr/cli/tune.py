"""``dcbmr tune``: settings of the factorization that suit the plays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dcbmr.cli._common import (
    claim,
    output_option,
    print_rows,
    seed_option,
    show_progress,
    table_options,
    threads_option,
)


@click.command("tune", short_help="Choose settings of the factorization by plays held out.")
@click.argument("plays", type=click.Path(path_type=Path))
@output_option("the trials, which another run goes on from,", required=False)
@click.option("--columns", metavar="USER,SONG,COUNT", help="Columns of the file.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="Where to look for a setting; repeatable.  [default: n_factors=8:128, regularization=0.1:10000, "
    "alpha=0.1:40]",
)
@click.option(
    "--trials", type=click.IntRange(min=1), default=50, show_default=True, help="Settings to try in all."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Begin no trial after as many.")
@click.option("-k", type=click.IntRange(min=1), default=20, show_default=True, help="Cut-off of the recall.")
@click.option(
    "--validation",
    "validation_fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the plays that is held out.",
)
@seed_option
@threads_option
@table_options
def command(
    plays: Path,
    output: Path | None,
    columns: str | None,
    ranges: tuple[str, ...],
    trials: int,
    seconds: float | None,
    k: int,
    validation_fraction: float,
    random_state: int,
    n_threads: int | None,
    form: str | None,
) -> None:
    """Try settings of the factorization on PLAYS, and say which found most of the plays held out.

    PLAYS is a file of user, song and count, or a directory that `dcbmr split` wrote, whose training plays
    are then used. Settings that are behind after a few sweeps are given up. Prints what was chosen, what of
    it mattered (a share of the variance of the recall), and the command that uses it.

    \b
    Example:  dcbmr tune plays.tsv --seconds 60
              dcbmr tune split -o trials --range n_factors=10:400 --range regularization=1:1000
    """
    from dcbmr.experiment.tune import require_optuna, tune_factorization
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.split import Split

    require_optuna()
    space = _space(ranges)
    if output is not None:
        claim(output)
    given = Split.load(plays) if plays.is_dir() else PlayCounts.read(plays, columns=columns)
    with show_progress() as bars:
        tuned = tune_factorization(
            given,
            space=space,
            trials=trials,
            seconds=seconds,
            k=k,
            validation_fraction=validation_fraction,
            directory=output,
            n_threads=n_threads,
            random_state=random_state,
            progress=bars,
        )
    print_rows(tuned.rows(), form=form)
    click.echo(
        f"recall@{k} of the plays held out: {tuned.recall:.4f}, with the defaults "
        f"{tuned.default_recall:.4f}; {tuned.n_trials} trials, {tuned.n_pruned} of them given up early; "
        f"{tuned.seconds:.0f} s",
        err=form is not None,
    )
    click.echo(f"dcbmr factorize {plays} -o factors {_options(tuned.settings)}", err=form is not None)


def _space(ranges: tuple[str, ...]) -> dict[str, tuple[float, float]] | None:
    found = {}
    for given in ranges:
        name, _, ends = given.partition("=")
        low, _, high = ends.partition(":")
        try:
            found[name] = (float(low), float(high))
        except ValueError:
            raise click.UsageError(f"--range {given}: wanted NAME=LOW:HIGH, two numbers") from None
    return found or None


def _options(settings: Mapping[str, Any]) -> str:
    """Return settings as options of `dcbmr factorize`."""
    called = {"n_factors": "factors", "n_iterations": "iterations"}
    return " ".join(
        f"--{called.get(name, name).replace('_', '-')} {value if isinstance(value, int) else f'{value:.4g}'}"
        for name, value in settings.items()
    )
