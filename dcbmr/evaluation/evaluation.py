"""Score models on held-out songs, beside the random row and the upper bound."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import in_columns, places
from dcbmr.base.progress import Progress, silent, under
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.leakage import refuse_leakage, refuse_pipeline_leakage
from dcbmr.models.stack import songs_in
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split
from dcbmr.ranking.metrics import RankingReport, evaluate_ranking, random_row
from dcbmr.recommendation.recommender import Ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack


_BOUND, _DRAWN, _THEORY = _OTHER_ROWS = ("upper-bound", "random", "random (in theory)")


@dataclass(frozen=True, eq=False)
class ScoredSongs:
    """The held-out songs that are scored, and those that are not.

    Attributes
    ----------
    song_ids : list of str
        Held-out songs with features.
    without_features : list of str
        Held-out songs that the store does not have.
    without_plays : list of str
        Songs of the store that are neither held out nor in training.
    """

    song_ids: list[str]
    without_features: list[str]
    without_plays: list[str]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate_models` found.

    Attributes
    ----------
    rows : list of dict
        One row a model, then "upper-bound" if asked for, then "random" (drawn once) and "random (in
        theory)": model, loss, map_at_``k``, auc, lift (the mAP over that of random scores), n_users,
        n_songs, seconds.
    reports : dict of str to RankingReport
        The full report of each model and of the upper bound.
    candidates : ScoredSongs
        Which songs were scored.
    predictions : dict of str to ndarray of shape (n_songs, width), float32
        What each model predicted for the songs of ``candidates``.
    """

    rows: list[dict[str, Any]]
    reports: dict[str, RankingReport]
    candidates: ScoredSongs
    predictions: dict[str, NDArray[np.float32]]

    def __repr__(self) -> str:
        first = next(iter(self.reports.values()))
        shown = ", ".join(f"{name!r}: {report.map_at_k:.4f}" for name, report in self.reports.items())
        return f"Evaluation(map_at_{first.k}={{{shown}}}, n_users={first.n_users}, n_songs={first.n_songs})"

    def table(self) -> str:
        """Return the rows as a text table: names to the left, figures to the right, five decimals."""
        cells = [list(self.rows[0]), *([_cell(value) for value in row.values()] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        numeric = [any(isinstance(row[name], int | float) for row in self.rows) for name in self.rows[0]]
        lines = (
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in cells
        )
        return "\n".join(lines)


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:.5f}" if isinstance(value, float) else str(value)


def evaluate_models(
    models: Mapping[str, Model | Stack],
    split: Split,
    features: FeatureStore,
    *,
    k: int = 500,
    upper_bound: Factors | None = None,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate models on the held-out songs of a split, all on the same songs.

    Parameters
    ----------
    models : mapping of str to Model or Stack
        The models by the names that they shall have in the table.
    split : Split
        The held-out songs and their plays.
    features : FeatureStore
        Held-out songs that it lacks are not scored.
    k : int
        Cut-off of the mean average precision.
    upper_bound : Factors, optional
        Factors of all plays; see :func:`evaluate_upper_bound`. Scored on the first model's users.
    n_threads : int, optional
        Threads; every core by default.
    random_state : int
        Seed of the random row.
    progress : Progress, optional
        Told of the users of each model, under the model's name.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        A model's factors, codebook or PCA have seen held-out songs; no held-out song has features; no user
        is left; a model has the name of another row.
    """
    if not models:
        raise InputError("there is no model to evaluate")
    for name in _OTHER_ROWS:
        if name in models:
            raise InputError(f"a model cannot be called {name!r}: another row of the table is")
    for name, model in models.items():
        refuse_leakage(model.factors, split.heldout_songs, name)
        for pipeline in model.pipelines:
            refuse_pipeline_leakage(pipeline, split.heldout_songs, name)
        model.check_store(features)
    candidates = candidate_songs(
        split.heldout_songs, songs_in(models.values(), features), split.train.song_ids
    )
    if upper_bound is not None:
        _check_upper_bound(upper_bound, candidates.song_ids)
    figures: list[tuple[str, str | None, float, float, float | None]] = []
    reports: dict[str, RankingReport] = {}
    predictions: dict[str, NDArray[np.float32]] = {}

    def run(name: str, loss: str | None, evaluate: Callable[..., RankingReport], began: float) -> None:
        reports[name] = report = evaluate(
            song_ids=candidates.song_ids,
            heldout=split.heldout,
            k=k,
            n_threads=n_threads,
            progress=under(progress or silent, name),
        )
        figures.append((name, loss, report.map_at_k, report.auc, perf_counter() - began))

    for name, model in models.items():
        began = perf_counter()
        predictions[name] = model.predict_store(features, candidates.song_ids)
        run(name, model.loss, partial(evaluate_model, model, predictions[name]), began)
    first = next(iter(reports.values()))
    if upper_bound is not None:
        ids = next(iter(models.values())).user_ids
        scored = [ids[row] for row in first.users]
        run(_BOUND, None, partial(evaluate_upper_bound, upper_bound, user_ids=scored), perf_counter())
    luck = random_row(first, random_state=random_state)
    figures.append((_DRAWN, None, luck.map_at_k, luck.auc, None))
    figures.append((_THEORY, None, luck.expected_map_at_k, luck.expected_auc, None))
    rows = [
        {
            "model": name,
            "loss": loss,
            f"map_at_{k}": map_at_k,
            "auc": auc,
            "lift": map_at_k / luck.expected_map_at_k,
            "n_users": reports.get(name, first).n_users,
            "n_songs": first.n_songs,
            "seconds": seconds,
        }
        for name, loss, map_at_k, auc, seconds in figures
    ]
    return Evaluation(rows, reports, candidates, predictions)


def candidate_songs(
    heldout_songs: Sequence[str], features: Collection[str], training_songs: Collection[str] = ()
) -> ScoredSongs:
    """Match the held-out songs with those that have features; InputError when none has."""
    have = set(features)
    scored = [song for song in heldout_songs if song in have]
    if not scored:
        raise InputError(
            f"none of the {len(heldout_songs)} held-out songs has features; held out are "
            f"{list(heldout_songs)[:3]}, features have {list(features)[:3]}"
        )
    return ScoredSongs(
        song_ids=scored,
        without_features=[song for song in heldout_songs if song not in have],
        without_plays=sorted(have - set(heldout_songs) - set(training_songs)),
    )


def score(
    user_ids: Ids,
    user_factors: NDArray[np.float32],
    song_ids: Sequence[str],
    song_factors: NDArray[np.float32],
    heldout: PlayCounts,
    *,
    k: int = 500,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Evaluate factors whose users and candidates are named; see :func:`dcbmr.evaluate_ranking`.

    Users of ``heldout`` without factors count as users without training plays. Rows of the report are
    those of ``user_ids``, with the unknown users behind them.

    Parameters
    ----------
    user_ids : sequence of str
        Names of the rows of ``user_factors``.
    user_factors : ndarray of shape (n_users, width), float32
    song_ids : sequence of str
        Names of the rows of ``song_factors``: the candidates.
    song_factors : ndarray of shape (n_candidates, width), float32
    heldout : PlayCounts
        Plays of the candidates; plays of other songs are not looked at.
    """
    row = {user: i for i, user in enumerate(user_ids)}
    for user in heldout.user_ids:
        row.setdefault(user, len(row))
    rows = np.array([row[user] for user in heldout.user_ids], np.int64)
    columns = places(heldout.song_ids, {song: i for i, song in enumerate(song_ids)})
    of_candidates = in_columns(heldout.counts, columns, len(song_ids)).tocoo()
    user, song = of_candidates.coords
    matrix = csr_array((of_candidates.data, (rows[user], song)), shape=(len(row), len(song_ids)))
    unknown = np.zeros((len(row) - len(user_ids), user_factors.shape[1]), np.float32)
    users = np.concatenate([user_factors, unknown]) if len(unknown) else user_factors
    return evaluate_ranking(users, song_factors, matrix, k=k, n_threads=n_threads, progress=progress)


def evaluate_model(
    model: Model | Stack,
    predicted: NDArray[np.float32],
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    k: int = 500,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidates for every user by what a model predicted from their audio.

    Parameters
    ----------
    model : Model
        It must not have seen the candidates: :func:`dcbmr.models.leakage.refuse_leakage`.
    predicted : ndarray of shape (n_candidates, width), float32
        Its predictions.
    song_ids : sequence of str
        The candidates, row by row.
    heldout : PlayCounts
        Their plays.
    """
    users = model.user_factors
    idle = np.diff(model.factors.counts.indptr) == 0
    if users[idle].any():
        # Metric learning gives a user without plays factors too; the means leave such users out.
        users = np.where(idle[:, None], np.float32(0), users)
    return score(
        model.user_ids, users, song_ids, predicted, heldout, k=k, n_threads=n_threads, progress=progress
    )


def evaluate_upper_bound(
    factors: Factors,
    song_ids: Sequence[str],
    heldout: PlayCounts,
    *,
    user_ids: Collection[str] | None = None,
    k: int = 500,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RankingReport:
    """Rank the candidates by factors that were learned from their plays: what audio cannot surpass.

    Parameters
    ----------
    factors : Factors
        Fitted on all plays, those of the candidates among them.
    song_ids : sequence of str
        The candidates. One that nobody played keeps zero factors.
    heldout : PlayCounts
        Their plays.
    user_ids : collection of str, optional
        Users to evaluate: those in a model's means, for a fair comparison. All by default.
    """
    _check_upper_bound(factors, song_ids)
    row = {song: i for i, song in enumerate(factors.song_ids)}
    song_factors = np.zeros((len(song_ids), factors.song_factors.shape[1]), np.float32)
    for i, song in enumerate(song_ids):
        if song in row:
            song_factors[i] = factors.song_factors[row[song]]
    users = factors.user_factors
    if user_ids is not None:
        wanted = set(user_ids)
        users = np.where(np.array([u in wanted for u in factors.user_ids])[:, None], users, np.float32(0))
    return score(
        factors.user_ids, users, song_ids, song_factors, heldout, k=k, n_threads=n_threads, progress=progress
    )


def _check_upper_bound(factors: Factors, song_ids: Sequence[str]) -> None:
    """Raise InputError when factors have not seen the plays of the songs to be scored."""
    seen = set(factors.song_ids[factors.has_plays]).intersection(song_ids)
    if len(seen) < len(song_ids) / 2:
        raise InputError(
            f"the upper bound needs factors of all plays, but these have plays of {len(seen)} of the "
            f"{len(song_ids)} songs to score only: factorize the plays before the split"
        )
