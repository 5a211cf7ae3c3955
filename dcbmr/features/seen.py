"""Which songs something was learned from: a digest of each id, eight bytes a song."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def digests(song_ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return a digest of each id, (n_songs,) uint64; ids of files with names that are no UTF-8 have one."""
    encoded = (song.encode("utf-8", "surrogatepass") for song in song_ids)
    return np.frombuffer(b"".join(blake2b(song, digest_size=8).digest() for song in encoded), "<u8")


def seen(song_ids: Sequence[str], learned_from: NDArray[np.uint64] | None) -> list[str]:
    """Return those of ``song_ids`` whose digests are in ``learned_from``; none where that is None."""
    if learned_from is None:
        return []
    return [song_ids[i] for i in np.flatnonzero(np.isin(digests(song_ids), learned_from)).tolist()]
