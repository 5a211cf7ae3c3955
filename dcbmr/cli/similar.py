"""``dcbmr similar``: songs like a song."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import directory_argument, show_progress, threads_option
from dcbmr.cli._serving import (
    Serving,
    called,
    check_songs,
    features_option,
    from_audio_option,
    k_option,
    names_option,
    print_songs,
    read_names,
    rows_of_top,
    shown_names,
    vectors_option,
)
from dcbmr.cli._tables import table_options

if TYPE_CHECKING:
    from dcbmr.plays.songs import SongTable
    from dcbmr.ranking.topk import TopSongs
    from dcbmr.recommendation.recommender import Likeness


@click.command("similar", short_help="List the songs most like a song.")
@click.argument("source", metavar="MODEL|FACTORS|FEATURES", type=directory_argument)
@click.option("--song", "songs", multiple=True, metavar="ID", help="A song to compare with; repeatable.")
@click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Audio file, or folder of them, to compare with; repeatable.  (needs a model)",
)
@click.option("--kind", help="Of FEATURES: a kind with one vector a song, or made of what is there.")
@click.option(
    "--by",
    type=click.Choice(["usage", "factors"]),
    default=None,
    help="Compare the usage patterns that the factors predict, or the bare factors.  [default: usage]",
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
    kind: str | None,
    by: Likeness | None,
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
    tell. With --from-audio the factors are those predicted from the audio. Of FEATURES, without any plays,
    two songs are alike when their vectors of a kind are.

    \b
    Example:  dcbmr similar factors --song S12 --songs songs.tsv
              dcbmr similar cnn --audio new.mp3 --features features
              dcbmr similar features --kind bow_pca --song S12
    """
    from dcbmr.base.directory import kind_of
    from dcbmr.features.store import FEATURES

    if not songs and not audio:
        raise click.UsageError("say what to compare with: --song ID or --audio FILE")
    names = read_names(names_file)
    queries = [*songs]
    if kind_of(source) == FEATURES:
        given = {
            "--audio": audio,
            "--by": by,
            "--features": features,
            "--vectors": vectors,
            "--from-audio": from_audio,
        }
        top = _by_features(source, kind, songs, names, given, k=k, n_threads=n_threads)
    else:
        if kind:
            raise click.UsageError(f"--kind is for features, which {source} does not hold")
        serving = Serving(features=features, vectors=vectors, audio=audio, from_audio=from_audio)
        recommender, heard = serving.recommender(source, n_threads=n_threads)
        known = recommender.factors.songs
        check_songs(songs, names.over(known), recommender.row_of_song)
        names = shown_names(names, known, form)
        queries += heard
        with show_progress() as progress:
            top = recommender.similar(queries, k=k, by=by or "usage", progress=progress)
    asked = [{"to": song, **called(song, names)} for song in queries]
    print_songs(rows_of_top(asked, top, names), form=form, title="songs like", asked="to")
    if not any(top):
        click.echo("there is no other song to compare with", err=True)


def _by_features(
    source: Path,
    kind: str | None,
    songs: tuple[str, ...],
    names: SongTable,
    given: dict[str, Any],
    *,
    k: int,
    n_threads: int | None,
) -> TopSongs:
    """Return the songs whose vectors are nearest; refuse what was given for models and factors."""
    from dcbmr.features.neighbours import similar_features
    from dcbmr.features.pipeline import kinds_of_shape
    from dcbmr.features.store import FeatureStore

    for option, value in given.items():
        if value:
            raise click.UsageError(f"{option} is for models and factors, and {source} holds features")
    store = FeatureStore.open(source)
    if kind is None:
        fitting = " and ".join(kinds_of_shape(store, "vectors")) or "none with one vector a song"
        raise click.UsageError(f"say which --kind to compare; {source} has {fitting}")
    check_songs(songs, names, set(store.song_ids))
    with show_progress() as progress:
        return similar_features(store, kind, songs, k=k, n_threads=n_threads, progress=progress)
