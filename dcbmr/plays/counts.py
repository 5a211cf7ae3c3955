"""Play counts: ids of users and songs, and the sparse matrix between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


COLUMNS = ("user", "song", "count")


@dataclass(frozen=True, eq=False)
class PlayCounts:
    """Who played what how often.

    Attributes
    ----------
    user_ids : ndarray of shape (n_users,), object
        Ids of the rows, as str.
    song_ids : ndarray of shape (n_songs,), object
        Ids of the columns, as str.
    counts : csr_array of shape (n_users, n_songs), float32
        Plays; every stored value is positive and finite, and indices are sorted.
    """

    user_ids: NDArray[np.object_]
    song_ids: NDArray[np.object_]
    counts: csr_array

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_ids", ids_array(self.user_ids, "user_ids"))
        object.__setattr__(self, "song_ids", ids_array(self.song_ids, "song_ids"))
        object.__setattr__(self, "counts", checked_counts(self.counts))
        shape = (len(self.user_ids), len(self.song_ids))
        if self.counts.shape != shape:
            raise InputError(f"counts has shape {self.counts.shape}, but there are {shape} user and song ids")

    def __repr__(self) -> str:
        n_users, n_songs = self.counts.shape
        return f"PlayCounts(n_users={n_users}, n_songs={n_songs}, n_pairs={self.counts.nnz})"

    @classmethod
    def read(cls, path: str | Path, *, columns: str | Sequence[str | int] | None = None) -> Self:
        """Read triplets from TSV or CSV (plain, ``.gz``, ``.zst``, ``.bz2``) or from Parquet.

        Parameters
        ----------
        path : path
            The file. Fields are separated by tabs, commas or semicolons; a first line whose count is no
            number is a header. Ids are strings. Counts of one user and song are summed; counts of zero
            are no plays.
        columns : sequence of three, or a comma-separated str, optional
            The columns of user, song and count: names of a header, or numbers from 1. Without it, columns
            named user, song and count where there are such, and else the first three.

        Raises
        ------
        InputError
            For a file that holds no such triplets; names the file, and the line of a wrong count.
        """
        from dcbmr.plays.readers import read_triplets

        users, songs, counts = read_triplets(Path(path), columns)
        return cls(ids_array(users, "user_ids"), ids_array(songs, "song_ids"), counts)

    def write_parquet(self, path: str | Path) -> None:
        """Write the triplets as columns user, song and count; rows and columns without plays are left out."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        matrix = self.counts.tocoo()

        def ids(names: NDArray[np.object_], codes: NDArray[Any]) -> Any:
            numbers: Any = pa.array(codes.astype(np.int32))
            return pa.DictionaryArray.from_arrays(numbers, pa.array(names.tolist(), type=pa.string()))

        columns = [ids(self.user_ids, matrix.row), ids(self.song_ids, matrix.col), pa.array(matrix.data)]
        pq.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True))), path, compression="zstd")

    def keep_songs(self, keep: NDArray[np.bool_]) -> PlayCounts:
        """Return the plays of the songs of a mask (n_songs,), without users who then have none."""
        counts = self.counts[:, np.flatnonzero(keep)]
        played = np.diff(counts.indptr) > 0
        return PlayCounts(self.user_ids[played], self.song_ids[keep], counts[np.flatnonzero(played)])


def ids_array(ids: Sequence[str] | NDArray[Any], name: str) -> NDArray[np.object_]:
    """Return ids as an object array of distinct str."""
    array = np.empty(len(ids), dtype=object)
    array[:] = [str(i) for i in ids]
    if len(set(array)) != len(array):
        raise InputError(f"{name} holds an id twice")
    return array


def checked_counts(counts: Any) -> csr_array:
    """Return counts as canonical float32 CSR without stored zeros, after checking the values."""
    matrix = csr_array(counts)
    for what, wrong in (
        ("NaN or infinite", ~np.isfinite(matrix.data)),
        ("negative", matrix.data < 0),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
            raise InputError(
                f"counts[{row}, {matrix.indices[at]}] is {matrix.data[at]}: {what} counts are not plays"
            )
    if matrix.dtype != np.float32 or not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.astype(np.float32)  # a copy: the caller's matrix is left alone
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        if not np.isfinite(matrix.data).all():
            raise InputError("counts, summed over duplicates, exceed what float32 holds (3.4e38)")
    return matrix
