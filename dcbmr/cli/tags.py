"""``dcbmr tags``: how well factors, words of the audio, or a model's predictions tell the tags of songs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import seed_option, show_progress, some
from dcbmr.cli._tables import print_rows, table_options
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dcbmr.evaluation.tags import TagReport


@click.command("tags", short_help="Measure how well vectors of songs tell their tags.")
@click.argument("tags", type=click.Path(path_type=Path))
@click.option(
    "--columns", metavar="SONG,TAG[,WEIGHT]",
    help="Columns of TAGS: names of its header, or numbers from 1.  [default: by their usual names]",
)  # fmt: skip
@click.option(
    "--factors", type=click.Path(path_type=Path), help="Tell tags from song factors: `dcbmr factorize`."
)
@click.option(
    "--words", type=click.Path(path_type=Path),
    help="Tell them from words of the audio, reduced by PCA: features of `dcbmr featurize --kind bow`.",
)  # fmt: skip
@click.option(
    "--model", "models", type=click.Path(path_type=Path), multiple=True,
    help="Tell them from the predictions of a model, with --features; may be repeated.",
)  # fmt: skip
@click.option("--features", type=click.Path(path_type=Path), help="Features of the songs for --model.")
@click.option(
    "--only", type=click.Path(path_type=Path),
    help="File of the songs to use, one a line, as heldout_songs.txt of a split.",
)  # fmt: skip
@click.option(
    "--top", "n_tags", type=click.IntRange(min=1), default=50, show_default=True,
    help="How many of the most popular tags (the paper: 50).",
)  # fmt: skip
@click.option(
    "--min-weight", type=float, default=0.0, show_default=True,
    help="A song has a tag from this weight on (and above 0).",
)  # fmt: skip
@click.option(
    "--folds", "n_folds", type=click.IntRange(min=2), default=10, show_default=True,
    help="Folds of the cross-validation, stratified by tag (the paper: 10).",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(["song", "artist"]), default="song", show_default=True,
    help="What folds are made of; artist needs --songs.",
)  # fmt: skip
@click.option(
    "--songs", type=click.Path(path_type=Path), help="Table of song, artist, title: for --by artist."
)
@click.option(
    "--penalty", "C", type=float, default=1.0, show_default=True,
    help="C of the logistic regression: the inverse of its L2 penalty.",
)  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the AUCs to this .png, .svg or .pdf.")
@table_options
@seed_option
def command(
    tags: Path,
    columns: str | None,
    factors: Path | None,
    words: Path | None,
    models: tuple[Path, ...],
    features: Path | None,
    only: Path | None,
    n_tags: int,
    min_weight: float,
    by: str,
    songs: Path | None,
    plot: Path | None,
    form: str | None,
    **settings: Any,
) -> None:
    """Tell the most popular TAGS of songs by logistic regression, cross-validated; print the AUC of each.

    TAGS is a file of song, tag and, optionally, weight (TSV, CSV or Parquet, plain or .gz). At least one of
    --factors, --words and --model says what the tags are told from; with several, all are measured on the
    songs that all of them have. Songs without any tag are left out. After each AUC stands its standard
    deviation over the folds; in the last row, that over the tags.

    \b
    Example:  dcbmr tags tags.tsv --factors factors --plot tags.svg
              dcbmr tags user_taggedartists.dat --columns artistID,tagID --factors factors
              dcbmr tags tags.tsv --model cnn --model mlp --features features --only split/heldout_songs.txt
    """
    from dcbmr.base.progress import under
    from dcbmr.evaluation.tags import check_plot, evaluate_tags, plot_tags
    from dcbmr.plays.songs import read_song_list, read_songs
    from dcbmr.plays.tags import SongTags

    if not (factors or words or models):
        raise InputError("nothing to tell tags from: give --factors, --words or --model")
    if bool(models) != (features is not None):
        raise InputError("--model and --features, the features to predict from, go together")
    if (by == "artist") != (songs is not None):
        raise InputError("--by artist and --songs SONGS.tsv, which names the artists, go together")
    if plot is not None:
        check_plot(plot)
    table = SongTags.read(tags, columns=columns)
    wanted = set(table.song_ids) if only is None else read_song_list(only)
    asked = [song for song in table.song_ids if song in wanted]
    sources = _sources(asked, factors, words, models, features)
    known = [song for song in asked if all(song in vectors for vectors in sources.values())]
    _report_missing(asked, known)
    song_ids, names, has_tag = table.most_popular(known, n_tags=n_tags, min_weight=min_weight)
    groups = None
    if songs is not None:
        artists = read_songs(songs).artist_of()
        # A song whose artist is unknown is a group of its own.
        groups = [artists.get(song, f"\0{song}") for song in song_ids]
    reports: dict[str, TagReport] = {}
    with show_progress() as progress:
        for name, vectors in sources.items():
            reports[name] = evaluate_tags(
                [vectors[song] for song in song_ids],
                has_tag,
                tags=names,
                groups=groups,
                progress=under(progress, f"tags from {name}"),
                **settings,
            )
    print_rows(_rows(reports), form=form, title=f"{len(song_ids):,} songs with tags, folds by {by}")
    for score in next(iter(reports.values())).scores:
        if score.skipped:
            click.echo(f"skipped {score.tag!r}: {score.skipped}", err=True)
    if plot is not None:
        plot_tags(reports, plot)
        click.echo(f"wrote {plot}", err=True)


def _sources(
    song_ids: Sequence[str],
    factors: Path | None,
    words: Path | None,
    models: tuple[Path, ...],
    features: Path | None,
) -> dict[str, dict[str, Any]]:
    """Return what each source says of the songs: by its name, the vector of every song that it knows."""
    from dcbmr.factorization.factors import Factors
    from dcbmr.features.pca import PCA
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model

    sources: dict[str, dict[str, Any]] = {}

    def add(name: str, songs: Sequence[str], vectors: Any) -> None:
        if name in sources:
            raise InputError(f"two sources are called {name!r}: rename a directory")
        sources[name] = dict(zip(songs, vectors, strict=True))

    if factors is not None:
        learned = Factors.load(factors)
        add("factors", list(learned.song_ids), learned.song_factors)
    if words is not None:
        stored = FeatureStore.open(words)["bow"]
        songs = [song for song in song_ids if song in stored]
        counts = stored.features(songs).vectors()
        add("words", songs, PCA().fit(counts).transform(counts))
    store = FeatureStore.open(features) if features is not None else None
    for path in models:
        model = Model.load(path)
        assert store is not None
        there = set(model.songs_in(store))
        songs = [song for song in song_ids if song in there]
        n_seen = len(set(songs).intersection(model.song_ids))
        if n_seen:
            click.echo(
                f"{path} was trained on {n_seen:,} of these {len(songs):,} songs; --only names others",
                err=True,
            )
        add(path.name, songs, model.predict_store(store, songs))
    return sources


def _report_missing(song_ids: Sequence[str], known: Sequence[str]) -> None:
    if song_ids and not known:
        named = some(list(map(repr, song_ids)), 3)
        raise InputError(f"none of the {len(song_ids):,} songs with tags has a vector: {named}")
    missing = sorted(set(song_ids).difference(known))
    if missing:
        click.echo(
            f"{len(missing):,} of {len(song_ids):,} songs with tags have no vector and are left out: "
            f"{some(list(map(repr, missing)), 3)}",
            err=True,
        )


def _rows(reports: Mapping[str, TagReport]) -> list[dict[str, Any]]:
    """Return a row a tag and one of the means; AUC and its deviation for every report."""
    lists = [report.scores for report in reports.values()]
    rows: list[dict[str, Any]] = []
    for scores in zip(*lists, strict=True):
        row: dict[str, Any] = {"tag": scores[0].tag, "songs": scores[0].n_songs}
        for name, score in zip(reports, scores, strict=True):
            row[f"{name} auc"] = None if score.skipped else score.auc
            row[f"{name} std"] = None if score.skipped else score.auc_std
        rows.append(row)
    n_told = len(next(iter(reports.values())).aucs)
    mean: dict[str, Any] = {"tag": f"mean of {n_told} tags", "songs": None}
    for name, report in reports.items():
        mean[f"{name} auc"] = report.mean if n_told else None
        mean[f"{name} std"] = report.std if n_told else None
    return [*rows, mean]
