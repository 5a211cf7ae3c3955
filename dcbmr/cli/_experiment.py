"""What demo and experiment share: the stages as they begin, and the table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from dcbmr.base.progress import Progress
from dcbmr.cli._common import Bars
from dcbmr.cli._tables import print_evaluation


def with_names(bars: Bars) -> Progress:
    """Return the bars with a line for each stage that begins, where they are not shown."""
    begun: set[str] = set()

    def show(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
        if stage not in begun and not sys.stderr.isatty():
            click.echo(stage, err=True)
        begun.add(stage)
        bars(stage, step, n_steps, figures)

    return show


def print_experiment(results: Mapping[str, Any], *, form: str | None) -> None:
    """Print the table of an experiment, what it means, and what it took."""
    from dcbmr.evaluation.table import who_was_ranked

    print_evaluation(results["rows"], form=form)
    click.echo("\n".join([who_was_ranked(results["rows"]), *results["words"]]), err=form is not None)
    words = "" if results["n_words"] is None else f"{results['n_words']} words in the codebook; "
    took = f"{sum(results['seconds'].values()):.0f} s, at most {results['peak_memory_mib']} MiB"
    click.echo(f"{words}{took}", err=True)
