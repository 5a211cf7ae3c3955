"""Songs that sound alike, by their vectors alone: no plays, and no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.arrays import unit_rows
from dcbmr.base.progress import Progress
from dcbmr.base.spelling import look_up
from dcbmr.errors import InputError
from dcbmr.features.pipeline import FeaturePipeline, kinds_of_shape
from dcbmr.features.standardization import dense
from dcbmr.features.store import FeatureStore
from dcbmr.ranking.topk import TopSongs, top_songs


def similar_features(
    features: FeatureStore,
    kind: str,
    song_ids: Sequence[str],
    *,
    k: int = 10,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> TopSongs:
    """Return the songs of a store whose vectors are nearest to those of some songs, themselves left out.

    The score is the cosine of the vectors, as a model takes them (see :class:`dcbmr.FeaturePipeline`), after
    each dimension's mean over the songs of the store is taken off: no unit of a kind as it is stored counts
    more than another, and principal components keep their sizes.

    Parameters
    ----------
    features : FeatureStore
    kind : str
        A kind with one vector a song that the store has, or that can be made of what it has, such as
        "bow_pca" of MFCCs.
    song_ids : sequence of str
        Songs of the store.
    k : int
        Songs for each.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of what is made of frames; it may raise to stop.

    Returns
    -------
    TopSongs

    Raises
    ------
    InputError
        A kind of frames, or one that the store does not have; a song that it does not have; a song that is
        like the mean of all, so that nothing can be compared.
    """
    pipeline = FeaturePipeline(kind, n_threads=n_threads)
    stored = features[pipeline.source]
    if pipeline.source == kind and stored.shape != "vectors":
        raise InputError(
            f"songs of kind {kind!r} have frames, wanted one vector a song; {features.directory} has "
            f"{' and '.join(kinds_of_shape(features, 'vectors')) or 'no such kind'}"
        )
    row_of = {song: row for row, song in enumerate(stored.song_ids)}
    rows = np.array([look_up(song, row_of, "song") for song in song_ids], np.int64)
    made = pipeline.learn(features, stored.song_ids, progress=progress)
    vectors = _directions(dense(made.vectors()))
    for song, row in zip(song_ids, rows, strict=True):
        if not vectors[row].any():
            raise InputError(f"song {song!r} is like the mean of all songs: there is nothing to compare")
    itself = csr_array(
        (np.ones(len(rows), np.float32), (np.arange(len(rows)), rows)), shape=(len(rows), len(vectors))
    )
    found = top_songs(vectors[rows], vectors, k=k, excluded=itself, n_threads=n_threads)
    return TopSongs(found.songs, found.scores, stored.song_ids)


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length one, from the mean; those at the mean are zero."""
    return unit_rows(vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32))
