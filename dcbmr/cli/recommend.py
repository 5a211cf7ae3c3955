"""``dcbmr recommend``: songs for users."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    at_work,
    begin,
    directory_argument,
    engine_options,
    force_option,
    overwrite_option,
    show_progress,
    some,
    threads_option,
)
from dcbmr.cli._serving import (
    Serving,
    called,
    check_songs,
    k_option,
    name_columns,
    names_option,
    print_songs,
    read_names,
    rows_of_top,
    serving_options,
    shown_names,
)
from dcbmr.cli._tables import print_rows, table_options
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.plays.songs import SongTable
    from dcbmr.recommendation.recommender import Candidates, Ids, Recommender

BLOCK_USERS = 32768


@click.command("recommend", short_help="Recommend songs to users, known or new.")
@click.argument("source", metavar="MODEL|FACTORS", type=directory_argument)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="ID",
    help="A user of the training plays or of --plays; repeatable.",
)
@click.option("--all-users", is_flag=True, help="Every user of the training plays and of --plays.")
@click.option(
    "--new-users",
    "new_users_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PLAYS",
    help="Every user of this file of plays, known by these plays alone; repeatable, as for --plays.",
)
@click.option(
    "--played",
    multiple=True,
    metavar="SONG[=COUNT]",
    help="Instead of a user: a song that somebody new has played; repeatable.",
)
@serving_options
@click.option(
    "--candidates",
    type=click.Choice(["unplayed", "all", "new"]),
    default="unplayed",
    show_default=True,
    help="Songs that the user has not played, every song, or songs that nobody has played.",
)
@click.option(
    "--only",
    "only_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only these songs, ids one a line.",
)
@click.option(
    "--without",
    "without_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="None of these songs, ids one a line.",
)
@click.option(
    "--why",
    is_flag=True,
    help="Add the songs played that speak the most for each song, three a song, and their part of the score.",
)
@click.option(
    "--max-per-artist",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many songs of an artist in a list; artists are those of --songs, or those "
    "that MODEL knows.",
)
@click.option(
    "--from-date",
    metavar="DATE",
    help="Only songs that came out, or were first played, on this day or later, as 2024-01-31, by the dates "
    "in --songs; those without a date are left out.",
)
@k_option
@names_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Directory to write the lists to, as Parquet, instead of printing them.",
)
@overwrite_option
@click.option(
    "--resume",
    is_flag=True,
    help="Make what workers of --engine ray had not finished when they were stopped.",
)
@force_option("-o where memory or disk seem too small.")
@threads_option
@engine_options
@table_options
def command(
    source: Path,
    users: tuple[str, ...],
    all_users: bool,
    new_users_files: tuple[Path, ...],
    played: tuple[str, ...],
    serving: Serving,
    candidates: Candidates,
    only_file: Path | None,
    without_file: Path | None,
    why: bool,
    max_per_artist: int | None,
    from_date: str | None,
    k: int,
    names_file: Path | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    force: bool,
    n_threads: int | None,
    cluster: Mapping[str, Any],
    form: str | None,
) -> None:
    """Recommend songs to users of the training plays, or to somebody new.

    With factors alone the candidates are the songs that have plays. With a model, songs without plays come
    in from a feature store or from audio files. Where factors were fitted on a split, its held-out songs
    only seem new: train on factors of all plays, or give the plays with --plays.

    With -o the lists of any number of users take the memory of a block of them: lists.parquet (user, rank,
    song, score), and without_songs.txt, the users who get none. With --engine ray the workers of a cluster
    rank blocks of users, to the same lists; lists.parquet is a folder then, of a file a block, which is read
    by the same name. What is killed goes on with --resume.

    \b
    Example:  dcbmr recommend cnn --user alice --features features --candidates new
              dcbmr recommend cnn --user alice --features features --plays plays-of-today.tsv
              dcbmr recommend cnn --played S12 --played S7=3 --audio new-releases/
              dcbmr recommend factors --all-users -k 20 --tsv
              dcbmr recommend cnn --all-users --features features --without blocked.txt -o lists
              dcbmr recommend cnn --all-users --features features -o lists \\
                  --songs songs.tsv --max-per-artist 2 --from-date 2024-01-01
              dcbmr recommend cnn --new-users signed-up-today.tsv --predicted predicted -o lists-of-new
              dcbmr recommend cnn --user alice --why
              dcbmr recommend factors --all-users -o lists --engine ray --workers 8
    """
    if bool(users) + all_users + bool(new_users_files) + bool(played) != 1:
        raise click.UsageError(
            "say for whom: --user ID, --all-users, or of somebody new --new-users PLAYS or --played SONG"
        )
    if new_users_files:
        if serving.plays_files or serving.new_plays_files:
            raise click.UsageError("--new-users PLAYS are the plays: leave out --plays, --new-plays")
        serving = replace(serving, plays_files=new_users_files)
    if from_date and names_file is None:
        raise click.UsageError("--from-date needs --songs SONGS.tsv")
    names_unused = names_file is not None and not (max_per_artist or from_date)
    if output is not None and (played or names_unused or form or why):
        raise click.UsageError(
            "-o writes ids of users as Parquet: without --played, --songs, --why, --tsv, --json"
        )
    if (overwrite or resume or force) and output is None:
        raise click.UsageError("--overwrite, --resume and --force are for -o DIR")
    if cluster["engine"] != "local" and output is None:
        raise click.UsageError("--engine ray is for the lists of many users: -o DIR")
    from dcbmr.base.arrays import blocks
    from dcbmr.base.needs import check_need, of_lists
    from dcbmr.factorization.factors import sizes_of
    from dcbmr.plays.dates import songs_from
    from dcbmr.recommendation.per_artist import PerArtist

    given = read_names(names_file)
    if output is not None and not begin(output, kind="lists", overwrite=overwrite, resume=resume):
        click.echo(f"{output} is finished; nothing to resume", err=True)
        return
    plays = serving.plays()
    if output is not None:
        need = of_lists(sizes_of(source), k, n_newer=0 if plays is None else plays.counts.nnz)
        check_need(need, output, force=force)
    recommender, _ = serving.recommender(source, plays, n_threads=n_threads)
    wanted: Ids = users
    if all_users:
        wanted = recommender.user_ids
    elif new_users_files and plays is not None:
        wanted = plays.user_ids
    if only_file or without_file:
        recommender = _filtered(recommender, only_file, without_file)
    if names_file and from_date:
        recommender = recommender.limited_to(songs_from(names_file, from_date))
    known = given.over(recommender.factors.songs)
    if max_per_artist:
        if not (artists := known.artist_of()):
            raise click.UsageError(f"--max-per-artist needs --songs SONGS.tsv: {source} knows no artists")
        recommender = recommender.limited_to(per_artist=PerArtist(max_per_artist, artists))
    if output is not None:
        from dcbmr.recommendation.lists import save_lists

        with at_work(cluster, n_threads) as engine, show_progress() as progress:
            report = save_lists(
                recommender,
                output,
                user_ids=wanted,
                k=k,
                candidates=candidates,
                model=source,
                overwrite=overwrite or resume,
                resume=resume,
                engine=engine,
                progress=progress,
            )
        _tell_of(report.without_songs)
        click.echo(f"{output}: {report.n_users:,} users, {report.n_rows:,} rows of user and song")
        return
    names = shown_names(given, known, form)
    if played:
        counts = _counts(played, recommender)
        check_songs(counts, known, recommender.playable)
        top = recommender.recommend_for(counts, k=k, candidates=candidates)
        found = rows_of_top([{"user": "(new)"}], top, names)
        if why:
            found = _with_reasons(found, recommender, {"(new)": recommender.as_plays(counts)}, names)
        _print(found, names, form)
        return
    ids = list(wanted)
    rows: list[dict[str, Any]] = []
    nothing: list[str] = []
    printed = False
    with show_progress() as progress:
        for place in blocks(len(ids), BLOCK_USERS):
            block = ids[place]
            top = recommender.recommend(block, k=k, candidates=candidates)
            found = rows_of_top([{"user": user} for user in block], top, names)
            if why:
                plays_of = recommender.fold_in_plays(block)
                found = _with_reasons(
                    found, recommender, {user: plays_of[[row]] for row, user in enumerate(block)}, names
                )
            rows += found
            nothing += [user for user, found in zip(block, top, strict=True) if not found]
            if form == "tsv" and rows:
                # A line needs nothing of the others: a million users take the memory of a block.
                print_rows(rows, form=form, header=not printed)
                printed, rows = True, []
            if not sys.stdout.isatty():  # where the lists scroll by, a bar would be among them
                progress("recommend", place.stop, len(ids), {})
    if not printed:
        _print(rows, names, form)
    _tell_of(nothing)


def _print(rows: list[dict[str, Any]], names: SongTable, form: str | None) -> None:
    """Print what is recommended; for people, reasons stand below their song, as parts of its score."""
    if form is None and rows and "because" in rows[0]:
        shown: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in rows:
            song = {"user": row["user"], "rank": str(row["rank"]), **name_columns(row["song"], names)}
            lines = shown.setdefault(
                (row["user"], row["rank"]), [song | {"score": row["score"], "alike": None}]
            )
            reason = {"user": row["user"], "rank": "" if lines[1:] else "because"}
            reason |= name_columns(row["because"], names)
            lines.append(reason | {"score": row["part"], "alike": row["alike"]})
        rows = [line for lines in shown.values() for line in lines]
    print_songs(rows, form=form, title="songs for", asked="user")


def _with_reasons(
    rows: Sequence[dict[str, Any]], recommender: Recommender, plays: Mapping[str, Any], names: SongTable
) -> list[dict[str, Any]]:
    """Return each row once for each song played that speaks for it."""
    from dcbmr.recommendation.reasons import reasons

    found = []
    for user, of_user in plays.items():
        mine = [row for row in rows if row["user"] == user]
        speak = reasons(recommender, of_user, [row["song"] for row in mine])
        for row, because in zip(mine, speak, strict=True):
            for reason in because:
                told = {"because": reason.song, **called(reason.song, names)}
                found.append({**row, **told, "part": reason.contribution, "alike": reason.similarity})
    return found


def _filtered(recommender: Recommender, only_file: Path | None, without_file: Path | None) -> Recommender:
    """Return a recommender of the songs in one file, and not in the other."""
    from dcbmr.plays.songs import read_song_list

    only = None
    if only_file is not None:
        only = read_song_list(only_file)
        known = only.intersection(recommender.song_ids)
        if not known:
            raise InputError(
                f"none of the {len(only)} songs in {only_file}, as {some(sorted(only), 3)}, is among the "
                f"{len(recommender.song_ids)} candidates, as {some(recommender.song_ids, 3)}"
            )
        if len(known) < len(only):
            click.echo(
                f"{len(only) - len(known)} of {len(only)} songs in {only_file} are no candidates: "
                f"{some(sorted(only - known))}",
                err=True,
            )
    return recommender.limited_to(only, without=read_song_list(without_file) if without_file else ())


def _tell_of(nothing: Sequence[str]) -> None:
    if nothing:
        click.echo(
            f"no songs for {len(nothing)} users, who have no plays of songs that are known here, or no "
            f"candidate left: {some(nothing)}",
            err=True,
        )


def _counts(played: tuple[str, ...], recommender: Recommender) -> dict[str, float]:
    """Read SONG or SONG=COUNT; an id may hold an equals sign itself."""
    counts: dict[str, float] = {}
    for word in played:
        song, equals, count = word.rpartition("=")
        if not equals or word in recommender.playable:
            song, count = word, "1"
        try:
            counts[song] = counts.get(song, 0.0) + float(count)
        except ValueError:
            raise click.UsageError(f"--played {word}: {count!r} is no count") from None
    return counts
