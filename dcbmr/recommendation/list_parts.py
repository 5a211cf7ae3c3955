"""Lists of many users in parts, which the workers of an engine write: whatever is killed, a part stays.

Parts lie beside the output until all are there, and are then moved to it. Each appears under its name when
it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.directory import RECORD, has_progress, write_json
from dcbmr.base.settings import check_settings
from dcbmr.ranking.topk import TopSongs
from dcbmr.recommendation.recommender import rank_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.recommendation.choice import Choice
    from dcbmr.recommendation.recommender import Candidates, Ids, Recommender

    Task = tuple[NDArray[np.float32], csr_array | None, Ids, int, Path]

LISTS = "lists.parquet"


def schema_of_lists() -> Any:
    """Return the columns of lists."""
    import pyarrow as pa

    return pa.schema({"user": pa.string(), "rank": pa.int32(), "song": pa.string(), "score": pa.float32()})


def table_of(users: Ids, top: TopSongs, songs: Any) -> tuple[Any, list[str]]:
    """Return the lists of some users as a table, and the users who get no songs.

    ``songs`` are the ids of all songs, an array of Arrow.
    """
    import pyarrow as pa

    user, place = np.nonzero(top.songs >= 0)
    found = [
        pa.array(users, pa.string()).take(pa.array(user)),
        pa.array(place + 1, pa.int32()),
        songs.take(pa.array(top.songs[user, place])),
        pa.array(top.scores[user, place]),
    ]
    return pa.table(found, schema=schema_of_lists()), [
        users[row] for row in np.flatnonzero((top.songs < 0).all(axis=1)).tolist()
    ]


def begin_parts(
    folder: Path, settings: Mapping[str, Any], users: Ids, *, resume: bool, engine: RayEngine | None
) -> None:
    """Make a folder ready for parts; InputError where those in it are of others, or workers do not see it."""
    if not (resume and has_progress(folder)):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    settings = {**settings, "crc32_of_users": zlib.crc32("\n".join(users).encode())}
    if record.exists():
        check_settings(
            settings,
            json.loads(record.read_text("utf-8")),
            "the unfinished lists were begun",
            remedy="give the same model, plays and settings, or --overwrite to start anew",
        )
    else:
        write_json(record, settings)
    if engine is not None:
        engine.check_sees(record, "the place of the output")


def write_parts(
    folder: Path,
    recommender: Recommender,
    of_block: Sequence[Ids],
    k: int,
    candidates: Candidates,
    engine: RayEngine | None,
) -> Generator[tuple[int, list[str]]]:
    """Write a part of each block of users that has none; yield its rows, and its users without songs."""
    parts = [(folder / f"part-{n:05}.parquet").absolute() for n in range(len(of_block))]
    is_there = [part.exists() for part in parts]
    missing = (
        (users, k, part) for users, part, there in zip(of_block, parts, is_there, strict=True) if not there
    )
    made = rank_blocks(recommender, _write_part, missing, candidates=candidates, engine=engine)
    for users, part, there in zip(of_block, parts, is_there, strict=True):
        yield _found_in(part, users) if there else next(made)


def _write_part(task: Task, shared: tuple[Choice, Any, int | None]) -> tuple[int, list[str]]:
    import pyarrow.parquet as pq

    vectors, excluded, users, k, part = task
    choice, songs, n_threads = shared
    top = choice.best(vectors, excluded, k=k, n_threads=n_threads)
    table, nobody = table_of(users, top, songs)
    partial = part.with_name(f".{part.name}.{os.getpid()}")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(part)
    return len(table), nobody


def _found_in(part: Path, users: Ids) -> tuple[int, list[str]]:
    import pyarrow.parquet as pq

    of_rows = pq.read_table(part, columns=["user"])["user"]
    listed = set(of_rows.unique().to_pylist())
    return len(of_rows), [user for user in users if user not in listed]


def take_parts(folder: Path, place: Path) -> None:
    """Move the parts to their place, all of which are there."""
    for left in [folder / RECORD, *folder.glob(".*")]:  # these of workers that were lost
        left.unlink()
    folder.rename(place)
