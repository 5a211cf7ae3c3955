"""``dcbmr split``: hold out songs to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dcbmr.cli._common import begin, output_option, overwrite_option, seed_option


@click.command("split", short_help="Hold songs out of the plays, or plays, to test on.")
@click.argument("plays", type=click.Path(path_type=Path))
@output_option("the split")
@click.option(
    "--by",
    type=click.Choice(["song", "artist", "play"]),
    default="song",
    show_default=True,
    help="Hold out single songs, all songs of an artist together, or single plays of songs that stay known.",
)
@click.option(
    "--songs",
    type=click.Path(path_type=Path),
    help="Table of song, artist, title (TSV or CSV); needed for --by artist.",
)
@click.option(
    "--fraction", type=float, default=0.2, show_default=True, help="Share of the songs, or plays, held out."
)
@click.option(
    "--columns",
    metavar="USER,SONG,COUNT",
    help="Columns of PLAYS: names of its header, or numbers from 1.  [default: by their usual names]",
)
@seed_option
@overwrite_option
def command(
    plays: Path,
    output: Path,
    by: Literal["song", "artist", "play"],
    songs: Path | None,
    fraction: float,
    columns: str | None,
    random_state: int,
    overwrite: bool,
) -> None:
    """Split PLAYS into plays to learn from and plays held out.

    Models of audio are evaluated on songs held out, and on artists held out if they are to be good at new
    artists; factors are evaluated on single plays (--by play), whose songs others play.

    \b
    Example:  dcbmr split plays.tsv -o split --by artist --songs songs.tsv
              dcbmr split plays.tsv -o warm --by play --fraction 0.1
    """
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.songs import read_songs
    from dcbmr.plays.split import split_plays

    begin(output, kind="split", overwrite=overwrite)
    artists = read_songs(songs).artist_of() if songs else None
    table = PlayCounts.read(plays, columns=columns)
    split = split_plays(table, by=by, artists=artists, fraction=fraction, random_state=random_state)
    split.save(output, overwrite=overwrite)
    for name, part in (("train", split.train), ("held out", split.heldout)):
        n_users, n_songs = part.counts.shape
        click.echo(f"{name}: {n_users:,} users, {n_songs:,} songs, {part.counts.nnz:,} pairs", err=True)
    click.echo(f"wrote {output}", err=True)
