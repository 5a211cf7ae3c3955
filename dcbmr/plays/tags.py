"""Which songs have which tags, read from a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from scipy.sparse import coo_array, csr_array

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
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

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read lines of song, tag and, optionally, weight from TSV or CSV (plain, .gz, .zst, .bz2).

        A first line that holds the names song and tag, in any column, is a header, as is one whose third
        field is no number; weight is then the column of that name. Without a header the columns are the
        first, the second and, if there is one, the third.

        Raises
        ------
        InputError
            The file holds no tags, or a line is wrong; names the line.
        """
        path = Path(path)
        song_ids: dict[str, int] = {}
        tags: dict[str, int] = {}
        rows, columns, values = [], [], []
        for song, tag, weight in _lines(path):
            rows.append(song_ids.setdefault(song, len(song_ids)))
            columns.append(tags.setdefault(tag, len(tags)))
            values.append(weight)
        if not rows:
            raise InputError(f"{path} holds no tags; wanted lines of song, tag and, optionally, weight")
        shape = (len(song_ids), len(tags))
        weights = csr_array(coo_array((np.array(values), (rows, columns)), shape=shape))
        weights.eliminate_zeros()
        return cls(list(song_ids), list(tags), weights)

    def most_popular(
        self, song_ids: Sequence[str], n_tags: int = 50, min_weight: float = 0.0
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


def _lines(path: Path) -> Iterator[tuple[str, str, float]]:
    """Yield song, tag and weight of every line."""
    import pyarrow as pa

    if not path.is_file():
        raise InputError(f"{path} {'is no file' if path.exists() else 'does not exist'}")
    with pa.input_stream(str(path), compression="detect") as stream:
        text = io.TextIOWrapper(cast(Any, stream), "utf-8-sig", newline="")
        try:
            yield from _parsed(path, text)
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise InputError(f"{path} cannot be read as text in UTF-8: {error}") from error


def _parsed(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[str, str, float]]:
    first = text.readline()
    delimiter = next((d for d in "\t,;" if d in first), "\t")

    def source() -> Iterator[str]:
        yield first
        yield from text

    if delimiter == "\t":
        reader = csv.reader(source(), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(source(), delimiter=delimiter)
    song_at, tag_at, weight_at = 0, 1, 2
    for fields in reader:
        if not fields:
            continue
        if reader.line_num == 1:
            names = [name.strip().lower() for name in fields]
            if "song" in names and "tag" in names:
                song_at, tag_at = names.index("song"), names.index("tag")
                weight_at = names.index("weight") if "weight" in names else len(names)
                continue
            if len(fields) > 2 and _number(fields[2]) is None:
                continue
        if len(fields) <= max(song_at, tag_at) or not fields[song_at] or not fields[tag_at]:
            raise InputError(
                f"{path}, line {reader.line_num}: wanted song, tag and, optionally, weight, separated by "
                f"tabs, commas or semicolons; got {delimiter.join(fields)!r}"
            )
        weight = 1.0 if weight_at >= len(fields) else _number(fields[weight_at])
        if weight is None or not (math.isfinite(weight) and weight >= 0):
            raise InputError(
                f"{path}, line {reader.line_num}: the weight {fields[weight_at]!r} is not a number from 0 up"
            )
        yield fields[song_at], fields[tag_at], weight


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
