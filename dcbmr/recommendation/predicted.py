"""Predictions that are kept from night to night: of one model, and only new songs are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.arrays import places
from dcbmr.base.directory import identity_of, new_directory, read_config
from dcbmr.base.progress import Progress
from dcbmr.base.text import read_lines, write_lines
from dcbmr.errors import InputError
from dcbmr.models.stack import models_of

if TYPE_CHECKING:
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack

SONGS = "songs"
_IDS, _FACTORS, _MARKS = "songs.txt", "song_factors.npy", "marks.npy"


@dataclass(frozen=True, eq=False, repr=False)
class Predicted:
    """Songs as a model placed them, as ``dcbmr predict -o`` keeps them.

    Attributes
    ----------
    song_ids : list of str
    song_factors : ndarray of shape (n_songs, width), float32
    marks : ndarray of shape (n_songs, n_kinds), uint32, or None
        What tells the features of each song apart from others; None where they came of no store.
    n_new : int or None
        How many :func:`predict_new` predicted, where it kept others.
    """

    song_ids: list[str]
    song_factors: NDArray[np.float32]
    marks: NDArray[np.uint32] | None = None
    n_new: int | None = None

    def __repr__(self) -> str:
        n_songs, width = self.song_factors.shape
        return f"Predicted(n_songs={n_songs}, width={width})"

    @classmethod
    def load(cls, directory: Path | str, *, model: Path | str) -> Self:
        """Read predictions that ``model``, a directory, has made.

        Raises
        ------
        InputError
            Another model made them, also one that was trained again in the same place; they are damaged.
        """
        directory = Path(directory)
        config = read_config(directory, kind=SONGS)
        if config.get("model_sha256") != identity_of(model)["model_sha256"]:
            raise InputError(
                f"{directory} holds predictions of another model than {model} is today (made by "
                f"{config.get('model', 'one that is not known')}): dcbmr predict {model} --features FEATURES "
                f"-o {directory} --overwrite makes them anew"
            )
        try:
            songs = list(read_lines(directory / _IDS))
            factors = np.load(directory / _FACTORS, allow_pickle=False)
            has_marks = (directory / _MARKS).exists()
            marks = np.load(directory / _MARKS, allow_pickle=False) if has_marks else None
        except (OSError, ValueError) as error:
            raise InputError(f"{directory} is damaged: {error}") from error
        if len(songs) != len(factors) or (marks is not None and len(marks) != len(songs)):
            raise InputError(f"{directory} is damaged: {len(songs)} songs, {len(factors)} predictions")
        return cls(songs, factors, marks)

    def save(self, directory: Path | str, *, model: Path | str, overwrite: bool = False) -> None:
        """Write them as a directory that is whole or absent, with what tells the model apart."""
        config: dict[str, Any] = identity_of(model)
        with new_directory(Path(directory), kind=SONGS, config=config, overwrite=overwrite) as beside:
            write_lines(beside / _IDS, self.song_ids)
            np.save(beside / _FACTORS, self.song_factors, allow_pickle=False)
            if self.marks is not None:
                np.save(beside / _MARKS, self.marks, allow_pickle=False)

    def unchanged(self, model: Model | Stack, store: FeatureStore) -> Self:
        """Return these predictions without the songs that a store has with other features by now.

        Songs that it does not have stay.
        """
        there = set(model.songs_in(store))
        rows = np.array([row for row, song in enumerate(self.song_ids) if song in there], np.int64)
        marks = _marks(model, store, [self.song_ids[row] for row in rows])
        stays = np.ones(len(self.song_ids), bool)
        stays[rows] = self._holds(model, rows, marks)
        ids = [song for song, is_kept in zip(self.song_ids, stays, strict=True) if is_kept]
        of_kept = None if self.marks is None else self.marks[stays]
        return type(self)(ids, self.song_factors[stays], of_kept)

    def _holds(
        self, model: Model | Stack, rows: NDArray[np.int64], marks: NDArray[np.uint32]
    ) -> NDArray[np.bool_]:
        """Return which rows, -1 for none, are predicted from features that have these marks, (n,)."""
        holds = np.zeros(len(rows), bool)
        depends = any(part.config.get("artist_weight") for part in models_of(model))
        if self.marks is not None and not depends:
            there = rows >= 0
            holds[there] = (self.marks[rows[there]] == marks[there]).all(axis=1)
        return holds


def predict_new(
    model: Model | Stack,
    store: FeatureStore,
    *,
    kept: Predicted | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Predict the songs of a store that are not among those kept, or whose features have changed.

    Songs that the store has no more are left out. Where a model has an ``artist_weight``, the predictions of
    an artist's songs depend on each other, and all are made anew.

    Parameters
    ----------
    model : Model or Stack
    store : FeatureStore
    kept : Predicted, optional
        Predictions of the same model: see :meth:`Predicted.load`.
    progress : Progress, optional
        As for :meth:`dcbmr.Model.predict_store`.
    """
    songs = list(model.songs_in(store))
    marks = _marks(model, store, songs)
    stays = np.zeros(len(songs), bool)
    if kept is not None:
        row = places(songs, {song: row for row, song in enumerate(kept.song_ids)})
        stays = kept._holds(model, row, marks)
    if kept is None or not stays.any():
        return Predicted(songs, model.predict_store(store, songs, progress=progress), marks)
    factors = np.empty((len(songs), kept.song_factors.shape[1]), np.float32)
    factors[stays] = kept.song_factors[row[stays]]
    if not stays.all():
        new = [songs[i] for i in np.flatnonzero(~stays)]
        factors[~stays] = model.predict_store(store, new, progress=progress)
    return Predicted(songs, factors, marks, n_new=int((~stays).sum()))


def _marks(model: Model | Stack, store: FeatureStore, songs: Sequence[str]) -> NDArray[np.uint32]:
    """Return what tells the features of songs apart, of each kind that the model reads, (n, n_kinds)."""
    kinds = dict.fromkeys(source for pipeline in model.pipelines for source in pipeline.sources)
    nothing = np.zeros(len(songs), np.uint32)  # of a kind that a song may lack
    return np.stack([store[kind].marks(songs) if kind in store else nothing for kind in kinds], axis=1)
