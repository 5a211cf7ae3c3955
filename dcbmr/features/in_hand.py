"""Vectors of a file, used without a store: of new songs, maybe beside those that a store has of others."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.errors import InputError
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.store import FeatureStore
from dcbmr.features.stored_kind import StoredKind, brought_config, check_brought
from dcbmr.plays.vectors import names_of_dimensions, read_vectors


def with_vectors(store: FeatureStore | None, path: Path | str, *, kind: str) -> FeatureStore:
    """Return features with the vectors of a file among them; the file is read into memory, and left alone.

    Parameters
    ----------
    store : FeatureStore, optional
        The features to add them to, which stay as they are. A song that has vectors of this kind there, too,
        has those of the file.
    path : path
        See :func:`dcbmr.bring_vectors`.
    kind : str
        What the vectors are called in the model that takes them.

    Raises
    ------
    InputError
        The file is not understood, or its vectors have other dimensions than those of the store.
    """
    under = None if store is None or kind not in store else store[kind]
    return FeatureStore.of({kind: VectorsInHand(Path(path), kind, under)}, onto=store)


class VectorsInHand(StoredKind):
    """Vectors of a file in memory, over those that a store has of other songs."""

    def __init__(self, path: Path, kind: str, under: StoredKind | None) -> None:
        ids, vectors = zip(*read_vectors(path), strict=True)
        self._vectors_of_file = np.concatenate(vectors)
        self._row_of = {song: row for row, song in enumerate(chain.from_iterable(ids))}
        self.directory, self.kind, self.shape = path, kind, "vectors"
        self.n_dims = self._vectors_of_file.shape[1]
        self.config = brought_config(kind, self.n_dims, names_of_dimensions(path))
        self.settings, self.dtype = self.config.settings, np.dtype(self.config.dtype)
        if under is not None:
            check_brought(under.config, self.config, path)
        self._under = under
        others = [] if under is None else [song for song in under if song not in self._row_of]
        self.song_ids = (*self._row_of, *others)
        self.n_frames = np.ones(len(self.song_ids), np.int64)
        self._there = frozenset(self.song_ids)

    def __len__(self) -> int:
        return len(self.song_ids)

    def __contains__(self, song: object) -> bool:
        return song in self._there

    def __getitem__(self, song: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = np.asarray(self.features([song]).vectors())[0]
        return vector

    def features(self, song_ids: Iterable[str]) -> VectorFeatures:
        """Return the vectors of some songs, row by row."""
        wanted = tuple(song_ids)
        missing = [song for song in wanted if song not in self._there]
        if missing:
            raise InputError(
                f"{self.directory} lacks {len(missing)} of {len(wanted)} songs: {missing[0]!r}, ..."
            )
        rows = np.array([self._row_of.get(song, -1) for song in wanted], np.int64)
        found: NDArray[Any] = self._vectors_of_file[rows]
        if self._under is not None and (rows < 0).any():
            others = [song for song, row in zip(wanted, rows.tolist(), strict=True) if row < 0]
            found[rows < 0] = self._under.features(others).vectors()
        return VectorFeatures(self.kind, wanted, found, is_embedding=self.config.is_embedding)

    def marks(self, song_ids: Iterable[str]) -> NDArray[np.uint32]:
        """Return a number for each song, (n,): what a store that these vectors were brought to would say."""
        wanted = tuple(song_ids)
        found = np.zeros(len(wanted), np.uint32) if self._under is None else self._under.marks(wanted)
        for i, song in enumerate(wanted):
            if song in self._row_of:
                vector = self._vectors_of_file[self._row_of[song]].astype(self.dtype, copy=False)
                found[i] = zlib.crc32(vector.data)
        return found

    def check(self) -> list[str]:
        """Return none: what is in memory is not damaged."""
        return []
