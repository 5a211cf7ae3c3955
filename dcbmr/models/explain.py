"""What a network hears: the songs and the moments to which its outputs, or its units, respond the most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dcbmr.contract.contract import HasActivations
from dcbmr.contract.faults import calling, fault_of, named
from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from dcbmr.contract.contract import SongFeatures
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model

_BLOCK = 1024  # songs whose activations are in memory at a time


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
    features: FeatureStore,
    *,
    song_ids: Sequence[str] | None = None,
    layer: int | None = None,
    units: Sequence[int] | None = None,
    k: int = 5,
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

    Raises
    ------
    InputError
        The regressor cannot say, or has no such layer or unit; or the frames do not say when they are.

    Returns
    -------
    list of Excerpt
        Unit after unit, by rank.
    """
    if not model.spec.has_activations:
        raise InputError(f"regressor {model.spec.name!r} has no activations; models of 'cnn' can")
    settings = next(iter(model.sources.values())).settings
    try:
        sr, hop, n_fft = (float(settings[name]) for name in ("sr", "hop_length", "n_fft"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"frames of kind {model.kind!r} do not say when they are: their settings have no sr, hop_length "
            "and n_fft"
        ) from None
    regressor = cast(HasActivations, model.regressor)
    heard = model.features_of(features, song_ids)
    n_frames = 0
    best: dict[tuple[int, int], list[tuple[float, int, int]]] = {}  # unit and sign: value, song, start
    for begin in range(0, len(heard.song_ids), _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, len(heard.song_ids)))
        with calling(model.spec, "activations"):
            songs, starts, n_frames, values = regressor.activations(heard, rows, layer=layer)
        if fault := fault_of(values, (len(songs), "n_units")):
            raise DcbmrError(f"{named(model.spec)} gave activations of {fault}")
        n_units = values.shape[1]
        wrong = [unit for unit in units or () if not 0 <= unit < n_units]
        if wrong:
            raise InputError(f"unit {wrong[0]}: there are units 0 to {n_units - 1}")
        for unit, sign in product(units or range(n_units), (1, -1) if layer is None else (1,)):
            new = _best_of_songs(sign * values[:, unit], songs, k)
            found = zip(values[new, unit].tolist(), songs[new].tolist(), starts[new].tolist(), strict=True)
            both = [*best.get((unit, sign), ()), *found]
            best[unit, sign] = sorted(both, key=lambda window: -sign * window[0])[:k]
    hop_s, frame_s = hop / sr, n_fft / sr
    return [
        Excerpt(
            unit=unit,
            rank=sign * rank,
            song=heard.song_ids[song],
            start_s=start * hop_s,
            # A song shorter than a window is heard round and round.
            end_s=(min(start + n_frames, int(heard.n_frames[song])) - 1) * hop_s + frame_s,
            value=value,
            start=start,
            n_frames=n_frames,
        )
        for (unit, sign), windows in best.items()
        for rank, (value, song, start) in enumerate(windows, 1)
    ]


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
