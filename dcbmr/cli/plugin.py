"""``dcbmr plugin new``: begin a plugin of one's own."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("plugin", short_help="Begin a plugin of your own.")
def command() -> None:
    """Begin a plugin of your own; `dcbmr plugins` lists those that are installed.

    \b
    Example:  dcbmr plugin new tempo-map --kind features
    """


@command.command("new", short_help="Write a package that works, to be changed.")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["regressor", "loss", "features"]),
    required=True,
    help="What it offers.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="The folder to write, which must not exist.  [default: dcbmr-NAME]",
)
def new(name: str, kind: str, output: Path | None) -> None:
    """Write a package that offers the regressor, the loss or the kind of feature NAME.

    It is complete (pyproject.toml, a module that works, tests, README, CI) and works as it is, so that you
    can change it step by step.

    \b
    Example:  dcbmr plugin new octaves --kind features
              cd dcbmr-octaves
              pip install -e '.[test]'
              pytest
              dcbmr plugins octaves
    """
    from dcbmr.scaffold.package import new_package

    place = new_package(name, kind=kind, output=output)
    click.echo(f"wrote {place}", err=True)
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        click.echo(path)
    click.echo(f"next: cd {place} && pip install -e '.[test]' && pytest", err=True)
