"""Trials of models on artists that are held out: who is ahead, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.arrays import rows_of
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.models.candidates import Candidate
from dcbmr.models.model import with_artist_mean
from dcbmr.ranking.chance import expected_random_ap
from dcbmr.ranking.report import evaluate_ranking

Predicted = Mapping[str, NDArray[np.float32]]  # "songs", and "users" of a model that has its own
K = 500  # mAP at
ARTIST_WEIGHTS = (0.5, 1.0)
LARGEST_MEAN = 4
_MOST_USERS = 20_000  # that judge a fold
_CLEARLY = 2.0  # standard errors
_FEW_ARTISTS = 10  # by whom nobody is surely better


@dataclass(frozen=True, eq=False)
class Score:
    """How a fold's songs were ranked.

    Attributes
    ----------
    artists : ndarray of shape (n_artists,), int64
        Those held out, as numbers.
    gains : ndarray of shape (n_artists,), float64
        What the songs of each add to mAP, which is their sum.
    auc : float
    """

    artists: NDArray[np.int64]
    gains: NDArray[np.float64]
    auc: float


class Fold:
    """Songs that are held out, by whole artists, and the factors of all others.

    The users are found anew by their plays of the other songs, whose factors stay as they are: plays of the
    songs held out take no part in what ranks these.

    Attributes
    ----------
    songs : list of str
    factors : Factors
        Without these songs.
    chance : float
        The mAP that random scores have in expectation.
    """

    def __init__(
        self,
        factors: Factors,
        songs: list[str],
        groups: NDArray[np.int64],
        *,
        n_threads: int | None,
        random_state: int,
    ) -> None:
        self.songs, self._n_threads = songs, n_threads
        self._artists, self._groups = np.unique(groups, return_inverse=True)
        rows = rows_of(factors.song_ids, songs)
        kept = np.ones(len(factors.song_ids), bool)
        kept[rows] = False
        without = replace(
            factors,
            song_factors=factors.song_factors[kept],
            song_ids=factors.song_ids[kept],
            counts=csr_array(factors.counts[:, kept]),
            heldout_songs=(*factors.heldout_songs, *songs),
        )
        users = without.fold_in_users(without.counts, n_threads=n_threads)
        self.factors = replace(without, user_factors=users)
        plays = csr_array(factors.counts[:, rows])
        judging = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(without.counts.indptr) > 0))
        if not len(judging):
            raise InputError(
                f"nobody who played one of the {len(songs)} songs held out played any other: there is "
                "nothing to choose by; name a regressor"
            )
        rng = np.random.default_rng(random_state)
        self._users = np.sort(rng.permutation(judging)[:_MOST_USERS])
        self._plays = csr_array(plays[self._users])
        self.chance = float(expected_random_ap(np.diff(self._plays.indptr), len(songs), K).mean())

    def judge(self, predicted: Predicted, artist_weight: float = 0.0) -> Score:
        """Rank the songs by what was predicted of them, for the factors' users or a model's own."""
        users = predicted.get("users", self.factors.user_factors)[self._users]
        songs = with_artist_mean(predicted["songs"], self._groups, artist_weight)
        report = evaluate_ranking(users, songs, self._plays, k=K, n_threads=self._n_threads)
        of = self._groups[report.ranks.songs]
        gains = np.bincount(of, report.of_plays("map_at_k"), minlength=len(self._artists))
        return Score(self._artists, gains / report.n_users, report.auc)


@dataclass(eq=False)
class Trial:
    """What came of a candidate, fold after fold.

    Attributes
    ----------
    place : int
        Of the candidate among all.
    candidate : Candidate
    scores : list of Score
    predicted : list of mapping
        What it predicted of each fold's songs.
    seconds : list of float
        That each fit took.
    outcome : str
        Why it went no further; empty for who did.
    """

    place: int
    candidate: Candidate
    scores: list[Score] = field(default_factory=list)
    predicted: list[Predicted] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    outcome: str = ""

    def __str__(self) -> str:
        return str(self.candidate)


@dataclass(frozen=True, eq=False)
class Variant:
    """The mean of what some trials predict, of a song and of its artist's songs."""

    trials: tuple[Trial, ...]
    artist_weight: float
    scores: list[Score]

    def __str__(self) -> str:
        *first, last = map(str, self.trials)
        name = f"mean of {', '.join(first)} and {last}" if first else last
        return f"{name}, artist weight {self.artist_weight:g}" if self.artist_weight else name


def mean_map(scores: Sequence[Score]) -> float:
    """Return the mean of mAP over folds."""
    return float(np.mean([score.gains.sum() for score in scores]))


def ahead(ours: Sequence[Score], theirs: Sequence[Score]) -> tuple[float, float]:
    """Return by how much we are ahead in mAP on the folds that both have, and the standard error of that.

    The artists are what is drawn at random: mAP is a sum over them, and so is the difference. One that was
    held out in several folds counts once. Of a few artists there is no standard error: it is infinite.
    """
    both = list(zip(ours, theirs, strict=False))
    artists = np.concatenate([our.artists for our, _ in both])
    differences = np.concatenate([our.gains - their.gains for our, their in both]) / len(both)
    place = np.unique(artists, return_inverse=True)[1]
    parts = np.bincount(place, differences)
    n = len(parts)
    spread = n / (n - 1) * float(((parts - parts.mean()) ** 2).sum()) if n >= _FEW_ARTISTS else math.inf
    return float(parts.sum()), math.sqrt(spread)


