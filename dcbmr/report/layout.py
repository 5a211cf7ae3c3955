"""Songs in the plane: t-SNE of their usage patterns.

The nearest songs are those of our own kernel, exact, and found block by block, so that Ctrl-C is heard.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.progress import Progress, silent, under
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.ranking.topk import top_songs

_PERPLEXITY = 30.0
_EXAGGERATED, _ITERATIONS = 250, 500


def lay_out(
    vectors: NDArray[np.float32],
    *,
    random_state: int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Place songs in the plane by t-SNE, songs of like vectors near each other.

    Parameters
    ----------
    vectors : ndarray of shape (n_songs, width), float32
        Of unit length, as :attr:`dcbmr.Recommender.usage_vectors`: distances are those of cosines.
    random_state : int
        Seed; the same one gives the same places, whatever the number of threads.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of the iterations now and then; it may raise to stop.

    Returns
    -------
    ndarray of shape (n_songs, 2), float32

    Raises
    ------
    InputError
        Vectors that are not finite.
    """
    from openTSNE import TSNE
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.initialization import pca
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    report, n_threads = progress or silent, resolve_n_threads(n_threads)
    if not np.isfinite(vectors).all():
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        raise InputError(
            f"{len(bad)} of {len(vectors)} songs have factors that are not finite; first row {bad[0]}"
        )
    n_songs = len(vectors)
    rng = np.random.default_rng(random_state)
    # Too few to have neighbours, or nothing that tells them apart: any places are as good as others.
    if n_songs < 5 or not np.ptp(vectors, axis=0).any():
        return rng.standard_normal((n_songs, 2)).astype(np.float32)

    def step(n_done: int, *_: Any) -> None:
        report("map", n_done, _EXAGGERATED + _ITERATIONS, {})

    perplexity = min(_PERPLEXITY, (n_songs - 1) / 3)
    nearest = _nearest(vectors, int(3 * perplexity), n_threads, under(report, "map, nearest songs"))
    affinities = PerplexityBasedNN(
        perplexity=perplexity, knn_index=PrecomputedNeighbors(*nearest), n_jobs=n_threads
    )
    tsne = TSNE(
        early_exaggeration_iter=_EXAGGERATED,
        n_iter=_ITERATIONS,
        n_jobs=n_threads,
        random_state=random_state,
        callbacks=step,
        callbacks_every_iters=10,
    )
    start = pca(np.ascontiguousarray(vectors, np.float64), random_state=random_state)
    return np.asarray(tsne.fit(affinities=affinities, initialization=start), np.float32)


def _nearest(
    vectors: NDArray[np.float32], k: int, n_threads: int, report: Progress
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` songs nearest to each of the others, and how far they are, both (n_songs, k)."""
    top = top_songs(vectors, vectors, k=k + 1, n_threads=n_threads, progress=report)
    # Each finds itself, but among many of the same place.
    itself = top.songs == np.arange(len(vectors))[:, None]
    others = np.argsort(itself, axis=1, kind="stable")[:, :k]
    cosines = np.take_along_axis(top.scores, others, axis=1).astype(np.float64)
    return np.take_along_axis(top.songs, others, axis=1), np.sqrt(np.maximum(2 - 2 * cosines, 0))
