"""Yambda: listens of a streaming service, embeddings of the audio, and a split by time.

A. Ploshkin et al.: Yambda-5B, a large-scale multi-modal dataset for ranking and retrieval, RecSys 2025. The
form is the flat one of the card of the data set: listens.parquet with uid, timestamp (seconds since the
start, in steps of 5), item_id, is_organic, played_ratio_pct and track_length_seconds; embeddings.parquet with
item_id, embed and normalized_embed; artist_item_mapping.parquet with artist_id and item_id.

A track counts as listened to from half of it on (Listen+; TRACK_LISTEN_THRESHOLD of the benchmark's code).
The global split by time is that of the benchmark: what is played before second 26,000,000 less a day and
half an hour is to learn from, what is played in the last day to test on; what lies between takes no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from dcbmr.base.text import write_lines
from dcbmr.datasets.published import Made, PublishedDataset, SourceFiles, played_songs, plays_of
from dcbmr.errors import InputError
from dcbmr.plays.arrow import as_ids, is_parquet
from dcbmr.plays.sums import PlaySums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.plays.counts import PlayCounts

_LISTENED_PCT = 50
_TEST_FROM = 26_000_000 - 86_400  # seconds since the start
_TRAIN_UNTIL = _TEST_FROM - 1_800
_BLOCK_ROWS = 1 << 18
_BLOCK_VECTORS = 1 << 14


def convert(files: SourceFiles, made: Made) -> None:
    """Make plays to learn from, and plays of the last day of songs that are then new; artists; embeddings."""
    (listens,) = files.need("listens.parquet")
    learn, test = PlaySums(), PlaySums()
    n_rows = n_short = n_between = 0
    columns = ("uid", "item_id", "timestamp", "played_ratio_pct")
    for users, songs, times, ratios in _batches(files, listens, columns, _BLOCK_ROWS):
        listened = _numbers(ratios) >= _LISTENED_PCT
        moments = _numbers(times)
        n_rows += len(users)
        n_short += int(np.count_nonzero(~listened))
        early, late = moments < _TRAIN_UNTIL, moments >= _TEST_FROM
        n_between += int(np.count_nonzero(listened & ~early & ~late))
        for sums, keep in ((learn, listened & early), (test, listened & late)):
            mask = pa.array(keep)
            block = {"user": as_ids(users.filter(mask)), "song": as_ids(songs.filter(mask))}
            sums.add(block, np.ones(int(keep.sum()), np.float32))
        made.progress("count plays", n_rows, None, {})
    known, later = plays_of(learn), plays_of(test)
    if not known.counts.nnz:
        raise InputError(f"{listens}: none of {n_rows:,} listens is of half a track, before the last day")
    is_known = np.isin(later.song_ids.astype(str), known.song_ids[played_songs(known)].astype(str))
    _split(made, known, later, ~is_known)
    made.notes += [
        f"left out of {n_rows:,} listens: {n_short:,} of less than half a track, {n_between:,} in the half "
        f"hour before the last day, {later.counts[:, np.flatnonzero(is_known)].sum(dtype=float):,.0f} of the "
        "last day, of songs that were played before",
    ]
    artists = files.find("artist_item_mapping.parquet")
    if artists is None:
        made.lacks("artist_item_mapping.parquet", "no artists")
    else:
        made.add_songs(_artists(files, artists), columns="song\tartist")
    embeddings = files.find("embeddings.parquet")
    if embeddings is None:
        made.lacks("embeddings.parquet", "no vectors")
    else:
        made.add_vectors("embedding", _vectors(files, embeddings, set(made.song_ids)))


def _split(made: Made, known: PlayCounts, later: PlayCounts, is_new: NDArray[np.bool_]) -> None:
    """Write the plays, and as a list the songs to hold out: those that are first played on the last day."""
    if not is_new.any():
        made.add_plays(known)
        made.notes.append("no song is first played on the last day: the split by time has nothing to test on")
        return
    new = later.keep_songs(is_new)
    made.add_plays(known, new)
    path = made.folder / "heldout_songs.txt"
    write_lines(path, new.song_ids.tolist())
    made.parts["split"] = {"by": "list", "heldout": [path.name]}
    made.notes.append(
        f"{path.name}: {len(new.song_ids):,} songs, first played on the last day by {len(new.user_ids):,} "
        "users, to test on: the global split by time"
    )


def _batches(files: SourceFiles, path: Path, columns: Sequence[str], n_rows: int) -> Iterator[list[Any]]:
    if not is_parquet(path):
        raise files.another_version(path, "a file of Parquet", "another one")
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if missing := [name for name in columns if name not in schema.names]:
                raise files.another_version(
                    path, f"the columns {', '.join(columns)}", f"no {', '.join(missing)} in {schema.names}"
                )
            for name in ("item_id", "artist_id"):
                if name in columns and types.is_nested(schema.field(name).type):
                    raise files.another_version(path, "the flat form", "the sequential form, lists of a user")
            for batch in file.iter_batches(n_rows, columns=list(columns)):
                if any(batch.column(name).null_count for name in columns):
                    raise InputError(f"{path}: a value is missing in one of {', '.join(columns)}")
                yield [batch.column(name) for name in columns]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _numbers(column: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _artists(files: SourceFiles, path: Path) -> Iterator[tuple[str, str]]:
    for songs, artists in _batches(files, path, ("item_id", "artist_id"), _BLOCK_ROWS):
        ids = (column.cast(pa.string()).to_pylist() for column in (songs, artists))
        yield from zip(*ids, strict=True)


def _vectors(
    files: SourceFiles, path: Path, wanted: set[str]
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    for songs, vectors in _batches(files, path, ("item_id", "normalized_embed"), _BLOCK_VECTORS):
        ids = songs.cast(pa.string()).to_pylist()
        keep = [place for place, song in enumerate(ids) if song in wanted]
        if not keep:
            continue
        values = vectors.take(pa.array(keep)).flatten().to_numpy(zero_copy_only=False)
        if len(values) % len(keep):
            raise InputError(f"{path}: its vectors differ in length")
        yield [ids[place] for place in keep], values.astype(np.float32).reshape(len(keep), -1)


DATASET = PublishedDataset("Yambda", "https://huggingface.co/datasets/yandex/yambda", convert)
