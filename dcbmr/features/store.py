"""A directory of features: one or several kinds of the same songs, each opened once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from dcbmr.base.directory import CONFIG, read_config
from dcbmr.contract.kinds import kinds
from dcbmr.errors import InputError
from dcbmr.features.stored_kind import StoredKind, StoredWords

FEATURES = "features"


class FeatureStore:
    """What :func:`dcbmr.featurize` wrote: the features of many songs, of one kind or several.

    ``store["mel"]`` is the kind "mel", a mapping from song id to frames; it is opened on first use, once. A
    store that another process is writing can be opened: it holds the songs that were finished at that time.

    Attributes
    ----------
    directory : Path
    kinds : tuple of str
        The kinds that it has.
    """

    def __init__(self, directory: Path, kinds: tuple[str, ...]) -> None:
        self.directory = directory
        self.kinds = kinds
        self._open: dict[str, StoredKind] = {}

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Self:
        """Open the features that :func:`dcbmr.featurize` wrote to ``directory``.

        Raises
        ------
        InputError
            There are none, or their settings are damaged or of another version.
        """
        root = Path(directory)
        if not root.exists():
            raise InputError(f"{root} does not exist; wanted the output of dcbmr featurize")
        read_config(root, kind=FEATURES)
        return cls(root, tuple(name for name in kinds() if (root / name / CONFIG).is_file()))

    def __getitem__(self, kind: str) -> StoredKind:
        if kind not in self._open:
            if kind not in self.kinds:
                has = f"it has {', '.join(self.kinds)}" if self.kinds else "it has none"
                raise InputError(
                    f"{self.directory} has no features of kind {kind!r}: {has}; see dcbmr featurize"
                )
            opener = StoredWords if kind == "bow" else StoredKind
            self._open[kind] = opener(self.directory / kind, kind)
        return self._open[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self.kinds

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    @property
    def song_ids(self) -> tuple[str, ...]:
        """The songs, in the order of writing: all kinds hold the same."""
        return self[self.kinds[0]].song_ids if self.kinds else ()

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.directory)!r}, kinds={self.kinds}, n_songs={len(self.song_ids)})"

    def check(self) -> dict[str, list[str]]:
        """Read everything; return the damaged songs of each kind."""
        return {kind: self[kind].check() for kind in self.kinds}
