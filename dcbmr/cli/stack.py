"""``dcbmr stack``: several models as one."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import begin, directory_argument, output_option, overwrite_option


@click.command("stack", short_help="Put several models together as one.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=directory_argument)
@output_option("the stack")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Weight of a model's scores, once for each in their order.  [default: all the same]",
)
@overwrite_option
def command(models: tuple[Path, ...], output: Path, weights: tuple[float, ...], overwrite: bool) -> None:
    """Add up the scores of models that were trained on the same factors.

    What it writes is used as a model is: by evaluate, recommend, similar and predict.

    \b
    Example:  dcbmr stack linear cnn -o both
              dcbmr stack linear cnn -o both --weight 1 --weight 3
    """
    from dcbmr.models.model import KINDS, Model
    from dcbmr.models.stack import KIND, Stack

    begin(output, kind=KIND, replaces=KINDS, overwrite=overwrite)
    Stack([Model.load(path) for path in models], weights=weights or None).save(output, overwrite=overwrite)
    click.echo(f"wrote {output}", err=True)
