"""``dcbmr recommend``: songs for users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    directory_argument,
    flags_of,
    plays_options,
    print_rows,
    read_plays,
    some,
    table_options,
    threads_option,
)
from dcbmr.cli._serving import (
    Names,
    features_option,
    from_audio_option,
    k_option,
    make_recommender,
    names_option,
    rows_of_top,
    vectors_option,
)

if TYPE_CHECKING:
    from dcbmr.recommendation.recommender import Candidates, Recommender

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
    "--played",
    multiple=True,
    metavar="SONG[=COUNT]",
    help="Instead of a user: a song that somebody new has played; repeatable.",
)
@click.option(
    "--plays",
    "plays_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Every play as of now, where the training plays are older or a split's: a user in it is known by "
    "these plays instead, and what anybody played in it is not new; repeatable, as for `dcbmr factorize`.",
)
@plays_options
@features_option
@vectors_option
@click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Audio file, or folder of them, to put among the candidates; repeatable.  (needs a model)",
)
@from_audio_option
@click.option(
    "--candidates",
    type=click.Choice(["unplayed", "all", "new"]),
    default="unplayed",
    show_default=True,
    help="Songs that the user has not played, every song, or songs that nobody has played.",
)
@k_option
@names_option
@threads_option
@table_options
def command(
    source: Path,
    users: tuple[str, ...],
    all_users: bool,
    played: tuple[str, ...],
    plays_files: tuple[Path, ...],
    reading: Mapping[str, Any],
    features: Path | None,
    vectors: tuple[str, ...],
    audio: tuple[Path, ...],
    from_audio: bool,
    candidates: Candidates,
    k: int,
    names_file: Path | None,
    n_threads: int | None,
    form: str | None,
) -> None:
    """Recommend songs to users of the training plays, or to somebody new.

    With factors alone the candidates are the songs that have plays. With a model, songs without plays come
    in from a feature store or from audio files. Where factors were fitted on a split, its held-out songs
    only seem new: train on factors of all plays, or give the plays with --plays.

    \b
    Example:  dcbmr recommend cnn --user alice --features features --candidates new
              dcbmr recommend cnn --user alice --features features --plays plays-of-today.tsv
              dcbmr recommend cnn --played S12 --played S7=3 --audio new-releases/
              dcbmr recommend factors --all-users -k 20 --tsv
    """
    if bool(users) + all_users + bool(played) != 1:
        raise click.UsageError("say for whom: --user ID, --all-users, or --played SONG for somebody new")
    if reading and not plays_files:
        raise click.UsageError(f"{flags_of(reading)} says how to read --plays FILE, which is missing")
    plays = read_plays(plays_files, reading) if plays_files else None
    recommender, _ = make_recommender(
        source, features, vectors, audio, from_audio=from_audio, n_threads=n_threads, plays=plays
    )
    names = Names(names_file)
    if played:
        counts = _counts(played, recommender)
        names.check(counts, recommender.playable)
        top = recommender.recommend_for(counts, k=k, candidates=candidates)
        print_rows(rows_of_top([{"user": "(new)"}], top, names), form=form)
        return
    ids = list(recommender.user_ids) if all_users else list(users)
    rows: list[dict[str, Any]] = []
    nothing: list[str] = []
    printed = False
    for start in range(0, len(ids), BLOCK_USERS):
        block = ids[start : start + BLOCK_USERS]
        top = recommender.recommend(block, k=k, candidates=candidates)
        rows += rows_of_top([{"user": user} for user in block], top, names)
        nothing += [user for user, found in zip(block, top, strict=True) if not found]
        if form == "tsv" and rows:
            # A line needs nothing of the others: a million users take the memory of a block.
            print_rows(rows, form=form, header=not printed)
            printed, rows = True, []
    if not printed:
        print_rows(rows, form=form)
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
