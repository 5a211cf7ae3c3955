"""Lists of many users as Parquet, in the memory of a block of them."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.arrays import blocks
from dcbmr.base.directory import checkpoint_of, has_progress, identity_of, new_directory
from dcbmr.base.progress import Progress, silent
from dcbmr.base.text import write_lines
from dcbmr.ranking.checks import checked_k
from dcbmr.recommendation.list_parts import (
    LISTS,
    begin_parts,
    schema_of_lists,
    table_of,
    take_parts,
    write_parts,
)
from dcbmr.recommendation.recommender import digest_of

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.recommendation.recommender import Candidates, Ids, Recommender

_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True)
class ListsReport:
    """What :func:`save_lists` wrote.

    Attributes
    ----------
    n_users, n_rows : int
        Users with a list, and songs in all lists together.
    without_songs : tuple of str
        Users who get no songs: nothing that they played is known, or no candidate is left.
    """

    n_users: int
    n_rows: int
    without_songs: tuple[str, ...]


def save_lists(
    recommender: Recommender,
    directory: Path | str,
    *,
    user_ids: Ids | None = None,
    k: int = 10,
    candidates: Candidates = "unplayed",
    model: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> ListsReport:
    """Write what :meth:`Recommender.recommend` gives, as a directory that is whole or absent.

    ``lists.parquet`` has a row for each user and song: user, rank (from 1), song, score; users in the order
    given, songs the best first. It is a file or, from the workers of an engine, a folder of files, some users
    each, in their order: who reads Parquet takes either by this name. ``without_songs.txt`` names the users
    who get none. Beside the recommender, memory holds the lists of some users at a time, about 250,000 rows.

    Parameters
    ----------
    recommender : Recommender
    directory : path
    user_ids : sequence of str, optional
        Every user by default.
    k, candidates
        As for :meth:`Recommender.recommend`.
    model : path, optional
        The directory of the model or the factors behind the recommender; ``config.json`` keeps its path and
        a digest of it.
    overwrite : bool
        Replace earlier lists.
    resume : bool
        Keep the files that workers had finished when they were stopped, of the same users, songs, plays and
        settings, and make what is missing, with an engine or without.
    engine : RayEngine, optional
        Rank on its workers, which must see the directory under the same path; the lists are the same.
    progress : Progress, optional
        Told of each block of users.

    Returns
    -------
    ListsReport

    Raises
    ------
    InputError
        The directory exists; what is to be resumed was begun otherwise.
    """
    k = checked_k(k)
    directory, unfinished = Path(directory), checkpoint_of(Path(directory))
    users = np.asarray(recommender.user_ids if user_ids is None else user_ids, object)
    of_block = [users[rows] for rows in blocks(len(users), max(1, _BLOCK_ROWS // k))]
    report, n_done, n_rows, without = progress or silent, 0, 0, list[str]()
    config: dict[str, Any] = {"k": k, "candidates": candidates}
    in_parts = engine is not None or (resume and has_progress(unfinished))
    if in_parts:
        begun = {**config, "n_parts": len(of_block), "crc32": digest_of(recommender)}
        begin_parts(unfinished, begun, users, resume=resume, engine=engine)
    if model is not None:
        config |= identity_of(model)
    with new_directory(directory, kind="lists", config=config, overwrite=overwrite) as beside:
        if in_parts:
            found = write_parts(unfinished, recommender, of_block, k, candidates, engine)
        else:
            found = _write_file(beside / LISTS, recommender, of_block, k, candidates)
        with closing(found):
            for block, (n, nobody) in zip(of_block, found, strict=True):
                n_done, n_rows, without = n_done + len(block), n_rows + n, without + nobody
                report("recommend", n_done, len(users), {})
        if in_parts:
            take_parts(unfinished, beside / LISTS)
        write_lines(beside / "without_songs.txt", without)
        config |= {"n_users": len(users) - len(without), "n_rows": n_rows}
    shutil.rmtree(unfinished, ignore_errors=True)  # of workers that were stopped before they had a part
    return ListsReport(len(users) - len(without), n_rows, tuple(without))


def _write_file(
    file: Path, recommender: Recommender, of_block: Sequence[Ids], k: int, candidates: Candidates
) -> Generator[tuple[int, list[str]]]:
    """Write all lists as one file; yield the rows of each block, and its users without songs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    songs = pa.array(recommender.song_ids, pa.string())
    with pq.ParquetWriter(file, schema_of_lists(), compression="zstd") as writer:
        for block in of_block:
            top = recommender.recommend(block, k=k, candidates=candidates)
            table, nobody = table_of(block, top, songs)
            writer.write_table(table)
            yield len(table), nobody
