"""What a network hears: what its outputs, or its units, respond to, and which seconds speak for a song."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr.base.arrays import blocks
from dcbmr.base.progress import Progress, silent
from dcbmr.contract.contract import HasActivations
from dcbmr.contract.faults import calling, fault_of, named
from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from dcbmr.contract.contract import SongFeatures
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model

_BLOCK = 128  # songs whose activations are in memory at a time


@dataclass(frozen=True)
class Excerpt:
    """A window of a song, and how much a unit responds to it.

    Attributes
    ----------
    unit : int
    rank : int
        1 for the strongest; of a factor also -1 for the most negative, -2 for the next, ...
    song : str
    start_s, end_s : float
        Where it lies in the song's file, in seconds.
    value : float
        The unit's output: of a factor in the units of ``song_factors``.
    start, n_frames : int
        The same place in frames.
    """

    unit: int
    rank: int
    song: str
    start_s: float
    end_s: float
    value: float
    start: int
    n_frames: int


@dataclass(frozen=True, eq=False, repr=False)
class WindowScores:
    """What each window of a song says for it: its score is their mean.

    Attributes
    ----------
    song : str
    start_s, end_s : ndarray of shape (n_windows,), float64
        Where they lie in the song's file, in seconds; they may overlap.
    scores : ndarray of shape (n_windows,), float64
    """

    song: str
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"WindowScores({self.song!r}, n_windows={len(self.scores)}, score={self.scores.mean():.3g})"


def explain(
    model: Model,
    features: FeatureStore,
    *,
    song_ids: Sequence[str] | None = None,
    layer: int | None = None,
    units: Sequence[int] | None = None,
    k: int = 5,
    progress: Progress | None = None,
) -> list[Excerpt]:
    """Find the windows to which a model's factors, or the units of a layer, respond the most.

    Parameters
    ----------
    model : Model
        Its regressor declares ``has_activations``, as ``cnn`` does.
    features : FeatureStore
        Frames of the songs to look through.
    song_ids : sequence of str, optional
        Which of its songs; all if None.
    layer : int, optional
        Number of a layer, from 1; None for the factors.
    units : sequence of int, optional
        Which of its units; all if None.
    k : int
        Windows for each unit, no two of one song; for factors as many of the most negative, too.
    progress : Progress, optional
        Told of each block of songs; it may raise to stop.

    Raises
    ------
    InputError
        The regressor cannot say, or has no such layer or unit; or the frames do not say when they are.

    Returns
    -------
    list of Excerpt
        Unit after unit, by rank.
    """
    heard = _Heard(model, features, song_ids)
    # By unit and sign: value, song, start, length.
    best: dict[tuple[int, int], list[tuple[float, int, int, int]]] = {}
    for songs, starts, n_frames, values in heard.activations(layer, progress or silent):
        n_units = values.shape[1]
        wrong = [unit for unit in units or () if not 0 <= unit < n_units]
        if wrong:
            raise InputError(f"unit {wrong[0]}: there are units 0 to {n_units - 1}")
        for unit, sign in product(units or range(n_units), (1, -1) if layer is None else (1,)):
            new = _best_of_songs(sign * values[:, unit], songs, k)
            found = zip(
                values[new, unit].tolist(),
                songs[new].tolist(),
                starts[new].tolist(),
                [n_frames] * len(new),
                strict=True,
            )
            both = [*best.get((unit, sign), ()), *found]
            best[unit, sign] = sorted(both, key=lambda window: -sign * window[0])[:k]
    excerpts = []
    for (unit, sign), windows in best.items():
        for rank, (value, song, start, n_frames) in enumerate(windows, 1):
            start_s, end_s = heard.times(np.array([song]), np.array([start]), n_frames)
            excerpts.append(
                Excerpt(
                    unit=unit,
                    rank=sign * rank,
                    song=heard.features.song_ids[song],
                    start_s=float(start_s[0]),
                    end_s=float(end_s[0]),
                    value=value,
                    start=start,
                    n_frames=n_frames,
                )
            )
    return excerpts


def window_scores(
    model: Model,
    features: FeatureStore,
    users: ArrayLike,
    *,
    song_ids: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[WindowScores]:
    """Say which seconds speak for songs: the score of each window.

    A model on windows predicts the mean over the windows of a song. A score is the inner product of a user
    and the prediction, which is linear, so that it is, exactly, the mean of the windows' own scores: a
    window above the song's score speaks for the song, one below it against. A user who likes no song more
    than another has a score, too: take the score of the mean song off where that is not meant. Of a model
    with an ``artist_weight`` it is the score of the song's own prediction, without its artist's.

    Parameters
    ----------
    model : Model
        Its regressor declares ``has_activations``, as ``cnn`` does.
    features : FeatureStore
        Frames of the songs.
    users : array_like of shape (width,) or (n_songs, width)
        The user whose scores are meant, as a row of ``model.user_factors`` or a mean of several; one for all
        songs, or one for each.
    song_ids : sequence of str, optional
        Which of its songs; all if None.
    progress : Progress, optional
        Told of each block of songs; it may raise to stop.

    Raises
    ------
    InputError
        The regressor cannot say; the users have another width or number; or the frames do not say when they
        are.

    Returns
    -------
    list of WindowScores
        One a song, in order.
    """
    heard = _Heard(model, features, song_ids)
    n_songs, width = len(heard.features.song_ids), model.config["width"]
    of_songs = np.asarray(users, np.float64)
    if of_songs.shape not in ((width,), (n_songs, width)):
        raise InputError(
            f"users has shape {of_songs.shape}; the model's width is {width}: wanted {(width,)}, or a row "
            f"for each of the songs, {(n_songs, width)}"
        )
    of_songs = np.broadcast_to(of_songs, (n_songs, width))
    found = []
    for songs, starts, n_frames, values in heard.activations(None, progress or silent):
        scores = np.einsum("wf,wf->w", values, of_songs[songs])
        start_s, end_s = heard.times(songs, starts, n_frames)
        first = np.flatnonzero(np.diff(songs, prepend=-1))  # the windows of a song follow each other
        for mine in map(slice, first, [*first[1:], len(songs)]):
            song = heard.features.song_ids[songs[mine.start]]
            found.append(WindowScores(song, start_s[mine], end_s[mine], scores[mine]))
    return found


def check_explainable(model: Model) -> tuple[float, float, float]:
    """Return sr, hop_length and n_fft of what a model hears; InputError where it cannot say what that is."""
    if not model.spec.has_activations:
        raise InputError(f"regressor {model.spec.name!r} has no activations; models of 'cnn' can")
    settings = next(iter(model.sources.values())).settings
    try:
        return float(settings["sr"]), float(settings["hop_length"]), float(settings["n_fft"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"frames of kind {model.kind!r} do not say when they are: their settings have no sr, "
            "hop_length and n_fft"
        ) from None


def seconds_of(model: Model, features: FeatureStore, song_ids: Sequence[str]) -> NDArray[np.float64]:
    """Return how long songs are as a model with activations hears them, (n_songs,) seconds."""
    heard = _Heard(model, features, song_ids)
    return (heard.features.n_frames * heard.hop_s).astype(np.float64)


class _Heard:
    """Songs as a model hears them, window by window."""

    def __init__(self, model: Model, store: FeatureStore, song_ids: Sequence[str] | None) -> None:
        sr, hop, n_fft = check_explainable(model)
        self._model, self._offset_s, self.hop_s, self._frame_s = model, store.offset_s, hop / sr, n_fft / sr
        self.features = model.features_of(store, song_ids)

    def activations(
        self, layer: int | None, report: Progress
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int, NDArray[np.float32]]]:
        """Yield the windows of a block of songs, and what they do; see ``HasActivations``."""
        spec, regressor = self._model.spec, cast(HasActivations, self._model.regressor)
        n_songs = len(self.features.song_ids)
        width = "n_units" if layer else self._model.config["width"]
        for rows in blocks(n_songs, _BLOCK):
            with calling(spec, "activations"):
                songs, starts, length, values = regressor.activations(
                    self.features, np.arange(rows.start, rows.stop), layer=layer
                )
            if fault := fault_of(values, (len(songs), width)):
                raise DcbmrError(f"{named(spec)} gave activations of {fault}")
            yield songs, starts, length, values
            report("hear", rows.stop, n_songs, {})

    def times(
        self, songs: NDArray[np.int64], starts: NDArray[np.int64], n_frames: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where windows begin and end, in seconds."""
        # A song shorter than a window is heard round and round.
        last = np.minimum(starts + n_frames, self.features.n_frames[songs]) - 1
        start_s = self._offset_s + starts * self.hop_s
        end_s = self._offset_s + last * self.hop_s + self._frame_s
        return start_s.astype(np.float64), end_s.astype(np.float64)


