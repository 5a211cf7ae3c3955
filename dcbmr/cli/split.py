"""``dcbmr split``: hold out songs to test on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from dcbmr.cli._common import (
    begin,
    output_option,
    overwrite_option,
    plays_options,
    read_plays,
    seed_option,
)


@click.command("split", short_help="Hold songs out of the plays, or plays, to test on.")
@click.argument("plays", type=click.Path(path_type=Path), nargs=-1, required=True)
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
@plays_options
@seed_option
@overwrite_option
def command(
    plays: tuple[Path, ...],
    output: Path,
    by: Literal["song", "artist", "play"],
    songs: Path | None,
    fraction: float,
    reading: Mapping[str, Any],
    random_state: int,
    overwrite: bool,
) -> None:
    """Split PLAYS, as `dcbmr factorize` takes them, into plays to learn from and plays held out.

    Models of audio are evaluated on songs held out, and on artists held out if they are to be good at new
    artists; factors are evaluated on single plays (--by play), whose songs others play.

    \b
    Example:  dcbmr split plays.tsv -o split --by artist --songs songs.tsv
              dcbmr split plays.tsv -o warm --by play --fraction 0.1
    """
    from dcbmr.plays.songs import read_songs
    from dcbmr.plays.split import split_plays

    begin(output, kind="split", overwrite=overwrite)
    artists = read_songs(songs).artist_of() if songs else None
    table = read_plays(plays, reading)
    split = split_plays(table, by=by, artists=artists, fraction=fraction, random_state=random_state)
    split.save(output, overwrite=overwrite)
    for name, part in (("train", split.train), ("held out", split.heldout)):
        n_users, n_songs = part.counts.shape
        click.echo(f"{name}: {n_users:,} users, {n_songs:,} songs, {part.counts.nnz:,} pairs", err=True)
    click.echo(f"wrote {output}", err=True)
