"""What the tests of plays, tags and songs share: their files, and what they hold as a mapping."""

import bz2
import gzip

import pyarrow as pa


def as_dict(table):
    """Return the plays of each pair of user and song."""
    matrix = table.counts.tocoo()
    return {
        (table.user_ids[u], table.song_ids[s]): c
        for u, s, c in zip(matrix.row, matrix.col, matrix.data, strict=True)
    }


def write(path, text):
    """Write text, or bytes, as the ending of the path says, and return the path."""
    data = text.encode() if isinstance(text, str) else text
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    elif path.suffix == ".zst":
        data = pa.Codec("zstd").compress(data, asbytes=True)
    path.write_bytes(data)
    return path
