"""What a network hears: windows to which it responds, seen and heard, and which seconds speak for songs."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.progress import Progress, silent, under
from dcbmr.errors import InputError
from dcbmr.features.store import FeatureStore
from dcbmr.models.explain import (
    Excerpt,
    WindowScores,
    check_explainable,
    explain,
    seconds_of,
    window_scores,
)
from dcbmr.models.model import Model
from dcbmr.models.stack import Stack
from dcbmr.recommendation.recommender import Recommender
from dcbmr.report.listeners import best_listeners, some_users
from dcbmr.report.song_map import SongMap
from dcbmr.report.sources import Sources

# A page stays small, and a network's work short: a day of music is heard thrice.
_MOST_SONGS, _MOST_HOURS = 1000, 30.0
_MOST_FACTORS, _MOST_UNITS = 50, 16  # whose windows are shown
_OF_FACTORS, _OF_UNITS = 2, 3  # windows of each end of a factor, and of a unit
_WIDTH, _HEIGHT, _LEVELS = 96, 64, 64  # of a picture


@dataclass(frozen=True)
class Sound:
    """A window of a song.

    Attributes
    ----------
    song : int
        Its row on the map.
    name : str
        What the song is called.
    start_s, end_s : float
    picture : str
        Its log-mel spectrogram, as a ``data:`` URL; "" where the frames are none.
    clip : str
        Its sound, as a ``data:`` URL; "" where it is played from the song's file.
    """

    song: int
    name: str
    start_s: float
    end_s: float
    picture: str = ""
    clip: str = ""


@dataclass(frozen=True, eq=False)
class Hearing:
    """What a network hears.

    Attributes
    ----------
    model : str
        Its name.
    n_songs : int
        Songs that were listened to.
    factors : dict of int to (list of Sound, list of Sound)
        By factor, from 0: the windows that say the most for its positive end, and for its negative.
    units : dict of int to list of Sound
        By unit of the first layer, from 0: the windows to which it responds the most, those of the strongest
        units.
    n_units : int
        How many units the layer has.
    seconds : dict of int to WindowScores
        By row on the map: what each window of a song says for it to those who should like the song the most,
        above what these give to the average song of the map.
    """

    model: str
    n_songs: int
    factors: Mapping[int, tuple[list[Sound], list[Sound]]]
    units: Mapping[int, list[Sound]]
    n_units: int
    seconds: Mapping[int, WindowScores]


def why_not(model: Model | Stack) -> str:
    """Say why a model cannot tell what it hears, "" where it can."""
    if isinstance(model, Stack):
        why = "a stack is several models"
    else:
        try:
            check_explainable(model)
        except InputError as error:
            why = str(error)
        else:
            return ""
    return f"Which sounds lie at the two ends, and which seconds speak for a song, is not shown: {why}."


def store_with(model: Model, stores: Iterable[FeatureStore]) -> FeatureStore | None:
    """Return the first store that has what a model hears, and warn where there is none."""
    for store in stores:
        try:
            model.check_store(store)
        except InputError:
            continue
        return store
    warnings.warn(f"no features of kind {model.kind!r} are there: what units hear is not shown", stacklevel=2)
    return None


def listen(
    name: str,
    model: Model,
    store: FeatureStore,
    recommender: Recommender,
    song_map: SongMap,
    sources: Sources,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Hearing:
    """Listen with a network to songs of the map: to 1,000, or 30 hours, those without plays first, by chance.

    Parameters
    ----------
    name : str
        What the model is called.
    model : Model
        One with activations.
    store : FeatureStore
        Frames of songs.
    recommender : Recommender
        The users of the model, and where the map's songs lie among them.
    song_map : SongMap
    sources : Sources
        The audio, and the seed.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of each step; it may raise to stop.
    """
    report = progress or silent
    row_of = {song: row for row, song in enumerate(song_map.song_ids)}
    there = [row_of[s] for s in model.songs_in(store) if s in row_of and s in recommender.row_of_song]
    songs = _chosen(model, store, song_map, there, sources.random_state)
    if not songs:
        return Hearing(name, 0, {}, {}, 0, {})

    def excerpts(layer: int | None, k: int, what: str) -> list[Excerpt]:
        return explain(
            model, store, song_ids=songs, layer=layer, k=k, progress=under(report, f"hear, {what}")
        )

    of_factors = excerpts(None, _OF_FACTORS, "factors")
    try:
        of_layer = excerpts(1, _OF_UNITS, "units")
    except InputError:  # a network without layers to be asked for
        of_layer = []
    strongest = sorted((e for e in of_layer if e.rank == 1 and e.value > 0), key=lambda e: -e.value)
    kept = {excerpt.unit for excerpt in strongest[:_MOST_UNITS]}
    of_factors = [excerpt for excerpt in of_factors if excerpt.unit < _MOST_FACTORS]
    windows = [*of_factors, *(excerpt for excerpt in of_layer if excerpt.unit in kept)]
    pictures = _pictures(_frames(model, store, windows)) if model.kind == "mel" else [""] * len(windows)
    clips = sources.clips([(e.song, e.start_s, e.end_s) for e in windows], report)
    names = song_map.names
    sounds = [
        Sound(row_of[e.song], names[row_of[e.song]], e.start_s, e.end_s, picture, clip)
        for e, picture, clip in zip(windows, pictures, clips, strict=True)
    ]
    factors: dict[int, tuple[list[Sound], list[Sound]]] = {e.unit: ([], []) for e in of_factors}
    units: dict[int, list[Sound]] = {unit: [] for unit in sorted(kept)}
    for place, (excerpt, sound) in enumerate(zip(windows, sounds, strict=True)):
        if place < len(of_factors):
            factors[excerpt.unit][excerpt.rank < 0].append(sound)
        else:
            units[excerpt.unit].append(sound)
    return Hearing(
        model=name,
        n_songs=len(songs),
        factors=factors,
        units=units,
        n_units=len({e.unit for e in of_layer}),
        seconds={
            row_of[of.song]: of
            for of in _seconds(model, store, recommender, songs, sources.random_state, n_threads, report)
        },
    )


def _chosen(
    model: Model, store: FeatureStore, song_map: SongMap, there: Sequence[int], random_state: int
) -> list[str]:
    """Return which songs of the map to listen to, those without plays first, by chance."""
    shuffled = np.random.default_rng(random_state).permutation(np.array(there, np.int64))
    rows = shuffled[np.argsort(~song_map.is_cold[shuffled], kind="stable")][:_MOST_SONGS]
    songs = [song_map.song_ids[row] for row in rows]
    if not songs:
        return []
    hours = np.cumsum(seconds_of(model, store, songs)) / 3600
    return songs[: max(1, int(np.searchsorted(hours, _MOST_HOURS, side="right")))]


def _seconds(
    model: Model,
    store: FeatureStore,
    recommender: Recommender,
    songs: Sequence[str],
    random_state: int,
    n_threads: int | None,
    report: Progress,
) -> list[WindowScores]:
    """Return what windows say for songs to those who should like them, above what these give any song."""
    users = some_users(recommender, random_state).vectors
    if not len(users):
        return []
    placed = recommender.song_factors[[recommender.row_of_song[song] for song in songs]]
    best = best_listeners(users, placed, n_threads=n_threads)
    directions = np.stack([users[listeners].mean(axis=0, dtype=np.float64) for listeners in best])
    found = window_scores(model, store, directions, song_ids=songs, progress=under(report, "hear, seconds"))
    average = directions @ recommender.song_factors.mean(axis=0, dtype=np.float64)
    return [replace(of, scores=of.scores - usual) for of, usual in zip(found, average, strict=True)]


def _frames(model: Model, store: FeatureStore, windows: Sequence[Excerpt]) -> list[NDArray[np.float32]]:
    """Return the frames of windows, each (n_frames, n_mels)."""
    songs = list(dict.fromkeys(window.song for window in windows))
    heard, place = model.features_of(store, songs), {song: row for row, song in enumerate(songs)}
    return [
        np.asarray(heard.windows(np.array([place[w.song]]), np.array([w.start]), w.n_frames)[0], np.float32)
        for w in windows
    ]


def _pictures(windows: Sequence[NDArray[np.float32]]) -> list[str]:
    """Draw spectrograms as PNG, all on one scale: time to the right, low frequencies below, dark is quiet.

    The colours are those of cividis, which gets brighter evenly and is read without colour vision.
    """
    from bokeh.palettes import Cividis256
    from PIL import Image

    if not windows:
        return []
    low, high = np.percentile(np.stack(windows), (0.5, 99.5))
    colours = [Cividis256[255 * level // (_LEVELS - 1)] for level in range(_LEVELS)]
    palette = bytes.fromhex("".join(colour.removeprefix("#") for colour in colours))
    urls = []
    for window in windows:
        levels = np.clip((window.T[::-1] - low) / ((high - low) or 1), 0, 1)
        small = np.asarray(Image.fromarray(levels).resize((_WIDTH, _HEIGHT), Image.Resampling.BOX))
        picture = Image.fromarray((small * (_LEVELS - 1)).round().astype(np.uint8))
        picture.putpalette(palette)
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        urls.append(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
    return urls
