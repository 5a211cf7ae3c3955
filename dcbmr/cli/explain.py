"""``dcbmr explain``: what a network hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dcbmr.cli._common import directory_argument, threads_option
from dcbmr.cli._serving import name_columns, names_option, read_names, shown_names
from dcbmr.cli._tables import of_column, print_rows, table_options


@click.command("explain", short_help="List the sounds to which a network responds the most.")
@click.argument("model_directory", metavar="MODEL", type=directory_argument)
@click.option(
    "--features",
    type=directory_argument,
    required=True,
    help="From `dcbmr featurize`: the songs to look through.",
)
@click.option(
    "--layer", type=click.IntRange(min=1), help="Units of this layer, from 1.  [default: the factors]"
)
@click.option(
    "--unit", "units", multiple=True, type=int, help="Factor or unit, from 0; repeatable.  [default: all]"
)
@click.option("-k", type=click.IntRange(min=1), default=5, show_default=True, help="Windows for each.")
@click.option(
    "--pictures", type=click.Path(path_type=Path), metavar="DIR", help="Write their spectrograms there, too."
)
@names_option
@threads_option
@table_options
def command(
    model_directory: Path,
    features: Path,
    layer: int | None,
    units: tuple[int, ...],
    k: int,
    pictures: Path | None,
    names_file: Path | None,
    n_threads: int | None,
    form: str | None,
) -> None:
    """List the windows of songs to which a model's factors, or units of a layer, respond the most.

    Of factors also those that do the least (ranks -1, -2, ...).

    \b
    Example:  dcbmr explain cnn --features features --unit 0 --unit 7 --pictures pictures
              dcbmr explain cnn --features features --layer 1
    """
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.explain import draw, explain
    from dcbmr.models.model import Model

    given = read_names(names_file)
    model = Model.load(model_directory, n_threads=n_threads)
    store = FeatureStore.open(features)
    excerpts = explain(model, store, layer=layer, units=units or None, k=k)
    names = shown_names(given, model.factors.songs, form)
    rows: list[dict[str, Any]] = []
    for excerpt in excerpts:
        when: dict[str, Any] = {"start_s": excerpt.start_s, "end_s": excerpt.end_s}
        if form is None:
            when = {"seconds": f"{excerpt.start_s:.1f}-{excerpt.end_s:.1f}"}
        song = name_columns(excerpt.song, names)
        rows.append({"unit": excerpt.unit, "rank": excerpt.rank, **song, **when, "value": excerpt.value})
    print_rows(rows, form=form, bars=of_column(rows, "value"))
    if pictures is not None:
        for file in draw(excerpts, model.features_of(store), pictures):
            click.echo(file, err=True)
