"""``dcbmr split``: hold out songs to test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import click

from dcbmr.cli._common import (
    begin,
    force_option,
    is_given,
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
    type=click.Choice(["song", "artist", "play", "time", "list"]),
    default="song",
    show_default=True,
    help="Hold out single songs, all songs of an artist together, single plays of songs that stay known, "
    "songs that are newer than a date, or those of a list.",
)
@click.option(
    "--songs",
    type=click.Path(path_type=Path),
    help="Table of song, artist, title and date (TSV or CSV); needed for --by artist. What is made of the "
    "split remembers artists and titles, and shows them.",
)
@click.option(
    "--fraction",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of the songs, or plays, held out: by song, artist and play.",
)
@click.option(
    "--after",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="By time: songs dated after this day, as 2012-06-01, are held out.",
)
@click.option(
    "--dates",
    type=click.Choice(["songs", "plays"]),
    help="By time: dates of --songs, or of a song's first play in a log of plays.  [default: songs if "
    "--songs is given]",
)
@click.option(
    "--heldout", type=click.Path(path_type=Path), help="By list: the ids of the songs held out, one a line."
)
@plays_options
@seed_option
@overwrite_option
@force_option("little memory or disk.")
def command(
    plays: tuple[Path, ...],
    output: Path,
    by: Literal["song", "artist", "play", "time", "list"],
    songs: Path | None,
    fraction: float,
    after: datetime | None,
    dates: Literal["songs", "plays"] | None,
    heldout: Path | None,
    reading: Mapping[str, Any],
    random_state: int,
    overwrite: bool,
    force: bool,
) -> None:
    """Split PLAYS, as `dcbmr factorize` takes them, into plays to learn from and plays held out.

    Models of audio are evaluated on songs held out, and on artists held out if they are to be good at new
    artists; factors are evaluated on single plays (--by play), whose songs others play.

    \b
    Example:  dcbmr split plays.tsv -o split --by artist --songs songs.tsv
              dcbmr split plays.tsv -o warm --by play --fraction 0.1
              dcbmr split logs/ -o newer --by time --after 2024-01-31
              dcbmr split plays.tsv -o same --by list --heldout test_songs.txt
    """
    from dcbmr.base.needs import Sizes, check_need, of_split
    from dcbmr.plays.songs import read_song_list, read_songs
    from dcbmr.plays.split import split_after, split_list, split_plays

    _check_belongs(by)
    if by == "time" and after is None:
        raise click.UsageError("--by time needs --after DATE, as 2012-06-01")
    if by == "list" and heldout is None:
        raise click.UsageError("--by list needs --heldout FILE, ids one a line")
    begin(output, kind="split", overwrite=overwrite)
    listed = read_song_list(heldout) if heldout else set()
    named = read_songs(songs) if songs else None
    artists = named.artist_of() if named else None
    days = _dates(plays, songs, dates, reading) if by == "time" else {}
    table = read_plays(plays, reading)
    check_need(of_split(Sizes(*table.counts.shape, table.counts.nnz, 0)), output, force=force)
    if by == "time" and after is not None:
        split = split_after(table, after.date(), dates=days, artists=artists)
    elif by == "list":
        split = split_list(table, listed, artists=artists)
    else:
        assert by in ("song", "artist", "play")
        split = split_plays(table, by=by, artists=artists, fraction=fraction, random_state=random_state)
    if named is not None:
        split = split.named_by(named)
    split.save(output, overwrite=overwrite)
    for name, part in (("train", split.train), ("held out", split.heldout)):
        n_users, n_songs = part.counts.shape
        by_artists = ""
        if split.artists is not None:
            n_artists = len({split.artists[song] for song in part.song_ids if song in split.artists})
            by_artists = f" by {n_artists:,} artists"
        told = f"{n_users:,} users, {n_songs:,} songs{by_artists}, {part.counts.nnz:,} pairs"
        click.echo(f"{name}: {told}", err=True)
    click.echo(f"wrote {output}", err=True)


def _check_belongs(by: str) -> None:
    """Raise UsageError for an option of another kind of split."""
    for name, kinds in (
        ("fraction", ("song", "artist", "play")),
        ("after", ("time",)),
        ("dates", ("time",)),
        ("heldout", ("list",)),
    ):
        if by not in kinds and is_given(name):
            raise click.UsageError(f"--{name} is for --by {' or '.join(kinds)}, and this is --by {by}")


def _dates(
    plays: Sequence[Path], songs: Path | None, where: str | None, reading: Mapping[str, Any]
) -> dict[str, date]:
    """Return the date of each song: of the table of songs, or of its first play."""
    from dcbmr.plays.dates import read_dates
    from dcbmr.plays.first_played import first_days

    if where == "songs" and songs is None:
        raise click.UsageError("--dates songs needs --songs, a table with a column of dates")
    if songs is not None and where != "plays":
        return read_dates(songs)
    if Path("-") in plays:
        raise click.UsageError("standard input is read once: for --dates plays give files")
    return first_days(list(plays), **reading)
