"""Lists of many users as a file, in the memory of a block of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.arrays import blocks
from dcbmr.base.directory import identity_of, new_directory
from dcbmr.base.progress import Progress, silent
from dcbmr.base.text import write_lines
from dcbmr.ranking.checks import checked_k

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
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> ListsReport:
    """Write what :meth:`Recommender.recommend` gives, as a directory that is whole or absent.

    ``lists.parquet`` has a row for each user and song: user, rank (from 1), song, score; users in the order
    given, songs the best first. ``without_songs.txt`` names the users who get none. Beside the recommender,
    memory holds the lists of some users at a time, about 250,000 rows.

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
    engine : RayEngine, optional
        Rank on its workers; the lists are the same.
    progress : Progress, optional
        Told of each block of users.

    Returns
    -------
    ListsReport
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    k = checked_k(k)
    users = np.asarray(recommender.user_ids if user_ids is None else user_ids, object)
    songs = pa.array(recommender.song_ids, pa.string())
    report, n_rows, without = progress or silent, 0, list[str]()
    schema = pa.schema({"user": pa.string(), "rank": pa.int32(), "song": pa.string(), "score": pa.float32()})
    config: dict[str, Any] = {"k": k, "candidates": candidates}
    if model is not None:
        config |= identity_of(model)
    with new_directory(Path(directory), kind="lists", config=config, overwrite=overwrite) as beside:
        with pq.ParquetWriter(beside / "lists.parquet", schema, compression="zstd") as writer:
            of_block = list(blocks(len(users), max(1, _BLOCK_ROWS // k)))
            tops = recommender.recommend_blocks(
                (users[rows] for rows in of_block), k=k, candidates=candidates, engine=engine
            )
            for rows, top in zip(of_block, tops, strict=True):
                user, place = np.nonzero(top.songs >= 0)
                found = [
                    pa.array(users[rows], pa.string()).take(pa.array(user)),
                    pa.array(place + 1, pa.int32()),
                    songs.take(pa.array(top.songs[user, place])),
                    pa.array(top.scores[user, place]),
                ]
                writer.write_table(pa.table(found, schema=schema))
                n_rows += len(user)
                without += list(users[rows][(top.songs < 0).all(axis=1)])
                report("recommend", rows.stop, len(users), {})
        write_lines(beside / "without_songs.txt", without)
        config |= {"n_users": len(users) - len(without), "n_rows": n_rows}
    return ListsReport(len(users) - len(without), n_rows, tuple(without))
