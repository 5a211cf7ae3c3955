"""What recommend, export, similar, explain and predict share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.base.text import harmless
from dcbmr.cli._common import (
    directory_argument,
    flags_of,
    gathered,
    plays_options,
    read_plays,
    show_progress,
    some,
)
from dcbmr.cli._tables import of_column, print_rows
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.factorization.factors import Factors
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack
    from dcbmr.plays.counts import PlayCounts
    from dcbmr.plays.songs import SongTable
    from dcbmr.ranking.topk import TopSongs
    from dcbmr.recommendation.heard import Heard
    from dcbmr.recommendation.recommender import Recommender

k_option = click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Songs to print for each."
)
names_option = click.option(
    "--songs",
    "names_file",
    type=click.Path(path_type=Path),
    metavar="SONGS.tsv",
    help="Artists and titles (columns song, artist, title) to show beside the ids, before those that are "
    "remembered from the training plays; --tsv shows those of this file alone.",
)
features_option = click.option(
    "--features",
    type=directory_argument,
    help="From `dcbmr featurize`: songs without plays enter by their audio.  (needs a model)",
)
vectors_option = click.option(
    "--vectors",
    multiple=True,
    metavar="[KIND=]FILE",
    help="Vectors of songs that no audio tells, such as tags, as for `dcbmr featurize --vectors`; KIND where "
    "the model has learned from several; repeatable.",
)
from_audio_option = click.option(
    "--from-audio",
    is_flag=True,
    help="Place the songs that have plays by their audio too, not by their listeners.  (needs a model)",
)
_audio_option = click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Audio file, or folder of them, to put among the songs; repeatable.  (needs a model)",
)
_newer_plays_option = click.option(
    "--plays",
    "plays_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Every play as of now, where the training plays are older or a split's: a user in it is known by "
    "these plays instead, and what anybody played in it is not new; repeatable, as for `dcbmr factorize`.",
)
_new_plays_option = click.option(
    "--new-plays",
    "new_plays_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="In place of --plays: the plays since training alone, which are added to those of each user.",
)
_predicted_option = click.option(
    "--predicted",
    type=directory_argument,
    help="From `dcbmr predict -o`, by this model: songs without plays enter, and are not predicted again.",
)


@dataclass(frozen=True)
class Serving:
    """What users and songs are taken from, beside the model or the factors; fields are named as options."""

    features: Path | None = None
    predicted: Path | None = None
    vectors: tuple[str, ...] = ()
    audio: tuple[Path, ...] = ()
    from_audio: bool = False
    plays_files: tuple[Path, ...] = ()
    new_plays_files: tuple[Path, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)

    def plays(self) -> PlayCounts | None:
        """Read ``--plays`` or ``--new-plays``; None without any: nothing may say how to read them then."""
        files, since = self.plays_files, self.new_plays_files
        if files and since:
            raise click.UsageError(
                "--plays are all plays, --new-plays those since training: give one of them"
            )
        if self.reading and not (files or since):
            raise click.UsageError(
                f"{flags_of(self.reading)} says how to read --plays FILE, which is missing"
            )
        return read_plays(files or since, self.reading) if files or since else None

    def recommender(
        self, source: Path, plays: PlayCounts | None = None, *, n_threads: int | None
    ) -> tuple[Recommender, list[str]]:
        """Return the recommender of a factors directory or of a model, and the songs of the audio given."""
        from dcbmr.factorization.factors import Factors
        from dcbmr.recommendation.listeners import plays_to_date
        from dcbmr.recommendation.newer import NewerPlays
        from dcbmr.recommendation.predicted import Predicted
        from dcbmr.recommendation.recommender import Recommender

        loaded = load_source(source, n_threads)
        if plays is not None:
            factors = loaded if isinstance(loaded, Factors) else loaded.factors
            if self.new_plays_files:
                plays = plays_to_date(factors, plays)
            if newer := NewerPlays.of(factors, plays):
                click.echo(newer.words(), err=True)
        if isinstance(loaded, Factors):
            if self.features or self.vectors or self.audio or self.from_audio or self.predicted:
                raise InputError(
                    f"{source} holds factors: songs cannot be placed by their audio without a model; "
                    "give the directory that `dcbmr train` wrote"
                )
            return Recommender.from_factors(loaded, plays=plays, n_threads=n_threads), []
        opened = open_features([loaded], self.features, self.vectors)
        with show_progress() as progress:
            recommender = Recommender.from_model(
                loaded,
                features=None if self.audio and not self.features else opened,
                predicted=None if self.predicted is None else Predicted.load(self.predicted, model=source),
                plays=plays,
                from_audio=self.from_audio,
                n_threads=n_threads,
                progress=progress,
            )
        if not self.audio:
            return recommender, []
        heard = hear_files(loaded, self.audio, opened)
        return recommender.with_songs(heard.song_ids, heard.song_factors), heard.song_ids


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of :class:`Serving`, which the command gets as one argument, ``serving``."""
    options = (
        _newer_plays_option,
        _new_plays_option,
        plays_options,
        features_option,
        _predicted_option,
        vectors_option,
        _audio_option,
        from_audio_option,
    )
    return gathered(command, options, "serving", [one.name for one in fields(Serving)], Serving)


