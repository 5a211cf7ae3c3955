"""What a network hears: the songs and the moments that excite its outputs, or its units, the most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from dcbmr.contract import SongFeatures
    from dcbmr.model import Model

_BLOCK = 1024  # songs whose excitations are in memory at a time


@dataclass(frozen=True)
class Excerpt:
    """A window of a song, and how much it excites a unit.

    Attributes
    ----------
    unit : int
    rank : int
        1 for the strongest; of a factor also -1 for the most negative, -2 for the next, ...
    song : str
    start_s, end_s : float
        Where it lies in the song, in seconds.
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


def explain(
    model: Model,
    features: SongFeatures,
    *,
    layer: int | None = None,
    units: Sequence[int] | None = None,
    k: int = 5,
) -> list[Excerpt]:
    """Find what excites the factors of a model, or the units of one of its layers, the most.

    Parameters
    ----------
    model : Model
        Its regressor has a method ``excitations``, see :class:`dcbmr.Regressor`; ``cnn`` has one.
    features : SongFeatures
        Stored frames of the songs to look through.
    layer : int, optional
        Number of a layer, from 1; None for the factors.
    units : sequence of int, optional
        Which of its units; all if None.
    k : int
        Windows for each unit, no two of one song; for factors as many of the most negative, too.

    Raises
    ------
    InputError
        The regressor cannot say, or has no such layer or unit.
    """
    if not hasattr(model.regressor, "excitations"):
        raise InputError(f"regressor {model.spec.name!r} cannot say what excites it; models of 'cnn' can")
    heard = model.pipeline.transform(features)
    signs = (1, -1) if layer is None else (1,)
    best: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of each sign: values and windows, (<= k, n_units)
    windows: list[tuple[np.ndarray, np.ndarray]] = []  # songs and starts
    n_windows = n_frames = 0
    chosen = list(units or ())
    for begin in range(0, len(features.song_ids), _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, len(features.song_ids)))
        songs, starts, n_frames, values = model.regressor.excitations(heard, rows, layer=layer)
        n_units = values.shape[1]
        chosen = list(range(n_units) if units is None else units)
        wrong = [unit for unit in chosen if not 0 <= unit < n_units]
        if wrong:
            raise InputError(f"unit {wrong[0]}: there are units 0 to {n_units - 1}")
        for sign in signs:
            found, window = _best_of_songs(sign * values[:, chosen], songs)
            best[sign] = _strongest(best.get(sign), found, window + n_windows, k)
        windows.append((songs, starts))
        n_windows += len(songs)
    if not windows:
        return []
    settings = model.config["features"]
    hop_s, frame_s = settings["hop_length"] / settings["sr"], settings["n_fft"] / settings["sr"]
    songs, starts = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    excerpts = []
    for column, unit in enumerate(chosen):
        for sign in signs:
            values, places = (array[:, column] for array in best[sign])
            for rank, (value, window) in enumerate(zip(values, places, strict=True), 1):
                # A song shorter than a window is heard round and round.
                last = min(starts[window] + n_frames, features.n_frames[songs[window]]) - 1
                excerpts.append(
                    Excerpt(
                        unit=unit,
                        rank=sign * rank,
                        song=features.song_ids[songs[window]],
                        start_s=float(starts[window] * hop_s),
                        end_s=float(last * hop_s + frame_s),
                        value=float(sign * value),
                        start=int(starts[window]),
                        n_frames=n_frames,
                    )
                )
    return excerpts


def _best_of_songs(values: np.ndarray, songs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest value of each song, and the first of its windows that has it.

    ``values`` is (n_windows, n_units), the windows song after song; both results are (n_songs, n_units).
    """
    first = np.flatnonzero(np.diff(songs, prepend=-1))
    best = np.maximum.reduceat(values, first)
    is_best = values == np.repeat(best, np.diff(first, append=len(songs)), axis=0)
    numbered = np.where(is_best, np.arange(len(songs))[:, None], len(songs))
    return best, np.minimum.reduceat(numbered, first)


def _strongest(
    kept: tuple[np.ndarray, np.ndarray] | None, values: np.ndarray, windows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k highest of each unit, of those kept and the new ones, the first of equals."""
    if kept is not None:
        values, windows = np.concatenate([kept[0], values]), np.concatenate([kept[1], windows])
    order = np.argsort(-values, axis=0, kind="stable")[:k]
    return np.take_along_axis(values, order, 0), np.take_along_axis(windows, order, 0)


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
        figure.supylabel("mel band", fontsize=8)
        files.append(directory / f"unit{unit:04}.png")
        figure.savefig(files[-1], dpi=120)
    return files
