"""Choose a model among what is installed, by artists that are held out in turn, within a given time.

The training artists are dealt to five folds, few artists several times. Each fold in its turn is held out:
every candidate learns from the other folds and ranks the songs of this one for their listeners. Words,
components and scales are learned once a fold, of the songs that it leaves, for all candidates. After each
fold those are given up that are clearly behind, so that what is slow and no better costs one fit. Then means
of the best candidates' predictions are compared with them, and how much of a prediction shall be the mean
over the artist's songs: what is dearer has to be ahead by more than a standard error, since of many that are
alike one is ahead by chance. What is chosen is fitted on all training songs.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcbmr.base.progress import Progress, silent
from dcbmr.base.tensors import load_tensors, save_tensors
from dcbmr.errors import DcbmrError, InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.candidates import Candidate, candidates, pipelines_of
from dcbmr.models.leakage import refuse_leakage
from dcbmr.models.model import Model
from dcbmr.models.stack import Stack
from dcbmr.models.training import claim_checkpoint, known_artists, train, training_songs
from dcbmr.models.trials import (
    LARGEST_MEAN,
    Fold,
    K,
    Predicted,
    Trial,
    choose,
    first_of,
    give_up_who_is_behind,
    table,
    why,
)
from dcbmr.plays.groups import artist_groups, deal_groups
from dcbmr.plays.split import Split

N_FOLDS = 5
ENOUGH_ARTISTS = 50  # to be judged by; fewer are dealt to folds more than once
_SHARE = 1 / 3  # of the time that is left, for a candidate's first fit
_AT_LAST = N_FOLDS / (N_FOLDS - 1)  # fits of a fold that a fit on all songs takes


def train_auto(
    factors: Factors,
    features: FeatureStore,
    *,
    seconds: float = 600.0,
    split: Split | None = None,
    artists: Mapping[str, str] | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Model | Stack:
    """Choose among the installed regressors by artists held out in turn, and train what was chosen.

    The choice is by mAP@500 on the training songs alone, dealt to five folds by artist, more than once where
    there are fewer than 50: every candidate ranks the songs of artists that it has not heard. Where no artist
    is known the folds are of single songs, and what is measured is how well known artists are told.

    What comes out depends on ``random_state`` and, where ``seconds`` are too few to try everything on all
    folds, on the speed of the machine.

    Parameters
    ----------
    factors : Factors
        What factorize learned, as for :func:`dcbmr.train`.
    features : FeatureStore
    seconds : float
        For all of it, the last fit too. The first candidate always comes to its end, and one that reports no
        progress as it fits cannot be stopped: it may take longer.
    split : Split, optional
        Its held-out songs must not be learned from.
    artists : mapping of song id to artist, optional
        By default the split's, or those that the factors know.
    checkpoint : path, optional
        Directory where what each fit predicted is kept.
    resume : bool
        Continue from ``checkpoint``; the time that it took counts.
    n_threads : int or None
        None for every core.
    random_state : int
        Seed of the folds and of all that is trained.
    progress : Progress, optional
        Told of each fit, and by it; it may raise to stop.

    Returns
    -------
    Model or Stack
        Its ``config["choice"]`` says how it was chosen: ``why`` in words, and ``trials``, a row for each
        candidate and mean.

    Raises
    ------
    InputError
        Fewer than five artists, no time, held-out songs that were learned from, nothing among the features
        that an installed regressor takes.
    DcbmrError
        Every candidate failed: the first one's reason.
    """
    clock = _Clock(seconds, progress or silent)
    tried, not_tried = candidates(features)
    if not tried:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_tried.items())
        raise InputError(f"{features.directory} has nothing that an installed regressor takes: {reasons}")
    heldout = [*factors.heldout_songs, *(split.heldout_songs if split else ())]
    refuse_leakage(factors, heldout, "the factorization")
    songs = training_songs(factors, _songs_of_all(features, tried)).song_ids
    known = known_artists(artists, split, factors, songs)
    groups = artist_groups(songs, known)
    by_artist = groups is not None
    groups = np.arange(len(songs)) if groups is None else groups
    if (n_groups := int(groups.max()) + 1) < N_FOLDS:
        raise InputError(
            f"to choose, artists are held out in {N_FOLDS} turns, and there are {n_groups} "
            f"{'artists' if by_artist else 'songs'} with plays and features: name a regressor"
        )
    if checkpoint is not None:
        settings = {
            "candidates": list(map(str, tried)),
            "features": [features[kind].config.to_json() for kind in features],
            "n_songs": len(songs),
            "n_groups": n_groups,
            "n_users": len(factors.user_ids),
            "n_factors": factors.song_factors.shape[1],
            "random_state": random_state,
        }
        claim_checkpoint(Path(checkpoint), settings, resume=resume)
    how: dict[str, Any] = {"n_threads": n_threads, "random_state": random_state}

    def fits_on(number: int) -> _Fits:
        deal, part = divmod(number, N_FOLDS)
        rows = np.flatnonzero(deal_groups(groups, N_FOLDS, random_state=random_state + deal) == part)
        fold = Fold(factors, [songs[row] for row in rows], groups[rows], **how)
        return _Fits(fold, number, features, {**how, "split": split, "artists": known}, checkpoint)

    trials = [Trial(place, candidate) for place, candidate in enumerate(tried)]
    n_deals = max(1, -(-ENOUGH_ARTISTS // n_groups))
    racing, folds = _race(trials, fits_on, N_FOLDS * n_deals, clock)
    chosen, others = choose(racing, folds, by_artist=by_artist)
    pipeline_to = pipelines_of(features, songs, **how)
    models = [
        train(
            factors,
            features,
            regressor=trial.candidate.regressor,
            params=trial.candidate.params,
            pipeline=pipeline_to(trial.candidate.kinds),
            artist_weight=chosen.artist_weight,
            split=split,
            artists=known,
            progress=progress,
            **how,
        )
        for trial in chosen.trials
    ]
    model = models[0] if len(models) == 1 else Stack(models)
    chance = float(np.mean([fold.chance for fold in folds]))
    model.config["choice"] = {
        "why": why(chosen, others, chance, by_artist=by_artist),
        "metric": f"mAP@{K}",
        "held_out": "artists" if by_artist else "songs",
        "n_folds": len(folds),
        "seconds": seconds,
        "seconds_taken": round(clock.elapsed, 1),
        "random_state": random_state,
        "trials": table(trials, others, chosen, chance),
        "not_tried": not_tried,
    }
    return model


def _songs_of_all(features: FeatureStore, tried: Sequence[Candidate]) -> list[str]:
    """Return the songs that have what every candidate needs."""
    pipeline_to = pipelines_of(features, [], n_threads=None, random_state=0)
    kinds = dict.fromkeys(candidate.kinds for candidate in tried)
    first, *others = (pipeline_to(one).songs_in(features) for one in kinds)
    common = set(first).intersection(*others)
    return [song for song in first if song in common]


def _race(
    trials: Sequence[Trial], fits_on: Callable[[int], _Fits], most_folds: int, clock: _Clock
) -> tuple[list[Trial], list[Fold]]:
    """Try candidates fold after fold; return those that nobody is clearly ahead of, and the folds."""
    racing, folds, shared = list(trials), list[Fold](), 0.0
    while not folds or (len(folds) < most_folds and len(racing) > 1):
        going_on = _affordable(racing, shared, clock) if folds else racing
        if folds and len(going_on) == 1:
            break
        fits = fits_on(len(folds))
        if not _run_fold(fits, going_on, clock):
            break
        folds.append(fits.fold)
        shared = fits.shared
        for trial in racing:
            if trial not in going_on:
                trial.outcome = "given up: no time for a fit more"
        racing = give_up_who_is_behind([trial for trial in going_on if not trial.outcome])
    return [trial for trial in racing if not trial.outcome], folds


def _affordable(racing: Sequence[Trial], shared: float, clock: _Clock) -> list[Trial]:
    """Return who can have a fold more: all, or the first and those that are fast enough."""
    first = first_of(racing)
    left = sorted(racing, key=lambda trial: (trial is not first, trial.seconds[-1]))
    while len(left) > 1 and not clock.allows_a_fold_more([trial.seconds[-1] for trial in left], shared):
        left.pop()
    return [trial for trial in racing if trial in left]


class _OutOfTimeError(Exception):
    """A fit did not end in the time that it had."""


class _Clock:
    """The time that is left, and who asks how far the work is."""

    def __init__(self, seconds: float, progress: Progress) -> None:
        if not seconds > 0:
            raise InputError(f"seconds must be positive; got {seconds}")
        self._began, self._seconds = time.monotonic(), seconds
        self.progress = progress

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        return self._seconds - self.elapsed

    def count(self, seconds: float) -> None:
        """Count time that an interrupted run took."""
        self._began -= seconds

    def allows_a_fold_more(self, seconds: Sequence[float], shared: float) -> bool:
        """Say whether all may have one, and some be fitted on all songs then.

        ``seconds`` are what a fit took each, ``shared`` what came before them.
        """
        at_last = (shared + sum(sorted(seconds)[-LARGEST_MEAN:])) * _AT_LAST
        return self.left > shared + sum(seconds) + at_last

    def until(self, limit: float) -> Progress:
        """Return a progress that raises when so many seconds are over."""
        end = time.monotonic() + limit

        def report(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
            self.progress(stage, step, n_steps, figures)
            if time.monotonic() > end:
                raise _OutOfTimeError

        return report


class _Fits:
    """Fits on what a fold leaves; of a run that was interrupted, what is kept of them."""

    def __init__(
        self,
        fold: Fold,
        number: int,
        features: FeatureStore,
        how: Mapping[str, Any],
        checkpoint: Path | str | None,
    ) -> None:
        self.fold, self._number, self._features, self._how = fold, number, features, how
        self._checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.shared = 0.0  # seconds to learn words and the like, for whoever takes them
        songs = training_songs(fold.factors, features.song_ids).song_ids
        self._pipeline_to = pipelines_of(
            features, songs, n_threads=how["n_threads"], random_state=how["random_state"]
        )

    def fit(self, trial: Trial, clock: _Clock, limit: float) -> tuple[Predicted, float]:
        """Return what a candidate predicts of the fold's songs, and the seconds that its fit took."""
        name = f"fold{self._number}-{trial.place}"
        if self._checkpoint is not None and (self._checkpoint / f"{name}.json").exists():
            header, kept = load_tensors(self._checkpoint, name=name, format_version=1)
            clock.count(header["seconds"])
            return kept, header["seconds"]
        progress = clock.until(limit)
        pipeline = self._pipeline_to(trial.candidate.kinds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what matters is said of the fit on all songs
            began = clock.elapsed
            if not pipeline.is_fitted:
                songs = training_songs(self.fold.factors, pipeline.songs_in(self._features)).song_ids
                pipeline.learn(self._features, songs, progress=progress)
                self.shared += clock.elapsed - began
            began = clock.elapsed
            model = train(
                self.fold.factors,
                self._features,
                regressor=trial.candidate.regressor,
                params=trial.candidate.params,
                pipeline=pipeline,
                progress=progress,
                **self._how,
            )
            predicted = {"songs": model.predict_store(self._features, self.fold.songs)}
        if model.own_user_factors is not None:
            predicted["users"] = model.own_user_factors
        taken = clock.elapsed - began
        if self._checkpoint is not None:
            save_tensors(self._checkpoint, predicted, {"seconds": taken}, name=name, format_version=1)
        return predicted, taken


def _run_fold(fits: _Fits, racing: Sequence[Trial], clock: _Clock) -> bool:
    """Fit and judge all that race; False where the time did not last, and the fold counts for nothing.

    The first fold always counts, and its first fit always ends: who found no time there has lost.
    """
    is_first = not racing[0].scores
    found: list[tuple[Trial, Predicted, float]] = []
    too_slow: set[str] = set()
    failed: DcbmrError | None = None
    for step, trial in enumerate(racing, 1):
        limit = clock.left if not is_first else clock.left * _SHARE if found else math.inf
        regressor = trial.candidate.regressor
        try:
            if limit <= 0 or regressor in too_slow:
                raise _OutOfTimeError
            found.append((trial, *fits.fit(trial, clock, limit)))
        except _OutOfTimeError:
            if not is_first:
                return False
            trial.outcome = (
                f"too slow: {limit:.0f} s were left for a fit" if limit > 0 else "no time was left"
            )
            too_slow.add(regressor)
        except DcbmrError as error:
            trial.outcome, failed = f"failed: {error}", error
        clock.progress("choose", step, len(racing), {})
    if failed is not None and not found:
        raise failed
    for trial, predicted, taken in found:
        trial.predicted.append(predicted)
        trial.seconds.append(taken)
        trial.scores.append(fits.fold.judge(predicted))
    return True
