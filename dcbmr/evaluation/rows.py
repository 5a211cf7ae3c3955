"""The rows of the table as they come about: models, baselines, chance; and what they say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.base.progress import Progress, under
from dcbmr.evaluation.baselines import (
    Shuffles,
    artists_as_tags,
    mean_song,
    nearest_songs,
    plays_of_alike,
    shuffled,
    vector_model,
)
from dcbmr.evaluation.candidates import (
    ScoredSongs,
    artist_names,
    artists_on_both_sides,
    numbered,
)
from dcbmr.evaluation.figures import BOUNDS, metric_name, play_figures
from dcbmr.evaluation.kept import Evaluation
from dcbmr.evaluation.scoring import evaluate_model, evaluate_upper_bound, plays_between, score
from dcbmr.evaluation.statistics import Comparison, Interval, bootstrap
from dcbmr.evaluation.table import FIGURES
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split
from dcbmr.plays.tags import SongTags
from dcbmr.ranking.chance import random_row
from dcbmr.ranking.lists import ListReport, evaluate_lists
from dcbmr.ranking.report import RankingReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack

BOUND, DRAWN, THEORY = "upper-bound", "random", "random (in theory)"
NEAREST, ARTIST, TAG, MEAN = "nearest-songs", "artist-plays", "tag-plays", "mean-song"
OTHER_ROWS = (BOUND, NEAREST, ARTIST, TAG, MEAN, DRAWN, THEORY)
SHUFFLED = " (shuffled)"
SURE_OF = ("map_at_k", "auc")
"""The metrics whose intervals stand in the table."""


class Table:
    """The rows as they come about: each ranks the same candidates, and ``finish`` says what they mean."""

    def __init__(
        self,
        split: Split,
        candidates: ScoredSongs,
        k: int,
        n_listed: int | None,
        n_threads: int | None,
        random_state: int,
        progress: Progress,
        engine: RayEngine | None,
    ) -> None:
        self.split, self.candidates, self.k, self.n_listed = split, candidates, k, n_listed
        self.n_threads, self.random_state, self.progress = n_threads, random_state, progress
        self.engine = engine
        self.predictions: dict[str, NDArray[np.float32]] = {}
        self.reports: dict[str, RankingReport] = {}
        self.shuffles: dict[str, Shuffles] = {}
        self._lists: dict[str, ListReport] = {}
        self._loss_and_seconds: dict[str, tuple[str | None, float]] = {}
        self._words: list[str] = []

    def _add(
        self, name: str, evaluate: Callable[..., RankingReport | None], began: float, loss: str | None = None
    ) -> bool:
        """Rank the candidates; False where there was nothing to rank them by."""
        report = evaluate(
            song_ids=self.candidates.song_ids,
            heldout=self.split.heldout,
            k=self.k,
            n_listed=self.n_listed,
            n_threads=self.n_threads,
            engine=self.engine,
            progress=under(self.progress, name),
        )
        if report is not None:
            if report.top is not None:
                self._lists[name] = evaluate_lists(report.top, self._listeners)
                report = replace(report, top=None)  # of many users it is large
            self.reports[name] = report
            self._loss_and_seconds[name] = (loss, perf_counter() - began)
        return report is not None

    @cached_property
    def _listeners(self) -> NDArray[np.int64]:
        """Listeners of each candidate, in the held-out plays."""
        song_ids, heldout = self.candidates.song_ids, self.split.heldout
        plays = plays_between(heldout, heldout.user_ids, song_ids)
        return np.bincount(plays.nonzero()[1], minlength=len(song_ids))

    def add_model(self, name: str, model: Model | Stack, features: FeatureStore) -> None:
        """Rank the candidates by what a model predicts of their audio."""
        began = perf_counter()
        songs = self.candidates.song_ids
        self.predictions[name] = model.predict_store(features, songs, progress=self.progress)
        self._add(name, partial(evaluate_model, model, self.predictions[name]), began, model.loss)

    def add_upper_bound(self, factors: Factors) -> None:
        """Rank them by factors of their own plays, for the users of the first row."""
        users = self.split.heldout.user_ids[next(iter(self.reports.values())).users].tolist()
        self._add(BOUND, partial(evaluate_upper_bound, factors, user_ids=users), perf_counter())

    def add_baselines(self, models: Mapping[str, Model | Stack], features: FeatureStore) -> None:
        """Rank them by the nearest songs, by plays of the artist, and by the mean song."""
        n_songs = len(self.candidates.song_ids)
        reads_vectors = vector_model(models.values())
        if reads_vectors is None:
            self._words.append(f"no model reads one vector a song: there is no row {NEAREST}")
        else:
            began = perf_counter()
            near = nearest_songs(reads_vectors, features, self.candidates.song_ids)
            self.add_factors(NEAREST, reads_vectors.factors, near, began)
        if self.split.artists is not None:
            self.add_plays_of_alike(ARTIST, artists_as_tags(self.split.artists), "an artist")
        first, began = next(iter(models.values())), perf_counter()
        self.add_factors(MEAN, first.factors, mean_song(first.factors, first.song_ids, n_songs), began)
        self._words.append(
            f"{MEAN} has all songs tie, and ties count against it: its mAP is the lowest there is"
        )

    def add_factors(
        self,
        name: str,
        factors: Factors,
        songs: NDArray[np.float32],
        began: float,
        excluded: PlayCounts | None = None,
    ) -> None:
        """Rank them by factors of users and of the candidates."""
        self._add(
            name,
            lambda **options: score(
                factors.user_ids, factors.user_factors, song_factors=songs, excluded=excluded, **options
            ),
            began,
        )

    def add_plays_of_alike(self, name: str, groups: SongTags, what: str) -> None:
        """Rank them by a user's plays of the same group; say so where no group is shared."""
        if not self._add(
            name,
            partial(plays_of_alike, groups, self.split.train, random_state=self.random_state),
            perf_counter(),
        ):
            self._words.append(f"no song scored shares {what} with a training song: there is no row {name}")

    def add_shuffles(self, models: Mapping[str, Model | Stack]) -> None:
        """Rank them by the predictions of other candidates, drawn at random."""
        for name, model in models.items():
            began = perf_counter()
            self.shuffles[name + SHUFFLED] = shuffled(
                model,
                self.predictions[name],
                self.candidates.song_ids,
                self.split.heldout,
                k=self.k,
                n_threads=self.n_threads,
                engine=self.engine,
                random_state=self.random_state,
                progress=under(self.progress, name + SHUFFLED),
            )
            self._loss_and_seconds[name + SHUFFLED] = (model.loss, perf_counter() - began)

    def finish(self, n_resamples: int) -> Evaluation:
        """Put the rows together, and say what they mean."""
        first = next(iter(self.reports.values()))
        luck = random_row(first, random_state=self.random_state)
        artists = artist_names(self.candidates.song_ids, self.split.artists)
        comparisons: list[Comparison] = []
        intervals: dict[str, dict[str, Interval]] = {}
        if n_resamples:
            intervals, comparisons = self._sureness(artists, n_resamples)
        means = {name: report.means() for name, report in self.reports.items()}
        for name, shuffles in self.shuffles.items():
            means[name] = {metric: float(drawn.mean()) for metric, drawn in shuffles.figures.items()}
        means |= {DRAWN: luck.means, THEORY: luck.expected}
        rows = [
            self._row(name, figures, luck.expected["map_at_k"], intervals.get(name, {}))
            for name, figures in means.items()
        ]
        self._words += [words for name in self.shuffles for words in self._of_shuffles(name, luck.expected)]
        self._words += filter(None, [artists_on_both_sides(self.split, self.candidates.song_ids)])
        settings = {"k": self.k, "random_state": self.random_state, "n_resamples": n_resamples}
        made = {name: getattr(self.split, name) for name in ("by", "fraction", "random_state")}
        return Evaluation(
            rows=rows,
            reports=self.reports,
            candidates=self.candidates,
            predictions=self.predictions,
            user_ids=self.split.heldout.user_ids,
            artists=artists,
            comparisons=comparisons,
            words=self._words,
            settings=settings | {"split": made},
        )

    def _row(
        self, name: str, means: Mapping[str, float], luck: float, intervals: Mapping[str, Interval]
    ) -> dict[str, Any]:
        first = next(iter(self.reports.values()))
        loss, seconds = self._loss_and_seconds.get(name, (None, None))
        figures = {metric_name(metric, self.k): _number(value) for metric, value in means.items()}
        of = {metric: figures.pop(metric_name(metric, self.k)) for metric in SURE_OF}
        row: dict[str, Any] = {"model": name, "loss": loss}
        row |= {metric_name(metric, self.k): figure for metric, figure in of.items()}
        row |= {
            "lift": means["map_at_k"] / luck,
            "n_users": self.reports[name].n_users if name in self.reports else first.n_users,
            "n_songs": first.n_songs,
            "seconds": seconds,
        }
        for metric in SURE_OF:
            ends = self._ends(name, metric, intervals.get(metric))
            row |= {f"{metric_name(metric, self.k)}_{end}": value for end, value in ends.items()}
        return row | figures | self._of_lists(name)

    def _of_lists(self, name: str) -> dict[str, float | None]:
        """Return the figures of a row's lists, None where it has none; nothing where none were asked for."""
        if self.n_listed is None:
            return {}
        lists = self._lists.get(name)
        return {f"{figure}_at_{self.n_listed}": getattr(lists, figure, None) for figure in FIGURES}

    def _ends(self, name: str, metric: str, interval: Interval | None) -> dict[str, float | None]:
        """Return the ends of the intervals of a row: over users and artists, and over users alone."""
        ends = ("low", "high", "low_of_users", "high_of_users")
        if name in self.shuffles:
            low, high = map(_number, self.shuffles[name].interval(metric))
            return dict(zip(ends, (low, high, None, None), strict=True))
        return {end: None if interval is None else _number(asdict(interval)[end]) for end in ends}

    def _sureness(
        self, artists: list[str] | None, n_resamples: int
    ) -> tuple[dict[str, dict[str, Interval]], list[Comparison]]:
        """Return the interval of each row and metric, and the tests between the rows that compete."""
        users = np.arange(len(self.split.heldout.user_ids))
        songs = np.arange(len(self.candidates.song_ids))
        by = None if artists is None else numbered(artists)
        intervals: dict[str, dict[str, Interval]] = {name: {} for name in self.reports}
        comparisons = []
        competing = {name: report for name, report in self.reports.items() if name not in (BOUND, MEAN)}
        others = {name: report for name, report in self.reports.items() if name in (BOUND, MEAN)}
        for metric in SURE_OF:
            if all(np.isnan(report.of_users(metric)).all() for report in self.reports.values()):
                continue  # everybody holds out every song
            for reports in filter(None, (competing, others)):
                found = bootstrap(
                    play_figures(reports, metric, users=users, songs=songs, artists=by),
                    n_resamples=n_resamples,
                    bounds=BOUNDS,
                    random_state=self.random_state,
                    progress=under(self.progress, f"resample {metric_name(metric, self.k)}"),
                )
                for name, interval in found.intervals.items():
                    intervals[name][metric] = interval
                if reports is competing and metric == SURE_OF[0]:
                    comparisons = found.comparisons
                    self._words = found.words().splitlines() + self._words
        return intervals, comparisons

    def _of_shuffles(self, name: str, expected: Mapping[str, float]) -> list[str]:
        """Say whether a model on shuffled audio is random, and whether the model itself is more than that."""
        shuffles, model = self.shuffles[name], name.removesuffix(SHUFFLED)
        (low, high), luck = shuffles.interval("map_at_k"), expected["map_at_k"]
        n_shuffles, figure = len(shuffles.figures["map_at_k"]), self.reports[model].map_at_k
        metric = metric_name("map_at_k", self.k)
        p = shuffles.p("map_at_k", figure)
        within = f"{metric} {low:.4f} to {high:.4f} over {n_shuffles} shuffles, {luck:.4f} in theory"
        return [
            f"{model} on shuffled audio is {'random' if low <= luck <= high else 'not random'}: {within}; "
            + (
                f"on its own audio it is better than that ({metric} {figure:.4f}, p = {p:.3f})"
                if p < 0.05
                else f"on its own audio it cannot be told from that ({metric} {figure:.4f}, p = {p:.2f})"
            )
        ]


def _number(value: float) -> float | None:
    """Return a figure for a row: None where there is none."""
    return None if math.isnan(value) else value
