"""What a model must surpass: scores that need no learning, and the model itself on shuffled audio.

All of them rank the same candidates for the same users as the models do. None has seen a held-out play.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from scipy.sparse import csr_array, hstack

from dcbmr.base.arrays import blocks, places, rows_of
from dcbmr.base.progress import Progress, silent
from dcbmr.evaluation.scoring import evaluate_model, score
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.stack import Stack
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.tags import SongTags
from dcbmr.ranking.report import RankingReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine

N_SHUFFLES = 20
_TIES = 1e-2  # of a play


@dataclass(frozen=True, eq=False)
class Shuffles:
    """The figures of a model on shuffled audio.

    Attributes
    ----------
    figures : dict of str to ndarray of shape (n_shuffles,), float64
        Means over the users, by metric, of each shuffle.
    """

    figures: dict[str, NDArray[np.float64]]

    def interval(self, metric: str, *, confidence: float = 0.95) -> tuple[float, float]:
        """Return where the mean over all shuffles that there are lies: Student's t over those drawn.

        It ends at 0 and 1, where metrics do.
        """
        drawn = self.figures[metric]
        half = stats.t.ppf((1 + confidence) / 2, len(drawn) - 1) * drawn.std(ddof=1) / math.sqrt(len(drawn))
        low, high = np.clip([drawn.mean() - half, drawn.mean() + half], 0, 1).tolist()
        return low, high

    def p(self, metric: str, figure: float) -> float:
        """Return the chance that a model that hears nothing reaches ``figure``: a permutation test.

        ``(1 + shuffles that reach it) / (1 + shuffles)``: Phipson and Smyth, "Permutation p-values should
        never be zero" (Statistical Applications in Genetics and Molecular Biology 9, 2010).
        """
        drawn = self.figures[metric]
        return float((1 + np.count_nonzero(drawn >= figure)) / (1 + len(drawn)))


def shuffled(
    model: Model | Stack,
    predicted: NDArray[np.float32],
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    k: int = 500,
    n_shuffles: int = N_SHUFFLES,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Shuffles:
    """Give each candidate the prediction of another, at random, and rank them, several times.

    What is left is what a model reaches without hearing: as much as random scores, if the evaluation is fair.
    One shuffle is one order of the songs for all users, and so varies far more than scores that are random
    for each user; the mean over shuffles is the same.

    Parameters
    ----------
    model : Model or Stack
    predicted : ndarray of shape (n_candidates, width), float32
        Its predictions.
    song_ids : sequence of str
        The candidates, row by row.
    heldout : PlayCounts
        Their plays.
    n_shuffles : int
        At least 2.
    """
    report = progress or silent
    rng = np.random.default_rng(random_state)
    drawn = []
    for number in range(n_shuffles):
        others = predicted[rng.permutation(len(predicted))]
        ranked = evaluate_model(model, others, song_ids, heldout, k=k, n_threads=n_threads, engine=engine)
        drawn.append(ranked.means())
        report("shuffle", number + 1, n_shuffles, {})
    return Shuffles({metric: np.array([means[metric] for means in drawn]) for metric in drawn[0]})


def plays_of_alike(
    groups: SongTags,
    train: PlayCounts,
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    k: int = 500,
    n_listed: int | None = None,
    n_threads: int | None = None,
    engine: RayEngine | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> RankingReport | None:
    """Rank the candidates by how often a user has played songs of the same artist, or of the same tags.

    The score is ``sum_g w(song, g) * sum_j plays(user, j) w(j, g)`` over groups g and training songs j, with
    weights that add up to one for each song: its artist, or its tags. Songs that tie are in one random order
    for all users: a group says nothing of the songs in it, and to rank a coarse baseline as low as ties can
    be would flatter the models. The users' plays of groups stay a sparse matrix; that of candidates and
    groups is held in memory, float32.

    Parameters
    ----------
    groups : SongTags
        The artist of each song (:func:`artists_as_tags`), or its tags.
    train : PlayCounts
        The plays to learn from.
    song_ids : sequence of str
        The candidates.
    heldout : PlayCounts
        Their plays.
    random_state : int
        Seed of the order of songs that tie.

    Returns
    -------
    RankingReport or None
        None where no candidate shares a group with a training song: nothing is known of any.
    """
    learned, asked = _shares(groups, train.song_ids), _shares(groups, song_ids)
    both = np.flatnonzero((learned.sum(axis=0) > 0) & (asked.sum(axis=0) > 0))
    if not len(both):
        return None
    plays = csr_array(train.counts @ learned[:, both])
    # One more column for the order of ties, by less than a play. So no row is empty but those of users
    # without training plays, who are left out as they are everywhere.
    has_plays = csr_array((np.diff(train.counts.indptr) > 0)[:, None])
    users = csr_array(hstack([plays, has_plays], dtype=np.float32))
    songs = np.zeros((len(song_ids), users.shape[1]), np.float32)
    songs[:, :-1] = asked[:, both].toarray()
    songs[:, -1] = _TIES * np.random.default_rng(random_state).permutation(len(songs)) / len(songs)
    return score(
        train.user_ids,
        users,
        song_ids,
        songs,
        heldout,
        k=k,
        n_listed=n_listed,
        n_threads=n_threads,
        engine=engine,
        progress=progress,
    )


def _shares(groups: SongTags, song_ids: Iterable[str]) -> csr_array:
    """Return the share of each group in each song, (n_songs, n_groups) float32; no group, no share."""
    row = places(song_ids, {song: i for i, song in enumerate(groups.song_ids)})
    known = np.flatnonzero(row >= 0)
    pick = csr_array((np.ones(len(known)), (known, row[known])), shape=(len(row), len(groups.song_ids)))
    weights = csr_array(pick @ groups.weights)
    total = np.asarray(weights.sum(axis=1))
    return csr_array(weights.multiply(1 / np.where(total > 0, total, 1)[:, None])).astype(np.float32)


def artists_as_tags(artists: Mapping[str, str]) -> SongTags:
    """Return the artist of each song as its one tag."""
    names = {artist: column for column, artist in enumerate(dict.fromkeys(artists.values()))}
    columns = [names[artist] for artist in artists.values()]
    weights = csr_array(
        (np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=(len(columns), len(names))
    )
    return SongTags(list(artists), list(names), weights)


def vector_model(models: Iterable[Model | Stack]) -> Model | None:
    """Return the first model, those of stacks among them, that reads one vector a song."""
    single = (one for model in models for one in (model.models if isinstance(model, Stack) else [model]))
    return next((model for model in single if model.spec.shape == "vectors"), None)


def nearest_songs(
    model: Model, features: FeatureStore, song_ids: Sequence[str], *, n_neighbours: int = 10
) -> NDArray[np.float32]:
    """Predict the mean factors of the training songs that sound most alike, (n_songs, n_factors).

    Alike is a high cosine of the vectors that ``model`` reads; of its regressor nothing is used.
    """
    learned, asked = (
        _unit(model.features_of(features, songs).vectors()) for songs in (model.song_ids, song_ids)
    )
    factors = model.factors.song_factors[rows_of(model.factors.song_ids, model.song_ids)]
    n_neighbours = min(n_neighbours, len(factors))
    sparse = not isinstance(learned, np.ndarray)
    found = np.empty((len(song_ids), factors.shape[1]), np.float32)
    for block in blocks(len(song_ids), max(1, 2**24 // len(factors))):
        cosine = asked[block] @ learned.T
        dense: NDArray[np.float32] = np.asarray(cosine.toarray() if sparse else cosine)
        nearest = np.argpartition(-dense, n_neighbours - 1, axis=1)[:, :n_neighbours]
        found[block] = factors[np.sort(nearest, axis=1)].mean(axis=1)
    return found


def _unit(vectors: Any) -> Any:
    """Return vectors (n_songs, n_dims), sparse or dense, at length one; those of zeros stay."""
    if not isinstance(vectors, np.ndarray):
        rows = csr_array(vectors)
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1), np.float64))
        return csr_array(rows.multiply(1 / np.maximum(length, 1e-12)[:, None])).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))


def mean_song(factors: Factors, training_songs: Sequence[str], n_songs: int) -> NDArray[np.float32]:
    """Predict the mean factors of the training songs for every candidate, (n_songs, n_factors): all tie."""
    rows = rows_of(factors.song_ids, training_songs)
    mean = factors.song_factors[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.tile(mean, (n_songs, 1))