def _best_of_songs(values: np.ndarray, songs: np.ndarray, k: int) -> np.ndarray:
    """Return the windows of the k highest values, the first of equals, one of a song."""
    order = np.argsort(-values, kind="stable")
    _, first = np.unique(songs[order], return_index=True)
    best: np.ndarray = order[np.sort(first)[:k]]
    return best


def draw(excerpts: Sequence[Excerpt], features: SongFeatures, directory: Path) -> list[Path]:
    """Write a picture for each unit, the spectrograms of its excerpts side by side; return the files.

    Raises
    ------
    DcbmrError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DcbmrError(f"pictures need matplotlib: pip install 'dcbmr[report]' ({error})") from error
    directory.mkdir(parents=True, exist_ok=True)
    row_of = {song: row for row, song in enumerate(features.song_ids)}
    files = []
    for unit in dict.fromkeys(excerpt.unit for excerpt in excerpts):
        mine = [excerpt for excerpt in excerpts if excerpt.unit == unit]
        figure = Figure(figsize=(2.4 * len(mine), 3), layout="constrained")
        for axes, excerpt in zip(figure.subplots(1, len(mine), squeeze=False)[0], mine, strict=True):
            place = np.array([row_of[excerpt.song]]), np.array([excerpt.start])
            window = features.windows(*place, excerpt.n_frames)[0]
            axes.imshow(
                window.T, origin="lower", aspect="auto", extent=(0, excerpt.n_frames, 0, len(window.T))
            )
            title = f"{excerpt.rank:+}: {excerpt.song}\n{excerpt.start_s:.1f} s: {excerpt.value:.3g}"
            axes.set_title(title, fontsize=8)
            axes.tick_params(labelsize=6)
        figure.supxlabel("frame", fontsize=8)
        figure.supylabel(f"dimension of {features.kind}", fontsize=8)
        files.append(directory / f"unit{unit:04}.png")
        figure.savefig(files[-1], dpi=120)
    return files
