"""Plays that are larger than a machine's memory: blocks of rows, which workers hold."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array, csr_array

from dcbmr.base.needs import Sizes
from dcbmr.base.tensors import lay_out
from dcbmr.factorization.factors import Factors, saving
from dcbmr.factorization.half_sweep import int32_indices
from dcbmr.factorization.sides import SideOnWorkers
from dcbmr.plays.confidence import surplus
from dcbmr.plays.counts import checked_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray


SIDES = ("users", "songs")
TRIPLET = ("rows", "others", "counts")


@dataclass(frozen=True)
class PlayBlock:
    """The plays of a range of rows, read where they are asked for; what travels says only where they lie."""

    folder: Path
    side: str
    number: int
    n_parts: int
    begin: int
    shape: tuple[int, int]
    alpha: float
    epsilon: float

    def counts(self) -> csr_array:
        """Return the plays, (n_rows, n_others) float32."""
        from safetensors import safe_open

        pieces = [(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))]
        for part in range(self.n_parts):
            with safe_open(cut_file(self.folder, part), framework="np") as file:
                begin, end = file.get_tensor(f"{self.side}.bounds")[self.number : self.number + 2].tolist()
                if begin < end:  # a slice of nothing at the end is refused
                    pieces.append(tuple(file.get_slice(f"{self.side}.{what}")[begin:end] for what in TRIPLET))
        rows, others, counts = (np.concatenate(piece) for piece in zip(*pieces, strict=True))
        total = csr_array(coo_array((counts, (rows - self.begin, others)), shape=self.shape))
        return checked_counts(total)

    @cached_property
    def surplus(self) -> csr_array:
        """Confidence above one, (n_rows, n_others) float32."""
        return int32_indices(surplus(self.counts(), alpha=self.alpha, epsilon=self.epsilon))


@dataclass(frozen=True)
class PlayBlocks:
    """Plays that workers hold.

    Attributes
    ----------
    user_ids, song_ids : list of str
    sides : sequence of SideOnWorkers
        Users and songs.
    indptr : ndarray of shape (n_users + 1,), int64
        Where the pairs of each user begin.
    has_plays : ndarray of shape (n_songs,), bool
    identity : dict
        What tells plays apart, as :func:`dcbmr.factorization.checkpoint.identity_of_plays`.
    n_rows, each_is_a_play, left_out
        Of the files: how many rows; whether they have no counts; how many do not count, by reason.
    """

    user_ids: list[str]
    song_ids: list[str]
    sides: Sequence[SideOnWorkers]
    indptr: NDArray[np.int64]
    has_plays: NDArray[np.bool_]
    identity: dict[str, Any]
    n_rows: int
    each_is_a_play: bool
    left_out: Mapping[str, int]

    def sizes(self, n_factors: int) -> Sizes:
        """Return how large they are, with factors."""
        return Sizes(len(self.user_ids), len(self.song_ids), int(self.indptr[-1]), n_factors)

    def save(self, factors: Factors, directory: Path, *, overwrite: bool = False) -> None:
        """Write the factors of these plays as :meth:`Factors.save` does; the plays by the workers."""
        n_pairs = (int(self.indptr[-1]),)
        here: dict[str, NDArray[Any]] = {
            "counts.indptr": self.indptr,
            "user_factors": factors.user_factors,
            "song_factors": factors.song_factors,
        }
        later = {"counts.data": (np.float32, n_pairs), "counts.indices": (np.int32, n_pairs)}
        with saving(factors, directory, overwrite=overwrite) as file:
            at = lay_out(file, here, later)
            of_users = self.sides[0]
            places = [4 * int(self.indptr[begin]) for begin, _ in of_users.ranges]
            tasks = [
                (file.absolute(), at["counts.data"] + place, at["counts.indices"] + place) for place in places
            ]
            for _ in of_users.blocks.map(_write_counts, tasks, what="rows"):
                pass


def blocks_of(
    folder: Path,
    side: str,
    ranges: Sequence[tuple[int, int]],
    n_others: int,
    n_parts: int,
    alpha: float,
    epsilon: float,
) -> Iterator[PlayBlock]:
    """Yield the blocks of a side, cut at these rows."""
    for number, (begin, end) in enumerate(ranges):
        shape = end - begin, n_others
        yield PlayBlock(folder, side, number, n_parts, begin, shape, alpha, epsilon)


def facts_of(block: PlayBlock, task: None) -> tuple[NDArray[np.int32], int, int]:
    """Return the length of each row, and the CRC-32 of the indices and of the surplus."""
    plays = block.surplus
    return (
        np.diff(plays.indptr).astype(np.int32),
        zlib.crc32(plays.indices.data),
        zlib.crc32(plays.data.data),
    )


def _write_counts(block: PlayBlock, task: tuple[Path, int, int]) -> None:
    """Write the counts of a block, and then their columns, to their places in a file."""
    file, at_data, at_indices = task
    counts = block.counts()
    with file.open("r+b") as out:
        for at, values in ((at_data, counts.data), (at_indices, counts.indices.astype(np.int32, copy=False))):
            out.seek(at)
            out.write(values.data)
        out.flush()
        os.fsync(out.fileno())


def cut_file(folder: Path, part: int) -> Path:
    return folder / f"cut-{part:06}.safetensors"
