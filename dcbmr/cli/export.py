"""``dcbmr export``: users and songs for a vector database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcbmr.cli._common import (
    begin,
    directory_argument,
    force_option,
    output_option,
    overwrite_option,
    show_progress,
    some,
    threads_option,
)
from dcbmr.cli._serving import Serving, serving_options

if TYPE_CHECKING:
    from dcbmr.recommendation.export import Format, Metric


@click.command("export", short_help="Write users and songs as vectors for a vector database.")
@click.argument("source", metavar="MODEL|FACTORS", type=directory_argument)
@output_option("the vectors")
@click.option(
    "--metric",
    type=click.Choice(["ip", "cosine", "l2"]),
    default="ip",
    show_default=True,
    help="What the index compares by: inner product, cosine or Euclidean distance. For the latter two "
    "the vectors get one dimension more, and length one.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "npy", "faiss"]),
    default="parquet",
    show_default=True,
    help="Parquet, or NumPy's arrays with ids beside them, or the songs as an index of faiss (extra faiss).",
)
@serving_options
@overwrite_option
@force_option("little memory or disk.")
@threads_option
def command(
    source: Path,
    output: Path,
    metric: Metric,
    file_format: Format,
    serving: Serving,
    overwrite: bool,
    force: bool,
    n_threads: int | None,
) -> None:
    """Write users and songs as vectors for a vector database, such as faiss, Qdrant or pgvector.

    The nearest songs of a user, by the metric that the index is to have, are those that `dcbmr recommend
    --candidates all` lists, in its order. Songs stand where their listeners put them; songs without plays,
    from --features or --audio, where the model puts them (is_predicted). config.json keeps a digest of the
    model: vectors of a model that was trained again do not fit these, write all of them anew.

    \b
    parquet: users.parquet (user, vector), songs.parquet (song, is_predicted, vector)
    npy:     users.txt, user_vectors.npy, songs.txt, song_vectors.npy, song_is_predicted.npy
    faiss:   the same, but songs.faiss, an exact index, in the place of song_vectors.npy

    \b
    Example:  dcbmr export cnn --features features -o vectors
              dcbmr export cnn --features features --metric cosine --plays plays-of-today.tsv -o vectors
              dcbmr export factors --format npy -o vectors
    """
    from dcbmr.base.needs import check_need, of_export
    from dcbmr.factorization.factors import sizes_of
    from dcbmr.recommendation.export import export_vectors, require_faiss

    if file_format == "faiss":
        require_faiss()
    begin(output, kind="vectors", overwrite=overwrite)
    plays = serving.plays()
    need = of_export(sizes_of(source), n_newer=0 if plays is None else plays.counts.nnz)
    check_need(need, output, force=force)
    recommender, _ = serving.recommender(source, plays, n_threads=n_threads)
    with show_progress() as progress:
        report = export_vectors(
            recommender,
            output,
            metric=metric,
            format=file_format,
            model=source,
            overwrite=overwrite,
            progress=progress,
        )
    if report.left_out:
        click.echo(
            f"left out {len(report.left_out):,} users, who have no plays of songs that are known here: "
            f"{some(report.left_out)}",
            err=True,
        )
    click.echo(
        f"{output}: {report.n_users:,} users, {report.n_songs:,} songs, {report.n_predicted:,} of them "
        f"predicted; {report.n_dims} dimensions, for an index of {metric}"
    )
