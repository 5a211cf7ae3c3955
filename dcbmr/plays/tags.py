"""Which songs have which tags, read from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import coo_array, csr_array

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.plays.columns import Columns


@dataclass(frozen=True, eq=False)
class SongTags:
    """Which songs have which tags.

    Attributes
    ----------
    song_ids : list of str
        Every song that has a tag.
    tags : list of str
    weights : csr_array of shape (n_songs, n_tags), float64
        Weight of the tag for the song: what the file says, or 1 a line, summed over lines.
    """

    song_ids: list[str]
    tags: list[str]
    weights: csr_array

    def __repr__(self) -> str:
        return f"SongTags(n_songs={len(self.song_ids)}, n_tags={len(self.tags)}, n_pairs={self.weights.nnz})"

    @classmethod
    def read(cls, path: str | Path, *, columns: Columns = None) -> Self:
        """Read lines of song, tag and, optionally, weight.

        Parameters
        ----------
        path : path
            TSV, CSV or semicolons, plain, ``.gz``, ``.zst`` or ``.bz2``, or Parquet. Columns that a first
            line calls by usual names (song_id, artistID, tag, weight, ...) may lie in any order; without a
            weight among them, every line weighs one. Without a header the columns are the first, the
            second and, if there is one, the third.
        columns : sequence of two or three, or a comma-separated str, optional
            The columns of song, tag and weight: names of a header, or numbers from 1.

        Raises
        ------
        InputError
            The columns are not understood, the file holds no tags, or a line is wrong; names the line.
        """
        from dcbmr.plays.columns import TAGS, as_number
        from dcbmr.plays.rows import read_rows

        path = Path(path)
        song_ids: dict[str, int] = {}
        tags: dict[str, int] = {}
        rows, tag_rows, values = [], [], []
        for number, (song, tag, weight) in read_rows(path, TAGS, columns):
            if not song or not tag:
                raise InputError(f"{path}, line {number}: the {'tag' if song else 'song'} is empty")
            value = 1.0 if weight is None else as_number(weight)
            if value is None or not (math.isfinite(value) and value >= 0):
                raise InputError(f"{path}, line {number}: the weight {weight!r} is not a number from 0 up")
            rows.append(song_ids.setdefault(song, len(song_ids)))
            tag_rows.append(tags.setdefault(tag, len(tags)))
            values.append(value)
        if not rows:
            raise InputError(f"{path} holds no tags; wanted lines of song, tag and, optionally, weight")
        shape = (len(song_ids), len(tags))
        weights = csr_array(coo_array((np.array(values), (rows, tag_rows)), shape=shape))
        weights.eliminate_zeros()
        return cls(list(song_ids), list(tags), weights)

    def most_popular(
        self, song_ids: Sequence[str], *, n_tags: int = 50, min_weight: float = 0.0
    ) -> tuple[list[str], list[str], NDArray[np.bool_]]:
        """Return the tags that most of ``song_ids`` have, and who has them.

        Parameters
        ----------
        song_ids : sequence of str
            Songs in hand. Those without any tag are left out: nobody has said that the tags do not fit.
        n_tags : int
            Tags wanted; fewer when there are fewer. Of equally popular tags the first by name comes first.
        min_weight : float
            A song has a tag when its weight is above 0 and at least this.

        Returns
        -------
        songs : list of str
            Those of ``song_ids`` that have a tag, in their order.
        tags : list of str
            By falling popularity.
        has_tag : ndarray of shape (len(songs), len(tags)), bool
        """
        if n_tags < 1:
            raise InputError(f"n_tags must be at least 1; got {n_tags}")
        held = self.weights.copy()
        held.data = (held.data > 0) & (held.data >= min_weight)
        held.eliminate_zeros()
        n_held = np.diff(held.indptr)
        row_of = {song: row for row, song in enumerate(self.song_ids)}
        songs = [song for song in song_ids if song in row_of and n_held[row_of[song]]]
        if not songs:
            raise InputError(
                f"none of the {len(self.song_ids):,} songs with tags (such as {self.song_ids[0]!r}) is among "
                f"the {len(song_ids):,} songs in hand (such as {next(iter(song_ids), '')!r})"
            )
        held = held[[row_of[song] for song in songs]]
        popularity = np.asarray(held.sum(axis=0)).ravel()
        ranked = sorted(np.flatnonzero(popularity), key=lambda t: (-popularity[t], self.tags[t]))[:n_tags]
        return songs, [self.tags[t] for t in ranked], held[:, ranked].toarray().astype(bool)
