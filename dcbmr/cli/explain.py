"""``dcbmr explain``: what a network hears."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dcbmr.cli._common import directory_argument, print_rows, table_options, threads_option
from dcbmr.cli._serving import Names, names_option


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

    model = Model.load(model_directory, n_threads=n_threads)
    store = FeatureStore.open(features)
    excerpts = explain(model, store, layer=layer, units=units or None, k=k)
    names = Names(names_file)
    hidden = ("start", "n_frames")
    rows = [
        {name: value for name, value in asdict(excerpt).items() if name not in hidden}
        | names.called(excerpt.song)
        for excerpt in excerpts
    ]
    print_rows(rows, form=form)
    if pictures is not None:
        for file in draw(excerpts, model.features_of(store), pictures):
            click.echo(file, err=True)
