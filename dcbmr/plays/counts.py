"""Play counts: ids of users and songs, and the sparse matrix between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array, issparse

from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dcbmr.plays.columns import Columns
    from dcbmr.plays.readers import Triplets
    from dcbmr.plays.sources import Source
    from dcbmr.plays.times import Time


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
    def read(
        cls,
        path: Source,
        *,
        columns: Columns = None,
        since: Time | None = None,
        until: Time | None = None,
        min_seconds: float | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Read plays from TSV or CSV (plain, ``.gz``, ``.zst``, ``.bz2``) or from Parquet.

        A row is a user, a song and a count, or one play without a count, as services log them: under a
        header that has no count but a time, or nothing but user and song, and where ``columns`` names no
        count. Counts of one user and song are summed, block by block; counts of zero are no plays.

        Parameters
        ----------
        path : path, or sequence of paths
            A file, several, or a folder, all of whose files are read (not those whose name begins with a dot
            or an underscore); ``"-"`` is standard input. Fields are separated by tabs, commas or semicolons.
            Columns that a header calls by usual names (user_id, track, artistID, plays, weight, played_at,
            ms_played, ...) may lie in any order; without a header they are user, song and count. Ids are
            strings.
        columns : sequence of columns, or a comma-separated str, optional
            Those of user, song and count, in this order, or as ``role=column``, as are ``time=`` and
            ``seconds=``: names of a header, or numbers from 1. Without a count each row is one play.
        since, until : str, number, date or datetime, optional
            Only plays from this time on, and before this time: a date, a time of ISO 8601, or a number of
            seconds or milliseconds since 1970. Times without a zone are of UTC, here and in the files.
        min_seconds : float, optional
            Only plays of at least so many seconds. A column whose name says ms holds milliseconds.
        progress : Progress
            Called with the rows read so far (of stage "read counts" or, where each is one play, "count
            plays"), and how many do not count for which reason: a row without a time or without seconds,
            where these are asked for, is one of them.

        Raises
        ------
        InputError
            For a file that holds no plays, or whose columns are not understood, with the columns to
            name; for a column of counts that looks like times or, without a header, like identifiers; when
            no row counts. Names the file, and the line of a wrong count, time or number of seconds.
        """
        from dcbmr.plays.play_filter import PlayFilter
        from dcbmr.plays.readers import read_triplets

        wanted = PlayFilter(since, until, min_seconds)
        return cls._of(read_triplets(path, columns, wanted, progress))

    @classmethod
    def from_triplets(
        cls,
        users: Any,
        songs: Sequence[Any] | ArrayLike | None = None,
        counts: Sequence[float] | ArrayLike | None = None,
        *,
        columns: Columns = None,
    ) -> Self:
        """Take triplets from three arrays, or from one frame with three columns.

        Parameters
        ----------
        users : array-like of shape (n_triplets,), or frame
            Ids of the users, as str, or numbers, which become str. Or one frame that holds all three: of
            pandas, polars or pyarrow, a mapping of names to columns, or anything that offers its columns
            through Arrow's C stream. Its columns are recognised as those of a file.
        songs : array-like of shape (n_triplets,), optional
            Ids of the songs, in the same way.
        counts : array-like of shape (n_triplets,), optional
            Plays, from 0 up. Counts of one user and song are summed.
        columns : sequence of columns, or a comma-separated str, optional
            The columns of user, song and count in a frame; without a count each row is one play.

        Raises
        ------
        InputError
            As for :meth:`read`; for arrays of different lengths.
        """
        from dcbmr.plays.frames import triplets_of_arrays, triplets_of_frame

        if songs is None and counts is None:
            return cls._of(triplets_of_frame(users, columns))
        return cls._of(triplets_of_arrays(users, songs, counts, columns))

    @classmethod
    def from_matrix(
        cls,
        counts: Any,
        user_ids: Sequence[str] | NDArray[Any] | None = None,
        song_ids: Sequence[str] | NDArray[Any] | None = None,
    ) -> Self:
        """Take counts from a matrix of users and songs.

        Parameters
        ----------
        counts : sparse or dense matrix of shape (n_users, n_songs)
            Plays, from 0 up; of scipy.sparse in any format, or array-like.
        user_ids : sequence of n_users, optional
            Their numbers from 0, as str, if None.
        song_ids : sequence of n_songs, optional
            Likewise.

        Raises
        ------
        InputError
            For a matrix that has not two dimensions or not as many rows and columns as there are ids; for
            counts that are negative or not finite; for an id that is there twice.
        """
        matrix: Any = counts if issparse(counts) else np.asarray(counts)
        if matrix.ndim != 2:
            raise InputError(f"counts must have shape (n_users, n_songs); got {matrix.shape}")
        if not (np.issubdtype(matrix.dtype, np.number) or matrix.dtype == bool):
            raise InputError(f"counts must be numbers; got an array of {matrix.dtype}")
        ids: list[Any] = [
            [str(i) for i in range(n)] if given is None else given
            for n, given in zip(matrix.shape, (user_ids, song_ids), strict=True)
        ]
        return cls(ids[0], ids[1], matrix)

    @classmethod
    def _of(cls, triplets: Triplets) -> Self:
        users, songs, counts = triplets
        return cls(ids_array(users, "user_ids"), ids_array(songs, "song_ids"), counts)

    def write_parquet(self, path: str | Path) -> None:
        """Write the triplets as columns user, song and count; rows and columns without plays are left out."""
        import pyarrow.parquet as pq

        pq.write_table(triplet_table(self), path, compression="zstd")

    def keep_songs(self, keep: NDArray[np.bool_]) -> PlayCounts:
        """Return the plays of the songs of a mask (n_songs,), without users who then have none."""
        counts = self.counts[:, np.flatnonzero(keep)]
        played = np.diff(counts.indptr) > 0
        return PlayCounts(self.user_ids[played], self.song_ids[keep], counts[np.flatnonzero(played)])

    def most_played(self, *, n_songs: int | None = None, n_users: int | None = None) -> PlayCounts:
        """Return the plays of the songs with most listeners, and of the users with most of these songs.

        Of equals, the first are kept; None keeps all. Songs that none of the users played are left out.
        """
        kept = self
        if n_songs is not None and n_songs < len(self.song_ids):
            listeners = np.bincount(self.counts.indices, minlength=len(self.song_ids))
            kept = self.keep_songs(_largest(listeners, n_songs))
        if n_users is not None and n_users < len(kept.user_ids):
            users = np.flatnonzero(_largest(np.diff(kept.counts.indptr), n_users))
            kept = PlayCounts(kept.user_ids[users], kept.song_ids, kept.counts[users])
            kept = kept.keep_songs(np.bincount(kept.counts.indices, minlength=len(kept.song_ids)) > 0)
        return kept


def _largest(sizes: NDArray[Any], n: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(sizes), bool)
    chosen[np.argsort(-sizes, kind="stable")[:n]] = True
    return chosen


def triplet_table(plays: PlayCounts) -> Any:
    """Return the triplets as a table of Arrow: columns user, song and count."""
    import pyarrow as pa

    matrix = plays.counts.tocoo()

    def ids(names: NDArray[np.object_], codes: NDArray[Any]) -> Any:
        numbers: Any = pa.array(codes.astype(np.int32, copy=False))
        return pa.DictionaryArray.from_arrays(numbers, pa.array(names.tolist(), type=pa.string()))

    columns = [ids(plays.user_ids, matrix.row), ids(plays.song_ids, matrix.col), pa.array(matrix.data)]
    return pa.table(dict(zip(("user", "song", "count"), columns, strict=True)))


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
