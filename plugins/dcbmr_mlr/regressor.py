"""The regressor ``mlr``: recommends the songs whose sound is near that of a user's songs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from dcbmr import FactorTarget, FitRun, InputError, SongFeatures, load_tensors, save_tensors
from dcbmr_mlr.mlr import LOSSES, MLR

FORMAT_VERSION = 2


class MLRRegressor:
    """Metric learning to rank on a vector a song.

    The score of a song for a user is the mean of -distance to the songs that the user has played. With
    W = L'L that is, but for a constant a user, the inner product of ``(2 L x_i, -|L x_i|^2)``, which
    ``predict`` returns, and ``(mean over the user's songs of L x_j, 1)``, which ``user_factors`` returns.

    Which songs are relevant to which comes from usage: to a song are relevant the ``n_relevant`` others whose
    audience overlaps with its own most, by the cosine of the two sets of listeners; songs that share fewer
    than ``min_shared`` listeners never are.

    Parameters
    ----------
    C : float
        Weight of the slack against the trace of the metric; see :class:`MLR`.
    ranking_loss : {"auc", "map"}
        Loss of a ranking.
    diagonal : bool
        Learn one weight a dimension only.
    n_relevant : int
        Songs relevant to a song, at the most.
    min_shared : int
        Listeners that two songs must share to be relevant to each other.
    n_queries : int or None
        Songs drawn as queries; None for all of them. Time grows with it in proportion.
    tolerance : float
        See :class:`MLR`.
    max_iterations : int
        Cutting planes at the most.
    random_state : int
        Seed of the draw of queries.
    """

    def __init__(
        self,
        *,
        C: float = 300.0,
        ranking_loss: Literal["auc", "map"] = "auc",
        diagonal: bool = False,
        n_relevant: int = 20,
        min_shared: int = 2,
        n_queries: int | None = 1000,
        tolerance: float = 0.01,
        max_iterations: int = 100,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.ranking_loss = ranking_loss
        self.diagonal = diagonal
        self.n_relevant = n_relevant
        self.min_shared = min_shared
        self.n_queries = n_queries
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        if self.ranking_loss not in LOSSES:
            raise InputError(f"ranking_loss must be one of {', '.join(LOSSES)}; got {self.ranking_loss!r}")
        for name in ("n_relevant", "min_shared", "n_queries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1; got {value}")
        self._unfitted().check()

    def _unfitted(self) -> MLR:
        return MLR(
            loss=self.ranking_loss,
            C=self.C,
            diagonal=self.diagonal,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes a fit takes beside what it is given."""
        n_queries = min(n_songs if self.n_queries is None else self.n_queries, n_songs)
        # Scores of all songs for each query and their weights; planes, of which some 20 are kept at a time.
        plane = 8 * n_dims if self.diagonal else 8 * n_dims**2
        return 18 * n_queries * n_songs + 24 * n_songs * n_dims + 25 * plane + 24 * n_pairs

    def fit(self, songs: SongFeatures, target: FactorTarget, *, run: FitRun | None = None) -> Self:
        """Learn the metric from the songs' vectors and the audiences in ``target.surplus``."""
        run = run or FitRun()
        self.check()
        vectors = _vectors(songs)
        audiences = _ones(target.surplus)
        queries = self._draw(audiences)
        relevance = audience_relevance(
            audiences, queries, n_relevant=self.n_relevant, min_shared=self.min_shared
        )
        if relevance.nnz == 0:
            raise InputError(
                f"no two songs share {self.min_shared} listeners, so that none is relevant to another; "
                "lower min_shared, or give more plays"
            )
        self.mlr_ = self._unfitted().set_params(n_threads=run.n_threads)
        run.report("fit", 0, self.max_iterations, {})
        self.mlr_.fit(vectors, relevance, progress=run.report)
        self.embedding_ = self.mlr_.transform(vectors).astype(np.float32)
        return self

    def predict(self, songs: SongFeatures) -> NDArray[np.float32]:
        """Return ``(2 L x, -|L x|^2)`` for each song, (n_songs, rank + 1)."""
        embedding = self.mlr_.transform(_vectors(songs))
        lengths = np.einsum("nd,nd->n", embedding, embedding)
        return np.column_stack([2 * embedding, -lengths]).astype(np.float32)

    def user_factors(self, counts: csr_array) -> NDArray[np.float32]:
        """Return ``(mean L x, 1)`` over the songs each user has played, (n_users, rank + 1).

        Parameters
        ----------
        counts : csr_array of shape (n_users, n_songs)
            Plays; the columns are the songs given to fit. A user without plays gets zeros.
        """
        if counts.shape[1] != len(self.embedding_):
            raise InputError(
                f"counts has {counts.shape[1]} songs; the model was fitted on {len(self.embedding_)}"
            )
        played = _ones(counts)
        n_played = np.asarray(played.sum(axis=1)).ravel()
        sums = np.column_stack([played @ self.embedding_, n_played])
        return np.asarray(sums / np.maximum(n_played, 1)[:, None], np.float32)

    def save(self, directory: Path) -> None:
        """Write the metric and the training songs' places into an existing directory."""
        self.mlr_.save(directory)
        settings = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        tensors = {"embedding": self.embedding_}
        save_tensors(
            directory, tensors, {"settings": settings}, name="regressor", format_version=FORMAT_VERSION
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote."""
        header, tensors = load_tensors(directory, name="regressor", format_version=FORMAT_VERSION)
        model = cls(**header["settings"])
        model.mlr_ = MLR.load(directory)
        model.embedding_ = tensors["embedding"]
        return model

    def _draw(self, audiences: csr_array) -> NDArray[np.int64]:
        """Draw the queries out of the songs with enough listeners to have relevant ones."""
        heard = np.flatnonzero(np.diff(audiences.indptr) >= self.min_shared)
        if self.n_queries is not None and self.n_queries < len(heard):
            heard = np.random.default_rng(self.random_state).choice(heard, self.n_queries, replace=False)
            heard.sort()
        return heard


def audience_relevance(
    audiences: csr_array, queries: NDArray[np.int64], *, n_relevant: int, min_shared: int
) -> csr_array:
    """Return which songs are relevant to which by the overlap of their audiences.

    Parameters
    ----------
    audiences : csr_array of shape (n_songs, n_users)
        Not zero where the user has played the song.
    queries : ndarray of shape (n_queries,), int64
        Songs to find the relevant ones of; the rows of other songs stay empty.
    n_relevant : int
        The most relevant songs of a query. More are taken only when they tie with the last.
    min_shared : int
        Listeners that a relevant song shares with the query at least.

    Returns
    -------
    csr_array of shape (n_songs, n_songs), bool
    """
    heard = _ones(audiences)
    n_songs = heard.shape[0]
    n_listeners = np.maximum(np.diff(heard.indptr), 1)
    rows, columns = [], []
    for start in range(0, len(queries), 256):
        block = queries[start : start + 256]
        shared = (heard[block] @ heard.T).toarray()
        # The cosine but for the query's own size, which is the same for all that it is compared with.
        overlap = np.where(shared >= min_shared, shared / np.sqrt(n_listeners), 0.0)
        overlap[np.arange(len(block)), block] = 0.0
        kept = min(n_relevant, n_songs)
        least = np.partition(overlap, n_songs - kept, axis=1)[:, n_songs - kept]
        found = (overlap > 0) & (overlap >= least[:, None])
        query, song = np.nonzero(found)
        rows.append(block[query])
        columns.append(song)
    row, column = np.concatenate([*rows, []]), np.concatenate([*columns, []])
    entries = (np.ones(len(row), bool), (row.astype(np.int64), column.astype(np.int64)))
    return csr_array(entries, shape=(n_songs, n_songs))


def _ones(counts: csr_array) -> csr_array:
    """Return 1 where ``counts`` is not zero."""
    ones = counts.astype(np.float32)
    ones.eliminate_zeros()
    ones.data[:] = 1.0
    return ones


def _vectors(songs: SongFeatures) -> NDArray[np.float64]:
    vectors = songs.vectors()
    return np.asarray(vectors.toarray() if issparse(vectors) else vectors, np.float64)
