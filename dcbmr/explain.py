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
    songs, starts, n_frames, values = model.regressor.excitations(
        model.pipeline.transform(features), layer=layer
    )
    n_units = values.shape[1]
    chosen = range(n_units) if units is None else units
    wrong = [unit for unit in chosen if not 0 <= unit < n_units]
    if wrong:
        raise InputError(f"unit {wrong[0]}: there are units 0 to {n_units - 1}")
    settings = model.config["features"]
    hop_s, frame_s = settings["hop_length"] / settings["sr"], settings["n_fft"] / settings["sr"]
    found = []
    for unit in chosen:
        for sign in (1, -1) if layer is None else (1,):
            for rank, window in enumerate(_best_of_songs(sign * values[:, unit], songs, k), 1):
                # A song shorter than a window is heard round and round.
                last = min(starts[window] + n_frames, features.n_frames[songs[window]]) - 1
                found.append(
                    Excerpt(
                        unit=unit,
                        rank=sign * rank,
                        song=features.song_ids[songs[window]],
                        start_s=float(starts[window] * hop_s),
                        end_s=float(last * hop_s + frame_s),
                        value=float(values[window, unit]),
                        start=int(starts[window]),
                        n_frames=n_frames,
                    )
                )
    return found


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
            axes.set_title(f"{excerpt.song}\n{excerpt.start_s:.1f} s: {excerpt.value:.3g}", fontsize=8)
            axes.tick_params(labelsize=6)
        figure.supxlabel("frame", fontsize=8)
        figure.supylabel("mel band", fontsize=8)
        files.append(directory / f"unit{unit:04}.png")
        figure.savefig(files[-1], dpi=120)
    return files
