"""``dcbmr similar``: songs like a song."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcbmr.cli._common import directory_argument, print_rows, table_options, threads_option
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
    from dcbmr.recommendation.recommender import Likeness


@click.command("similar", short_help="List the songs most like a song.")
@click.argument("source", metavar="MODEL|FACTORS", type=directory_argument)
@click.option("--song", "songs", multiple=True, metavar="ID", help="A song to compare with; repeatable.")
@click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Audio file, or folder of them, to compare with; repeatable.  (needs a model)",
)
@click.option(
    "--by",
    type=click.Choice(["usage", "factors"]),
    default="usage",
    show_default=True,
    help="Compare the usage patterns that the factors predict, or the bare factors.",
)
@features_option
@vectors_option
@from_audio_option
@k_option
@names_option
@threads_option
@table_options
def command(
    source: Path,
    songs: tuple[str, ...],
    audio: tuple[Path, ...],
    by: Likeness,
    features: Path | None,
    vectors: tuple[str, ...],
    from_audio: bool,
    k: int,
    names_file: Path | None,
    n_threads: int | None,
    form: str | None,
) -> None:
    """List the songs most like a song; the score is a cosine.

    By default two songs are alike when they would be played by the same users, as far as their factors
    tell. With --from-audio the factors are those predicted from the audio.

    \b
    Example:  dcbmr similar factors --song S12 --songs songs.tsv
              dcbmr similar cnn --audio new.mp3 --features features
    """
    if not songs and not audio:
        raise click.UsageError("say what to compare with: --song ID or --audio FILE")
    recommender, heard = make_recommender(
        source, features, vectors, audio, from_audio=from_audio, n_threads=n_threads
    )
    names = Names(names_file)
    names.check(songs, recommender.row_of_song)
    queries = [*songs, *heard]
    top = recommender.similar(queries, k=k, by=by)
    asked = [{"to": song, **names.called(song)} for song in queries]
    print_rows(rows_of_top(asked, top, names), form=form)
    if not any(top):
        click.echo("there is no other song to compare with", err=True)
