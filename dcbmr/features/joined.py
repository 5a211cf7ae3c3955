"""Several vector kinds as one: what audio tells of a song beside what anybody knows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.directory import kind_of, new_directory, read_config, reading
from dcbmr.base.needs import FeatureNeed
from dcbmr.base.progress import Progress
from dcbmr.contract.kinds import HOST_KINDS
from dcbmr.errors import InputError
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pipeline import FeaturePipeline, Learned, need_of_kind
from dcbmr.features.standardization import (
    Standardization,
    load_standardizations,
    save_standardizations,
)
from dcbmr.features.stored_kind import is_brought

if TYPE_CHECKING:
    from dcbmr.contract.contract import SongFeatures
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.store import FeatureStore

JOINED = "joined features"


class JoinedPipeline:
    """Turns what a store holds of songs into one vector of several kinds, side by side.

    Each part, as :class:`FeaturePipeline` makes it, is brought to one scale on the training songs: its mean
    taken off, and one deviation for the whole of it (see :class:`Standardization`). None may have frames. A
    song that lacks a part that a user brought, such as tags, has the training mean there, and a column for
    each such part says whether it is known; parts that are made of audio are needed.

    Parameters
    ----------
    parts : sequence of FeaturePipeline
        What makes each kind; at least two, of different kinds.

    Attributes
    ----------
    kind : str
        The kinds, joined by "+".
    sources : tuple of str
        The stored kinds that it is made of.
    """

    def __init__(self, parts: Sequence[FeaturePipeline]) -> None:
        kinds = [part.kind for part in parts]
        if len(kinds) < 2 or len(set(kinds)) < len(kinds):
            raise InputError(f"wanted two or more different kinds to join; got {', '.join(kinds) or 'none'}")
        self.parts = tuple(parts)
        self.kind = "+".join(kinds)
        self.sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
        self._optional: tuple[bool, ...] = ()  # of each part, whether a song may lack it
        self._scales: list[Standardization] = []

    def __repr__(self) -> str:
        return f"JoinedPipeline({list(self.parts)}, is_fitted={self.is_fitted})"

    def settings(self) -> dict[str, Any]:
        """Return what the features depend on, for JSON: ``feature`` is the kind."""
        return {"feature": self.kind, "parts": [part.settings() for part in self.parts]}

    @property
    def is_fitted(self) -> bool:
        """Whether nothing is left to learn from training songs."""
        return bool(self._scales)

    @property
    def words(self) -> Codebook | None:
        """The codebook whose stored words are read, if any are."""
        return next((part.words for part in self.parts if part.words is not None), None)

    def learned(self) -> Iterator[tuple[str, Learned]]:
        """Yield what was learned from training songs, by name."""
        for part in self.parts:
            yield from part.learned()
        for part, scale in zip(self.parts, self._scales, strict=False):
            yield f"scale of {part.kind!r}", scale

    def check_store(self, store: FeatureStore) -> None:
        """Raise InputError when a part cannot be made of what a store holds."""
        for part, optional in zip(self.parts, self._which_optional(store), strict=True):
            if not optional or part.kind in store:
                part.check_store(store)

    def _which_optional(self, store: FeatureStore) -> tuple[bool, ...]:
        if self._optional:
            return self._optional
        return tuple(part.kind in store and is_brought(store[part.kind].config) for part in self.parts)

    def songs_in(self, store: FeatureStore) -> list[str]:
        """Return the songs that have all that is needed: all parts of audio, or any where none is."""
        optional = self._which_optional(store)
        needed = [part for part, may_lack in zip(self.parts, optional, strict=True) if not may_lack]
        if needed:
            first, *others = (part.songs_in(store) for part in needed)
            common = set(first).intersection(*others)
            return [song for song in first if song in common]
        there = (part for part in self.parts if part.kind in store)
        return list(dict.fromkeys(song for part in there for song in part.songs_in(store)))

    def read(
        self, store: FeatureStore, song_ids: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, SongFeatures]:
        """Return what a store holds of songs, by kind; of parts that may lack, the songs that are there."""
        found: dict[str, SongFeatures] = {}
        for part, optional in zip(self.parts, self._which_optional(store), strict=True):
            if not optional:
                found |= part.read(store, song_ids, progress=progress)
            elif part.kind in store:
                there = store[part.kind]
                found[part.kind] = there.features(song for song in dict.fromkeys(song_ids) if song in there)
        return found

    def learn(
        self, store: FeatureStore, song_ids: Sequence[str], *, progress: Progress | None = None
    ) -> SongFeatures:
        """Learn what the parts need, their means and scales, from training songs; return these songs."""
        self._optional = self._which_optional(store)
        found = self.read(store, song_ids, progress=progress)
        for source, features in found.items():
            if not len(features.song_ids):
                raise InputError(f"no training song has features of kind {source!r}")
        made = []
        for part in self.parts:
            features = found[part.source]
            prepare = part.transform if part.is_fitted else part.fit_transform
            made.append(prepare(features, progress=progress))
        self._scales = [
            *(Standardization.fit(features.vectors(), features.song_ids) for features in made),
            Standardization.fit(self._known(song_ids, found), song_ids),
        ]
        return self._joined(song_ids, {features.kind: features for features in made}, found)

    def make(
        self,
        song_ids: Sequence[str],
        found: Mapping[str, SongFeatures],
        *,
        progress: Progress | None = None,
    ) -> SongFeatures:
        """Return the features of songs.

        Parameters
        ----------
        song_ids : sequence of str
        found : mapping of str to SongFeatures
            What is stored of them, by kind: row by row, or, of a part that a song may lack, of those songs
            that have it.
        progress : Progress, optional

        Returns
        -------
        SongFeatures
        """
        if not self.is_fitted:
            raise InputError(f"this pipeline to {self.kind!r} is not fitted yet: train with it first")
        made = {
            part.kind: part.transform(found[part.source], progress=progress)
            for part, optional in zip(self.parts, self._optional, strict=True)
            if not optional or part.kind in found
        }
        return self._joined(song_ids, made, found)

    def _known(self, song_ids: Sequence[str], found: Mapping[str, SongFeatures]) -> NDArray[np.float32]:
        """Return, for each song and part that may lack, whether it is known, (n_songs, n_optional)."""
        kinds = [part.kind for part, optional in zip(self.parts, self._optional, strict=True) if optional]
        known = np.zeros((len(song_ids), len(kinds)), np.float32)
        for column, kind in enumerate(kinds):
            there = set(found[kind].song_ids) if kind in found else set()
            known[:, column] = [song in there for song in song_ids]
        return known

    def _joined(
        self, song_ids: Sequence[str], made: Mapping[str, SongFeatures], found: Mapping[str, SongFeatures]
    ) -> VectorFeatures:
        *scales, of_known = self._scales
        widths = [len(scale.mean_) for scale in self._scales]
        vectors = np.zeros((len(song_ids), sum(widths)), np.float32)
        of_part = np.split(vectors, np.cumsum(widths)[:-1], axis=1)
        of_known.transform(self._known(song_ids, found), of_part[-1])
        parts = zip(self.parts, self._optional, scales, of_part[:-1], strict=True)
        for part, optional, scale, out in parts:
            if not optional:
                scale.transform(made[part.kind].vectors(), out)
            elif part.kind in made:
                there = made[part.kind]
                standardized = np.empty((len(there.song_ids), out.shape[1]), np.float32)
                scale.transform(there.vectors(), standardized)
                row_of = {song: row for row, song in enumerate(there.song_ids)}
                rows = np.array([row_of.get(song, -1) for song in song_ids], np.int64)
                out[rows >= 0] = standardized[rows[rows >= 0]]
        return VectorFeatures(self.kind, song_ids, vectors)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the pipeline to a directory of its own."""
        if not self.is_fitted:
            raise InputError(f"this pipeline to {self.kind!r} is not fitted yet: there is nothing to save")
        config = {**self.settings(), "optional": self._optional}
        with new_directory(Path(directory), kind=JOINED, config=config, overwrite=overwrite) as new:
            for number, part in enumerate(self.parts):
                part.save(new / f"part{number:02}")
            save_standardizations(new, self._scales)

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read what :meth:`save` wrote."""
        directory = Path(directory)
        config = read_config(directory, kind=JOINED)
        with reading(directory):
            n_parts = len(config["parts"])
            joined = cls(
                [
                    FeaturePipeline.load(directory / f"part{number:02}", n_threads=n_threads)
                    for number in range(n_parts)
                ]
            )
            joined._optional = tuple(config["optional"])
            joined._scales = load_standardizations(directory, n_parts + 1)
            return joined


def need_of(pipeline: FeaturePipeline | JoinedPipeline, store: FeatureStore) -> FeatureNeed:
    """Return what the features of all songs of a store take, were the pipeline fitted on them."""
    if isinstance(pipeline, FeaturePipeline):
        return need_of_kind(pipeline, store)
    parts = [need_of_kind(part, store) for part in pipeline.parts if part.source in store]
    n_dims = sum(part.n_dims for part in parts)
    n_songs = len(pipeline.songs_in(store))
    joined = 4 * n_dims * n_songs
    # All parts stand beside what they are joined to.
    all_parts = sum(part.held for part in parts)
    return FeatureNeed(n_songs, n_dims, joined, max(part.making for part in parts) + all_parts + joined)


def load_pipeline(directory: Path, *, n_threads: int | None = None) -> FeaturePipeline | JoinedPipeline:
    """Read a pipeline, whichever a directory holds."""
    loads = JoinedPipeline.load if kind_of(directory) == JOINED else FeaturePipeline.load
    return loads(directory, n_threads=n_threads)


def pipeline_to(kinds: str | Sequence[str], **options: Any) -> FeaturePipeline | JoinedPipeline:
    """Return what makes one kind, or several joined; ``options`` are those of :class:`FeaturePipeline`.

    A codebook that is given serves the kinds that are made of words.
    """
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    if len(names) == 1:
        return FeaturePipeline(names[0], **options)
    codebook = options.pop("codebook", None)
    of_words = {made.name for made in HOST_KINDS}
    return JoinedPipeline(
        [FeaturePipeline(name, codebook=codebook if name in of_words else None, **options) for name in names]
    )