def load_source(path: Path, n_threads: int | None) -> Factors | Model | Stack:
    """Read a factors directory, a model or a stack, whichever it is."""
    from dcbmr.models.stack import load_model_or_factors

    return load_model_or_factors(path, n_threads)


def open_features(
    models: Iterable[Model | Stack], features: Path | None, vectors: Sequence[str]
) -> FeatureStore | None:
    """Return the features of songs: of a store, of files of vectors, of both; None where none are given."""
    from dcbmr.features.in_hand import with_vectors
    from dcbmr.features.store import FeatureStore

    store = FeatureStore.open(features) if features else None
    known = list(dict.fromkeys(kind for model in models for kind in model.brought_kinds))
    for given in vectors:
        kind, equals, path = given.partition("=")
        if not equals or kind not in known:
            kind, path = known[0] if known else "", given
            if len(known) != 1:
                learned = f"learned from {', '.join(known)}: give KIND=FILE" if known else "no such kind"
                raise InputError(f"--vectors {given}: the models have {learned}")
        store = with_vectors(store, path, kind=kind)
    return store


def hear_files(model: Model | Stack, audio: Sequence[Path], vectors: FeatureStore | None = None) -> Heard:
    """Predict audio files, showing progress and naming those that cannot be used."""
    from dcbmr.recommendation.heard import hear

    with show_progress() as progress:
        heard = hear(model, audio, vectors=vectors, progress=progress)
    for file, reason in heard.failed.items():
        click.echo(harmless(f"skipped {file}: {reason}"), err=True)
    return heard


def read_names(file: Path | None) -> SongTable:
    """Return the table of songs of ``--songs``; an empty one without it."""
    from dcbmr.plays.songs import SongTable, read_songs

    return SongTable([], [], []) if file is None else read_songs(file)


def check_songs(songs: Iterable[str], names: SongTable, ids: Container[str]) -> None:
    """Raise InputError for a name that was given where an id is wanted, with the ids of that name.

    A name that is nobody's is left to who looks the id up.
    """
    for song in songs:
        if song not in ids and (found := names.songs_called(song, ids)):
            raise InputError(f"{song!r} is no song id; did you mean {some(names.with_names(found))}?")


def shown_names(given: SongTable, known: SongTable, form: str | None) -> SongTable:
    """Return the names to show: those given, and before people and in JSON those that are remembered.

    The columns of TSV, which are counted by who reads it, depend on nothing but what was asked for.
    """
    return given if form == "tsv" else given.over(known)


def name_columns(song: str, names: SongTable) -> dict[str, str]:
    """Return the columns that say which song it is: its id, and what it is called where names are known."""
    if not names.song_ids:
        return {"song": song}
    artist, title = names.artist_and_title(song)
    return {"song": song, "artist": artist} | ({"title": title} if names.has_titles else {})


def called(song: str, names: SongTable) -> dict[str, str]:
    """Return the column that names, in words, a song beside the one of the row."""
    return {"called": names.called(song)} if names.song_ids else {}


def rows_of_top(
    queries: Sequence[Mapping[str, str]], top: TopSongs, names: SongTable
) -> list[dict[str, Any]]:
    """Return one row for each song found: what was asked, rank, song, score."""
    return [
        {**query, "rank": rank, **name_columns(song, names), "score": score}
        for query, found in zip(queries, top, strict=True)
        for rank, (song, score) in enumerate(found, 1)
    ]


def print_songs(rows: Sequence[Mapping[str, Any]], *, form: str | None, title: str, asked: str) -> None:
    """Print songs with their scores; on a terminal as a list for each thing that was ``asked``."""
    lists = [list(rows) for _, rows in groupby(rows, lambda row: row[asked])]
    if form is not None or not sys.stdout.isatty() or len(lists) == len(rows):
        print_rows(rows, form=form, bars=of_column(rows, "score"))
        return
    for found in lists:
        called = f" ({found[0]['called']})" if found[0].get("called") else ""
        shown = [{name: row[name] for name in row if name not in (asked, "called")} for row in found]
        bars = of_column(shown, "score")
        print_rows(shown, form=form, title=f"{title} {found[0][asked]}{called}", bars=bars)