def _n_artists(scores: Sequence[Score]) -> int:
    return len(set().union(*(score.artists for score in scores)))


def first_of(racing: Sequence[Trial]) -> Trial:
    """Return the trial that is ahead of all others."""
    return max(racing, key=lambda trial: mean_map(trial.scores))


def give_up_who_is_behind(racing: Sequence[Trial]) -> list[Trial]:
    """Return who is not clearly behind the first; of the others, ``outcome`` says so."""
    first = first_of(racing)
    for trial in racing:
        by, error = ahead(first.scores, trial.scores)
        if by > _CLEARLY * error:
            trial.outcome = f"given up: clearly behind {first}"
    return [trial for trial in racing if not trial.outcome]


def choose(
    racing: Sequence[Trial], folds: Sequence[Fold], *, by_artist: bool
) -> tuple[Variant, list[Variant]]:
    """Return what is chosen, the cheapest that nothing is surely better than, and what it was chosen from.

    Trials challenge one another in their order, then means of the best ones the winner, then parts of the
    artist's mean: each time a challenger has to be ahead by more than a standard error. A model with users of
    its own is in no mean: its scores are on another scale.
    """
    ranked = sorted(racing, key=lambda trial: -mean_map(trial.scores))
    alike = [trial for trial in ranked if "users" not in trial.predicted[0]]
    means = [tuple(alike[:size]) for size in range(2, 1 + min(LARGEST_MEAN, len(alike)))]

    def variant(trials: tuple[Trial, ...], weight: float = 0.0) -> Variant:
        scores = [fold.judge(_mean(trials, number), weight) for number, fold in enumerate(folds)]
        return Variant(trials, weight, scores)

    tried = [Variant((trial,), 0.0, trial.scores) for trial in racing] + [variant(one) for one in means]
    chosen = reduce(_winner, tried)
    if by_artist:
        weighted = [variant(chosen.trials, weight) for weight in ARTIST_WEIGHTS]
        tried, chosen = [*tried, *weighted], reduce(_winner, weighted, chosen)
    return chosen, tried


def _winner(champion: Variant, challenger: Variant) -> Variant:
    by, error = ahead(challenger.scores, champion.scores)
    return challenger if by > error else champion


def _mean(trials: Sequence[Trial], fold: int) -> Predicted:
    if len(trials) == 1:
        return trials[0].predicted[fold]
    return {"songs": np.mean([trial.predicted[fold]["songs"] for trial in trials], axis=0, dtype=np.float32)}


def table(
    trials: Sequence[Trial], others: Sequence[Variant], chosen: Variant, chance: float
) -> list[dict[str, Any]]:
    """Return a row for random scores, each trial, and each variant that is none of these."""
    n_folds = len(chosen.scores)
    rows = [_row("random, in theory", [], chosen) | {"map": chance, "auc": 0.5, "folds": n_folds}]
    for trial in trials:
        seconds = float(np.mean(trial.seconds)) if trial.seconds else None
        is_part = trial in chosen.trials and str(trial) != str(chosen)
        outcome = "part of what is chosen" if is_part else trial.outcome
        rows.append(_row(str(trial), trial.scores, chosen) | {"seconds_a_fit": seconds, "outcome": outcome})
    known = {row["model"] for row in rows}
    rows += [_row(str(other), other.scores, chosen) for other in others if str(other) not in known]
    for row in rows:
        if row["model"] == str(chosen):
            row |= {"behind": None, "standard_error": None, "outcome": "chosen"}
    return rows


def _row(name: str, scores: Sequence[Score], chosen: Variant) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "map": None, "auc": None, "behind": None, "standard_error": None}
    if scores:
        behind, error = ahead(chosen.scores, scores)
        auc = float(np.mean([score.auc for score in scores]))
        row |= {"map": mean_map(scores), "auc": auc, "behind": behind}
        row["standard_error"] = error if math.isfinite(error) else None
    return row | {"folds": len(scores), "seconds_a_fit": None, "outcome": ""}


def why(chosen: Variant, others: Sequence[Variant], chance: float, *, by_artist: bool) -> str:
    """Say in words what is chosen, how good it is, and how far from the best of the others by themselves."""
    figure, n = mean_map(chosen.scores), _n_artists(chosen.scores)
    words = (
        f"{chosen}: mAP@{K} {figure:.4f} on {n:,} {'artists' if by_artist else 'songs'} held out in turn "
        f"(random scores {chance:.4f})"
    )
    alone = [other for other in others if len(other.trials) == 1 and not other.artist_weight]
    rivals = [other for other in alone if str(other) != str(chosen)]
    if rivals:
        rival = max(rivals, key=lambda other: mean_map(other.scores))
        by, error = ahead(chosen.scores, rival.scores)
        how = "better than" if by > 0 else "worse, and no more than chance makes it, than"
        sure = f" (standard error {error:.4f})" if math.isfinite(error) else ""
        words += f"; {abs(by):.4f} {how} {rival}{sure}"
    if n < _FEW_ARTISTS:
        words += "; by so few nothing dearer is surely better, so the cheapest is taken"
    if figure <= chance:
        words += "; no better than chance: these features may not tell what these listeners like"
    if not by_artist:
        words += (
            "; no artist is known, so it was chosen by songs whose artists may have been heard: to rank new "
            "artists, give a table of songs and artists"
        )
    return words
