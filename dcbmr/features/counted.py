"""Words that are counted once: the counts of a store's songs stay with the open store.

Every model of words, fitted here or loaded, that is given the same store shares them, as long as it has the
same codebook. They are sparse: eight bytes for each codeword that a song has, which is at most a twentieth of
the song's MFCCs, and about a fortieth for half a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array, vstack

from dcbmr.base.progress import Progress
from dcbmr.contract.contract import SongFeatures
from dcbmr.features.bag_of_words import bag_of_words
from dcbmr.features.codebook import Codebook
from dcbmr.features.stored_kind import StoredKind, StoreFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence

# Bytes of counts that are kept with a store, of all codebooks together; what is more is counted again.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of songs, read-only, and the row of each song."""

    counts: csr_array
    row_of: dict[str, int]

    @property
    def n_bytes(self) -> int:
        """Memory that the counts take."""
        return sum(int(part.nbytes) for part in (self.counts.data, self.counts.indices, self.counts.indptr))

    def joined(self, song_ids: Sequence[str], counts: csr_array) -> Counted:
        """Return these and the counts of more songs."""
        both = vstack([self.counts, counts], format="csr") if self.row_of else counts
        for part in (both.data, both.indices, both.indptr):
            part.flags.writeable = False
        n = len(self.row_of)
        return Counted(both, self.row_of | {song: n + row for row, song in enumerate(song_ids)})

    def of(self, song_ids: Sequence[str]) -> csr_array:
        """Return the counts of songs, row by row: the ones held, where these are all of them in order."""
        rows = np.fromiter((self.row_of[song] for song in song_ids), np.int64, len(song_ids))
        if np.array_equal(rows, np.arange(self.counts.shape[0])):
            return self.counts
        return self.counts[rows]


def count_words(
    features: SongFeatures,
    codebook: Codebook,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> csr_array:
    """Count the words of every song; of a store's songs only those that were not counted before.

    Parameters
    ----------
    features : SongFeatures
        Songs of kind "mfcc".
    codebook : Codebook
    n_threads : int, optional
        None for every core.
    progress : Progress, optional
        Told how many songs are counted.

    Returns
    -------
    csr_array of shape (n_songs, n_words), float32
        Not to be written to.
    """
    if not isinstance(features, StoreFeatures):
        return bag_of_words(features, codebook, n_threads=n_threads, progress=progress)
    store: StoredKind = features.stored
    before: Counted = store.counted.get(codebook.digest) or Counted(csr_array((0, codebook.n_words)), {})
    new = [song for song in dict.fromkeys(features.song_ids) if song not in before.row_of]
    if not new:
        return before.of(features.song_ids)
    counts = bag_of_words(store.features(new), codebook, n_threads=n_threads, progress=progress)
    after = before.joined(new, counts)
    others = (other.n_bytes for digest, other in store.counted.items() if digest != codebook.digest)
    if after.n_bytes + sum(others) <= _MOST_BYTES:
        store.counted[codebook.digest] = after
    return after.of(features.song_ids)
