"""Vectors that a user brings, of whatever origin: they become a kind of a store as those made of audio do."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dcbmr.base.directory import kind_of, new_directory, write_config
from dcbmr.base.progress import Progress, silent
from dcbmr.contract import registry
from dcbmr.contract.features import FeatureConfig
from dcbmr.contract.kinds import check_kind_name
from dcbmr.errors import InputError
from dcbmr.features.store import FEATURES
from dcbmr.features.stored_kind import INDEX, STORE, brought_config, is_brought, read_feature_config
from dcbmr.features.writer import StoreWriter
from dcbmr.plays.matching import IdMatch, match_ids
from dcbmr.plays.vectors import names_of_dimensions, read_vectors


@dataclass(frozen=True)
class BroughtReport:
    """What :func:`bring_vectors` did.

    Attributes
    ----------
    n_songs, n_dims : int
    match : IdMatch or None
        Which songs with plays have a vector, where plays were given.
    """

    n_songs: int
    n_dims: int
    match: IdMatch | None


def bring_vectors(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    kind: str,
    songs_with_plays: Collection[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BroughtReport:
    """Store vectors that were made elsewhere as a kind of features, to be trained on as any other.

    They are read in blocks, a million as well, and are in the store whole or not at all.

    Parameters
    ----------
    source : path-like
        ``NAME.npy`` with the ids one a line in ``NAME.ids.txt`` beside it; ``.npz`` with the arrays ``ids``
        and ``vectors``; Parquet with a column of ids called song and one of lists, or one of numbers for each
        dimension; TSV or CSV, plain or compressed, with the ids in the first column.
    directory : path-like
        Features that are there, to which the kind is added, or a new directory. The songs need not be the
        same as those of other kinds.
    kind : str
        What to call them: a name that no installed kind has.
    songs_with_plays : collection of str, optional
        To be compared with the ids; not one in common is an error, with the likely cause.
    overwrite : bool
        Replace vectors of the same name; other kinds stay.
    progress : Progress, optional
        Told of the songs written ("vectors").

    Returns
    -------
    BroughtReport

    Raises
    ------
    InputError
        The file is not understood, or holds pickled objects, numbers that are not finite, or an id twice;
        the kind is there already, or its name is taken; no id matches.
    """
    root, path = Path(directory), Path(source)
    _check_name(root, kind)
    report = progress or silent
    with ExitStack() as stack:
        blocks = stack.enter_context(closing(read_vectors(path)))
        first = next(blocks)
        made = brought_config(kind, first[1].shape[1], names_of_dimensions(path))
        home = root
        if kind_of(root) != FEATURES:
            new = new_directory(root, kind=FEATURES, config={"kinds": []}, overwrite=False)
            home = stack.enter_context(new)
        beside = stack.enter_context(
            new_directory(home / kind, kind=STORE, config=made.to_json(), overwrite=overwrite)
        )
        ids: list[str] = []
        writer = _open_new(beside, made)
        stack.callback(writer.close)
        for songs, vectors in chain([first], blocks):
            writer.append_vectors(songs, vectors)
            writer.commit()
            ids += songs
            report("vectors", len(ids), None, {})
        match = None if songs_with_plays is None else match_ids(ids, songs_with_plays)
        if match is not None and not match.n_matched:
            raise InputError(f"{path}: {match.words('songs with plays', 'vectors')}; nothing was stored")
    return BroughtReport(len(ids), made.n_dims, match)


def _check_name(root: Path, kind: str) -> None:
    """Raise InputError where vectors cannot be called so."""
    check_kind_name(kind)
    if kind in registry.kinds():
        raise InputError(f"kind {kind!r} is made of audio; call the vectors otherwise")
    if kind_of(root / kind) == STORE and not is_brought(read_feature_config(root / kind)):
        raise InputError(f"{root / kind} was made of audio; call the vectors otherwise")


def _open_new(directory: Path, made: FeatureConfig) -> StoreWriter:
    write_config(directory, kind=STORE, config=made.to_json())
    (directory / INDEX).touch()
    writer = StoreWriter(directory, made)
    writer.cut()
    return writer
