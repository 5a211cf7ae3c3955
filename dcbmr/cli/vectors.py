"""``dcbmr vectors``: vectors of songs out of what is known of them, for ``featurize --vectors``."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import overwrite_option


@click.group("vectors", short_help="Make vectors of songs out of tags.")
def command() -> None:
    """Make vectors of songs out of what is known of them, for `dcbmr featurize --vectors`.

    \b
    Example:  dcbmr vectors tags tags.tsv -o tags.parquet
    """


@command.command("tags")
@click.argument("tags", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="Parquet file to write: columns song and vector.",
)  # fmt: skip
@click.option(
    "--columns", metavar="SONG,TAG[,WEIGHT]",
    help="Columns of TAGS: names of its header, or numbers from 1.  [default: by their usual names]",
)  # fmt: skip
@click.option(
    "--dims", "n_dims", type=click.IntRange(min=1), default=512, show_default=True,
    help="Dimensions; more keep more tags apart.",
)  # fmt: skip
@overwrite_option
def tags_command(tags: Path, output: Path, columns: str | None, n_dims: int, overwrite: bool) -> None:
    """Make a vector of the TAGS of each song.

    TAGS is a file of song, tag and, optionally, weight (TSV, CSV or Parquet, plain or .gz). Which dimension a
    tag has, its name says: songs tagged later get vectors that go with those of today, if --dims is the same.

    \b
    Example:  dcbmr vectors tags tags.tsv -o tags.parquet
              dcbmr featurize --vectors tags.parquet -o features --kind tags --plays plays.tsv
              dcbmr train --regressor linear --kind bow_pca --kind tags --factors factors \\
                  --features features -o joined
    """
    from dcbmr.plays.tag_vectors import write_tag_vectors
    from dcbmr.plays.tags import SongTags

    table = SongTags.read(tags, columns=columns)
    write_tag_vectors(table, output, n_dims=n_dims, overwrite=overwrite)
    click.echo(f"{output}: {len(table.song_ids):,} songs, {len(table.tags):,} tags in {n_dims:,} dimensions")
