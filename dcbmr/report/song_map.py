"""What the page tells of songs: a plain record of arrays, made of recommenders, whatever the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.arrays import places
from dcbmr.base.progress import Progress, silent, under
from dcbmr.errors import InputError
from dcbmr.report.layout import lay_out
from dcbmr.report.listeners import artists_played, best_listeners, some_users

if TYPE_CHECKING:
    from dcbmr.plays.songs import SongTable
    from dcbmr.plays.tags import SongTags
    from dcbmr.recommendation.recommender import Recommender

_N_TAGS = 3  # shown of each song
_N_ARTISTS = 5  # that the listeners of a song play


@dataclass(frozen=True, eq=False)
class Label:
    """What songs are called by: artist, tags, style; a song has up to ``codes.shape[1]`` of them.

    Attributes
    ----------
    name : str
    values : list of str
    codes : ndarray of shape (n_songs, n), int32
        Places in ``values``, -1 where there is no more.
    """

    name: str
    values: list[str]
    codes: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Measure:
    """A number of each song, NaN where it has none, and what it means."""

    name: str
    meaning: str
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SongMap:
    """Songs, where they lie, and what is near them.

    Attributes
    ----------
    song_ids, titles : list of str
        A title is "" where none is known.
    positions : ndarray of shape (n_songs, 2), float32
    is_cold : ndarray of shape (n_songs,), bool
        Songs without plays in training, whose place is predicted.
    labels : list of Label
        "artist" comes first where artists are known.
    measures : list of Measure
    neighbours : dict of str to ndarray of shape (n_songs, k), int32
        By the model's name, rows of the most similar songs; -1 where there is no more.
    listeners_play : Label, optional
        The artists that a song's predicted listeners play more than others do.
    audio : mapping of str to str
        Where the audio of a song is: a path relative to the page, or a ``data:`` URL.
    """

    song_ids: list[str]
    titles: list[str]
    positions: NDArray[np.float32]
    is_cold: NDArray[np.bool_]
    labels: list[Label]
    measures: list[Measure]
    neighbours: dict[str, NDArray[np.int32]]
    listeners_play: Label | None = None
    audio: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What the songs are called: their titles, or else their ids."""
        return [title or song for title, song in zip(self.titles, self.song_ids, strict=True)]


def map_songs(
    recommenders: Mapping[str, Recommender],
    *,
    songs: SongTable | None = None,
    artists: Mapping[str, str] | None = None,
    tags: SongTags | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    measures: Sequence[Measure] = (),
    audio: Mapping[str, str] | None = None,
    k: int = 10,
    random_state: int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> SongMap:
    """Lay out the songs of the first recommender, and find the neighbours of each in all of them.

    Parameters
    ----------
    recommenders : mapping of str to Recommender
        By name; the first one's songs are shown.
    songs : SongTable, optional
        Titles and artists.
    artists : mapping of str to str, optional
        Artists where there is no table.
    tags : SongTags, optional
    labels : mapping of str to mapping of str to str, optional
        What else is known of songs: "style" -> song -> style.
    measures : sequence of Measure
        Numbers of the songs, in the order of the first recommender's ``song_ids``.
    audio : mapping of str to str, optional
        See :class:`SongMap`.
    k : int
        Neighbours of each song.
    random_state : int
        Seed of the layout, and of the choice of users where there are many.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of each step; it may raise to stop.

    Raises
    ------
    InputError
        There is no song, or factors are not finite.
    """
    report = progress or silent
    first = next(iter(recommenders.values()))
    ids = first.song_ids
    if not ids:
        raise InputError("there is no song to show: none has plays, and no features were given")
    titles = dict(zip(songs.song_ids, songs.titles, strict=True)) if songs is not None else {}
    known = {**(artists or {}), **(songs.artist_of() if songs is not None else {})}
    positions = lay_out(first.usage_vectors, random_state=random_state, n_threads=n_threads, progress=report)
    found = {}
    for name, recommender in recommenders.items():
        found[name] = _neighbours(recommender, ids, k, under(report, f"neighbours, {name}"))
    every = [*({"artist": known} if known else {}).items(), *(labels or {}).items()]
    of_artists = _label("artist", ids, known) if known else None
    return SongMap(
        song_ids=list(ids),
        titles=[titles.get(song, "") for song in ids],
        positions=positions,
        is_cold=first.is_predicted,
        labels=[
            *(_label(name, ids, of) for name, of in every),
            *([] if tags is None else [_tags(ids, tags)]),
        ],
        measures=[measure for measure in measures if np.isfinite(measure.values).any()],
        neighbours=found,
        listeners_play=of_artists and _listeners_play(first, of_artists, random_state, n_threads, report),
        audio={song: audio[song] for song in ids if song in audio} if audio else {},
    )


def _label(name: str, ids: Sequence[str], of: Mapping[str, str]) -> Label:
    place: dict[str, int] = {}
    codes = [place.setdefault(of[song], len(place)) if of.get(song) else -1 for song in ids]
    return Label(name, list(place), np.array(codes, np.int32)[:, None])


def _tags(ids: Sequence[str], tags: SongTags) -> Label:
    """Return the heaviest tags of each song."""
    row_of = {song: row for row, song in enumerate(tags.song_ids)}
    codes = np.full((len(ids), _N_TAGS), -1, np.int32)
    weights = tags.weights
    for song, row in enumerate(places(ids, row_of).tolist()):
        if row >= 0:
            mine = slice(weights.indptr[row], weights.indptr[row + 1])
            heaviest = np.argsort(-weights.data[mine], kind="stable")[:_N_TAGS]
            codes[song, : len(heaviest)] = weights.indices[mine][heaviest]
    used, inverse = np.unique(codes[codes >= 0], return_inverse=True)
    codes[codes >= 0] = inverse
    return Label("tag", [tags.tags[tag] for tag in used.tolist()], codes)


def _neighbours(recommender: Recommender, ids: Sequence[str], k: int, report: Progress) -> NDArray[np.int32]:
    """Return the rows in ``ids`` of the songs nearest to each, as far as the recommender knows them."""
    recommender = recommender.limited_to(ids)
    row_of = {song: row for row, song in enumerate(ids)}
    rows = places(recommender.song_ids, row_of)
    has: NDArray[np.bool_] = np.asarray(recommender.usage_vectors.any(axis=1))
    near = np.full((len(ids), k), -1, np.int32)
    if has.sum() < 2:
        return near
    asked = [song for song, it_has in zip(recommender.song_ids, has.tolist(), strict=True) if it_has]
    top = recommender.similar(asked, k=k, progress=report).songs
    near[rows[has], : top.shape[1]] = np.where(top >= 0, rows[top], -1)
    return near


def _listeners_play(
    recommender: Recommender, of_artists: Label, random_state: int, n_threads: int | None, report: Progress
) -> Label | None:
    """Return the artists that stand out in the plays of the users with the highest scores for each song."""
    users = some_users(recommender, random_state)
    if not len(users.vectors):
        return None
    listeners = best_listeners(
        users.vectors,
        recommender.song_factors,
        n_threads=n_threads,
        progress=under(report, "listeners"),
    )
    artist_of, values = of_artists.codes[:, 0], of_artists.values
    codes = artists_played(users, listeners, artist_of, len(values), k=_N_ARTISTS, progress=report)
    return Label("artist", values, codes)
