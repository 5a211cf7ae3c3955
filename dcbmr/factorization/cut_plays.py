"""Plays in Parquet, cut into blocks of rows by workers, on a disk that all share.

They are never whole in one place. Workers add up parts of the files; whoever asked for them, the driver,
gets the ids of each part and numbers them, in the order of the rows, as one machine does. With the numbers,
workers cut each part into blocks of users and of songs, and the owner of a block adds up its pieces, in the
order of the parts.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.checksum import joined_crc32
from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.factorization.half_sweep import ranges_of_equal_work
from dcbmr.factorization.play_blocks import SIDES, TRIPLET, PlayBlocks, blocks_of, cut_file, facts_of
from dcbmr.factorization.sides import SideOnWorkers
from dcbmr.plays.parts import Part, parts_of
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.plays.readers import check_rows, read_row_groups
from dcbmr.plays.sums import Ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.plays.columns import Columns


@contextmanager
def cut_plays(
    engine: RayEngine,
    files: Sequence[Path],
    folder: Path,
    als: WeightedALS,
    *,
    columns: Columns = None,
    wanted: PlayFilter,
    progress: Progress | None = None,
) -> Iterator[PlayBlocks]:
    """Have workers read plays from Parquet and cut them into blocks, which they hold until the block ends.

    Ids, and so factors, are numbered as by one machine. Counts are added up in float64, part by part: those
    that are whole numbers to the same bits.

    Parameters
    ----------
    engine : RayEngine
    files : sequence of Path
        Files of Parquet, which all workers see.
    folder : Path
        On a disk that all workers share; made, with 32 bytes a pair, for a moment 48, and removed at the end.
    als : WeightedALS
        What the plays are for.
    columns
        As of :meth:`PlayCounts.read`.
    wanted : PlayFilter
        Which rows count.
    progress : Progress, optional

    Raises
    ------
    InputError
        As of :meth:`PlayCounts.read`; workers do not see the files.
    """
    engine.check_sees(files[0], "the plays")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        seen = folder / "seen"
        seen.touch()
        engine.check_sees(seen, "the place of the output")
        parts = list(parts_of(files))
        yield _cut(engine, files, parts, folder.absolute(), als, columns, wanted, progress or silent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cut(
    engine: RayEngine,
    files: Sequence[Path],
    parts: Sequence[Part],
    folder: Path,
    als: WeightedALS,
    columns: Columns,
    wanted: PlayFilter,
    progress: Progress,
) -> PlayBlocks:
    ids = Ids(), Ids()
    in_part: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = [], []
    n_rows = n_kept = 0
    stage = "read counts"
    n_total = sum(part.n_rows for part in parts)
    tasks = ((folder, number, part) for number, part in enumerate(parts))
    for part in engine.map(_read_part, tasks, engine.share((columns, wanted)), what="plays"):
        for numbers, of_part, table, lengths in zip(ids, in_part, part.ids, part.lengths, strict=True):
            numbers.add_table(table)
            of_part.append(lengths)
        n_rows, n_kept, stage = n_rows + part.n_rows, n_kept + part.n_kept, part.stage
        wanted.join(part.wanted)
        progress(stage, n_rows, n_total, wanted.left_out)
    check_rows(files, n_rows, n_kept, wanted)
    codes = [
        np.split(numbers.take(), np.cumsum([len(lengths) for lengths in of_part])[:-1])
        for numbers, of_part in zip(ids, in_part, strict=True)
    ]
    if max(map(len, ids)) > np.iinfo(np.int32).max:
        raise InputError(f"{n_rows:,} rows have more than 2^31 - 1 ids")
    ranges = [
        ranges_of_equal_work(_indptr(len(numbers), *of_part), als.n_factors, engine.n_workers)
        for numbers, of_part in zip(ids, zip(codes, in_part, strict=True), strict=True)
    ]
    bounds = [np.array([begin for begin, _ in of_side], np.int64) for of_side in ranges]
    of_parts = ((folder, n, *numbers) for n, numbers in enumerate(zip(*codes, strict=True)))
    for n, _ in enumerate(engine.map(_cut_part, of_parts, engine.share(bounds), what="plays")):
        _read_file(folder, n).unlink(missing_ok=True)
        progress("cut plays", n + 1, len(parts), {})
    shape = len(ids[0]), len(ids[1])
    sides = [
        SideOnWorkers(
            engine, of_side, blocks_of(folder, side, of_side, n_others, len(parts), als.alpha, als.epsilon)
        )
        for side, of_side, n_others in zip(SIDES, ranges, shape[::-1], strict=True)
    ]
    facts = [list(side.blocks.map(facts_of, [None] * len(side.ranges), what="rows")) for side in sides]
    n_of_user, n_of_song = (np.concatenate([of_block[0] for of_block in of_side]) for of_side in facts)
    indptr = np.concatenate([[0], np.cumsum(n_of_user)])
    if not indptr[-1]:
        raise InputError(f"{files[0]} and what lies beside it hold no plays: every count is 0")
    return PlayBlocks(
        ids[0].ids(),
        ids[1].ids(),
        sides,
        indptr,
        n_of_song > 0,
        _identity(shape, indptr, facts[0]),
        n_rows,
        stage == "count plays",
        wanted.left_out,
    )


def _indptr(n: int, codes: Sequence[NDArray[np.int32]], lengths: Sequence[NDArray[np.int64]]) -> Any:
    """Return where rows would begin if no pair were in two parts: which says how much work they are."""
    n_of_row = np.zeros(n, np.int64)
    for rows, some in zip(codes, lengths, strict=True):  # a part has a row once
        n_of_row[rows] += some
    return np.concatenate([[0], np.cumsum(n_of_row)])


def _identity(
    shape: tuple[int, int], indptr: NDArray[np.int64], facts: Sequence[tuple[NDArray[np.int32], int, int]]
) -> dict[str, Any]:
    n_plays = int(indptr[-1])
    digest = zlib.crc32(indptr.astype(np.int32 if n_plays <= np.iinfo(np.int32).max else np.int64).data)
    n_bytes = [4 * int(lengths.sum(dtype=np.int64)) for lengths, _, _ in facts]
    digest = joined_crc32(zip((of_indices for _, of_indices, _ in facts), n_bytes, strict=True), digest)
    digest = joined_crc32(zip((of_data for _, _, of_data in facts), n_bytes, strict=True), digest)
    return {"shape": list(shape), "n_plays": n_plays, "crc32_of_plays": digest}


@dataclass(frozen=True)
class _PartFacts:
    """What the driver gets of a part: ids, and how many pairs each has in it, of users and of songs."""

    ids: tuple[Any, Any]
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]]
    n_rows: int
    n_kept: int
    stage: str
    wanted: PlayFilter


def _read_part(task: tuple[Path, int, Part], how: tuple[Columns, PlayFilter]) -> _PartFacts:
    """Add up a part of the plays, and keep it with its own numbers."""
    folder, number, part = task
    columns, wanted = how
    read = read_row_groups(part.file, part.groups, columns, replace(wanted))
    total = read.sums.total()
    users, songs = (of.table() for of in (read.sums.users, read.sums.songs))
    n_of_user = np.diff(total.indptr).astype(np.int64)
    n_of_song = np.bincount(total.indices, minlength=len(songs))
    rows = np.repeat(np.arange(len(users), dtype=np.int32), n_of_user)
    triplets = {"users": rows, "songs": total.indices.astype(np.int32, copy=False), "counts": total.data}
    _save(triplets, _read_file(folder, number))
    return _PartFacts(
        (users, songs), (n_of_user, n_of_song), read.n_rows, read.n_kept, read.stage, read.wanted
    )


def _cut_part(
    task: tuple[Path, int, NDArray[np.int32], NDArray[np.int32]], bounds: Sequence[NDArray[np.int64]]
) -> None:
    """Cut a part into blocks of users and of songs, with the numbers that these have in all plays."""
    from safetensors.numpy import load_file

    folder, number, *codes = task
    if cut_file(folder, number).exists():  # by a worker that was lost before it could say so
        return
    triplets = load_file(_read_file(folder, number))
    users, songs = (of[triplets[side]] for of, side in zip(codes, SIDES, strict=True))
    cut = {}
    for side, starts, rows, others in zip(SIDES, bounds, (users, songs), (songs, users), strict=True):
        block = (np.searchsorted(starts, rows, side="right") - 1).astype(np.int32)
        order = np.argsort(block, kind="stable")
        cut[f"{side}.bounds"] = np.concatenate([[0], np.cumsum(np.bincount(block, minlength=len(starts)))])
        for what, values in zip(TRIPLET, (rows, others, triplets["counts"]), strict=True):
            cut[f"{side}.{what}"] = values[order]
    _save(cut, cut_file(folder, number))


def _save(tensors: Mapping[str, NDArray[Any]], file: Path) -> None:
    """Write tensors, whole or not at all: two workers may do so when one was taken for lost."""
    from safetensors.numpy import save_file

    partial = file.with_name(f"{file.name}.{os.getpid()}")
    save_file(dict(tensors), partial)
    partial.replace(file)


def _read_file(folder: Path, part: int) -> Path:
    return folder / f"read-{part:06}.safetensors"
