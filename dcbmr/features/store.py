"""A directory of features: one or several kinds of songs, each opened once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from dcbmr.base.directory import kind_of, read_config, reading
from dcbmr.contract.kinds import is_kind_name
from dcbmr.errors import InputError
from dcbmr.features.made import MadeKind, frames_for
from dcbmr.features.stored_kind import STORE, StoredKind, is_brought, open_kind

FEATURES = "features"
UNFINISHED = "unfinished.json"  # there from before the first song until after the last


class FeatureStore:
    """What :func:`dcbmr.featurize` wrote: the features of many songs, of one kind or several.

    ``store["mel"]`` is the kind "mel", a mapping from song id to frames; it is opened on first use, once. A
    kind that it lacks, but which a plugin makes of frames that it has, is there as well: ``store["stats"]``
    of "mel" and "mfcc". Its songs are made when they are asked for, and have the numbers that
    :func:`dcbmr.featurize` would have stored.

    Attributes
    ----------
    directory : Path
    kinds : tuple of str
        The kinds that are stored.
    n_wanted : int or None
        How many songs featurize is to have written when it ends; None where it has ended.
    offset_s : float
        Seconds of each file that were skipped: there the first frame begins.
    """

    def __init__(
        self, directory: Path, kinds: tuple[str, ...], n_wanted: int | None = None, offset_s: float = 0.0
    ) -> None:
        self.directory = directory
        self.kinds = kinds
        self.n_wanted = n_wanted
        self.offset_s = offset_s
        self._open: dict[str, StoredKind] = {}

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, unfinished: bool = False) -> Self:
        """Open the features that :func:`dcbmr.featurize` wrote to ``directory``.

        Parameters
        ----------
        directory : path-like
        unfinished : bool
            Open it also where featurize was interrupted or is still at work: the songs that are there are
            whole, and more may come.

        Raises
        ------
        InputError
            There are no features, or not all yet, or their settings are damaged or of another version.
        """
        root = Path(directory)
        if not root.exists():
            raise InputError(f"{root} does not exist; wanted the output of dcbmr featurize")
        config = read_config(root, kind=FEATURES)
        there = sorted(path.name for path in root.iterdir() if kind_of(path) == STORE)
        with reading(root):
            offset_s = float(config.get("offset", 0.0))
        store = cls(root, tuple(filter(is_kind_name, there)), _n_wanted(root), offset_s)
        if store.n_wanted is not None and not unfinished:
            raise InputError(store.what_is_missing())
        return store

    @classmethod
    def of(cls, kinds: Mapping[str, StoredKind], *, onto: FeatureStore | None = None) -> Self:
        """Return kinds that are open, in the place of those of another store, and beside them."""
        directory = next(iter(kinds.values())).directory if onto is None else onto.directory
        others = () if onto is None else onto.kinds
        offset_s = 0.0 if onto is None else onto.offset_s
        store = cls(directory, tuple(dict.fromkeys([*others, *kinds])), offset_s=offset_s)
        store._open = {**({} if onto is None else {kind: onto[kind] for kind in others}), **kinds}
        return store

    def what_is_missing(self) -> str:
        """Say how much of an unfinished store is there, and what finishes it."""
        pass_over_audio = [kind for kind in self.kinds if not is_brought(self[kind].config)]
        n_songs = len(self[pass_over_audio[0]]) if pass_over_audio else 0
        n_there = f"it has {n_songs:,} of {self.n_wanted:,} songs"
        cure = f"dcbmr featurize AUDIO -o {self.directory} --resume finishes it"
        return f"{self.directory} is unfinished: {n_there}; {cure}"

    def __getitem__(self, kind: str) -> StoredKind:
        if kind not in self._open:
            if kind in self.kinds:
                self._open[kind] = open_kind(self.directory / kind, kind)
            elif kind in self:
                frames = {source: self[source] for source in frames_for(kind)}
                self._open[kind] = MadeKind(kind, frames, self.directory)
            else:
                has = f"it has {', '.join(self.kinds)}" if self.kinds else "it has none"
                made_of = frames_for(kind)
                which = f", which is made of {' and '.join(made_of)}" if made_of else ""
                raise InputError(
                    f"{self.directory} has no features of kind {kind!r}{which}: {has}; see dcbmr featurize"
                )
        return self._open[kind]

    def __contains__(self, kind: object) -> bool:
        if kind in self.kinds or not isinstance(kind, str):
            return kind in self.kinds
        frames = frames_for(kind)
        return len(frames) > 0 and all(source in self for source in frames)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    @property
    def song_ids(self) -> tuple[str, ...]:
        """The songs of any of the kinds: those made of audio hold the same, vectors of users maybe others."""
        return tuple(dict.fromkeys(song for kind in self.kinds for song in self[kind].song_ids))

    def __repr__(self) -> str:
        unfinished = "" if self.n_wanted is None else f", n_wanted={self.n_wanted}"
        kinds, n_songs = self.kinds, len(self.song_ids)
        return f"FeatureStore({str(self.directory)!r}, {kinds=}, {n_songs=}{unfinished})"

    def check(self) -> dict[str, list[str]]:
        """Read everything; return the damaged songs of each kind."""
        return {kind: self[kind].check() for kind in self.kinds}


def _n_wanted(root: Path) -> int | None:
    try:
        return int(json.loads((root / UNFINISHED).read_text("utf-8"))["n_songs"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{root / UNFINISHED} is damaged: {type(error).__name__}: {error}") from error
