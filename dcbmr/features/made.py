"""Kinds that are made of frames which a store has: the same numbers as in a pass over the audio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError
from dcbmr.audio.frames import Frames
from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress, silent
from dcbmr.base.scratch import ScratchRows
from dcbmr.contract import registry
from dcbmr.contract.contract import SongFeatures
from dcbmr.errors import InputError
from dcbmr.features.recipe import TIMEOUT_S, maker_of
from dcbmr.features.song_streams import rows_of_frames
from dcbmr.features.stored_kind import StoredKind, in_memory


def frames_for(kind: str) -> tuple[str, ...]:
    """Return the kinds of frames that an installed plugin makes a kind of; none where nobody does."""
    spec = registry.extractors().get(kind)
    return () if spec is None else spec.made_of


class MadeKind(StoredKind):
    """A kind that a store lacks, of the frames that it has; a song is made when it is first asked for.

    What was made stays until the store is let go of, in a temporary file, so that no number of songs fills
    the memory.

    Parameters
    ----------
    kind : str
        One that is made of frames (see :func:`frames_for`).
    sources : mapping of str to StoredKind
        What the store has of these frames.
    directory : Path
        Of the store, for the messages.
    """

    def __init__(self, kind: str, sources: Mapping[str, StoredKind], directory: Path) -> None:
        self._sources = sources
        self._maker = maker_of(kind, {name: source.config for name, source in sources.items()})
        self.directory, self.kind, self.config = directory, kind, self._maker.config
        self.shape, self.n_dims = self.config.shape, self.config.n_dims
        self.settings, self.dtype = self.config.settings, np.dtype(self.config.dtype)
        first, *others = self._sources.values()
        self.song_ids = tuple(song for song in first if all(song in other for other in others))
        self._there = frozenset(self.song_ids)
        self._rows = ScratchRows(f"what was made of kind {kind!r}", self.n_dims)
        self._place_of: dict[str, slice] = {}

    def __len__(self) -> int:
        return len(self.song_ids)

    def __contains__(self, song: object) -> bool:
        return song in self._there

    def __getitem__(self, song: str) -> Frames:
        if song not in self._there:
            raise KeyError(song)
        self.make([song])
        rows = np.array(self._rows[self._place_of[song]])
        return rows if self.shape == "frames" else rows[0]

    def features(self, song_ids: Iterable[str]) -> SongFeatures:
        """Return the features of some songs, row by row; see :meth:`StoredKind.features`."""
        wanted = tuple(song_ids)
        self.make(wanted)
        return in_memory(self.config, wanted, [self._rows[self._place_of[song]] for song in wanted])

    def make(
        self,
        song_ids: Iterable[str],
        *,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Make those of some songs that are not made yet.

        Parameters
        ----------
        song_ids : iterable of str
        n_threads : int, optional
            None for every core.
        progress : Progress, optional
            Told of the songs made ("make KIND"); it may raise to stop.

        Raises
        ------
        InputError
            A song is not in the store, or its frames give nothing of the kind, or a plugin fails on it.
        """
        new = [song for song in dict.fromkeys(song_ids) if song not in self._place_of]
        missing = [song for song in new if song not in self._there]
        if missing:
            raise InputError(
                f"{self.directory} lacks the frames of {len(missing)} songs: {missing[0]!r}, ..."
            )
        report = progress or silent
        with OrderedPool(self._made, n_threads=n_threads) as pool:
            for n_made, (song, rows) in enumerate(pool.in_order(new), 1):
                begin = len(self._rows)
                self._rows.append(rows)
                self._place_of[song] = slice(begin, len(self._rows))
                report(f"make {self.kind}", n_made, len(new), {})

    def _made(self, song: str, cancelled: Event) -> NDArray[np.float32]:
        """Return the rows of a song, (n, n_dims), as a store would give them back."""
        frames = {name: source.features([song]).frames(0) for name, source in self._sources.items()}
        try:
            rows = rows_of_frames(self._maker, frames, song, cancelled, TIMEOUT_S)
        except AudioError as error:
            raise InputError(
                f"{self.directory}, song {error}; dcbmr featurize --kind {self.kind} leaves out what fails"
            ) from None
        if not len(rows):
            raise InputError(f"{self.directory}, song {song}: its frames give nothing of kind {self.kind!r}")
        return rows

    def marks(self, song_ids: Iterable[str]) -> NDArray[np.uint32]:
        """Return a number for each song that follows from its frames; see :meth:`StoredKind.marks`."""
        songs = list(song_ids)
        marks: NDArray[np.uint32] = np.bitwise_xor.reduce([s.marks(songs) for s in self._sources.values()])
        return marks

    def check(self) -> list[str]:
        """Return none: it is the frames that are checked."""
        return []
