"""Tags of songs as vectors, which a regressor can learn from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import blocks
from dcbmr.base.directory import check_writable
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.plays.tags import SongTags

_BLOCK_SONGS = 4096


def tag_vectors(tags: SongTags, *, n_dims: int = 512) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Yield ids and vectors of some songs at a time, (n, n_dims) float32, of length one.

    A tag adds the logarithm of 1 + its weight to one dimension, or takes it off: which one, and whether, a
    digest of its name says (feature hashing: Weinberger and others, ICML 2009), whatever its case. So songs
    that are tagged later get vectors that go with these, without any list of tags to keep; of two tags that
    meet in one dimension, the signs keep the expected inner product what it was.

    Parameters
    ----------
    tags : SongTags
    n_dims : int
        More keep more tags apart.

    Raises
    ------
    InputError
        ``n_dims`` is below 1.
    """
    if n_dims < 1:
        raise InputError(f"n_dims must be at least 1; got {n_dims}")
    digests = np.array([_digest(tag) for tag in tags.tags], np.uint64)
    sign = np.where(digests >> np.uint64(63), 1.0, -1.0)
    places = (digests % np.uint64(n_dims)).astype(np.int64)
    to_dims = csr_array((sign, (np.arange(len(sign)), places)), shape=(len(sign), n_dims))
    logs = csr_array(tags.weights, copy=True)
    logs.data = np.log1p(logs.data)
    for rows in blocks(len(tags.song_ids), _BLOCK_SONGS):
        vectors = (logs[rows] @ to_dims).toarray()
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, length, out=vectors, where=length > 0)
        yield tags.song_ids[rows], vectors.astype(np.float32)


def _digest(tag: str) -> int:
    name = " ".join(tag.casefold().split())
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def write_tag_vectors(
    tags: SongTags, path: Path | str, *, n_dims: int = 512, overwrite: bool = False
) -> None:
    """Write the vectors as Parquet, for :func:`dcbmr.bring_vectors`: columns song and vector.

    Raises
    ------
    InputError
        The file exists and is not to be replaced, or is not called .parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(f"{path}: tags are written as Parquet; call it {path.with_suffix('.parquet').name}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; give another file, or --overwrite to replace it")
    check_writable(path)
    parts = tag_vectors(tags, n_dims=n_dims)
    schema = pa.schema([("song", pa.string()), ("vector", pa.list_(pa.float32(), n_dims))])
    beside = path.with_name(f".{path.name}.partial")
    try:
        with pq.ParquetWriter(beside, schema) as file:
            for songs, vectors in parts:
                values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), n_dims)
                file.write_table(pa.Table.from_arrays([pa.array(songs), values], schema=schema))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
