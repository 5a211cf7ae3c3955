"""How sure the figures of a table are: intervals, tests between rows, and what could have been seen.

Other users and other artists would have given other figures. The spread of a figure, or of the difference
of two rows on the same plays, is taken from resamples of both (:mod:`dcbmr.evaluation.resampling`). Their
percentiles are not used as they are, for two reasons that benchmarks/intervals.py shows:

- A resample draws the chance of a single play twice, with its user and with its artist, and so counts it
  three times over (Owen 2007). The part of each resample that neither its users nor its artists
  explain, ``rest = both - users - artists``, is that chance counted once, and so the variance is

      ``var(users) + var(artists) - var(rest)``

  which is what Cameron, Gelbach and Miller ("Robust inference with multiway clustering", Journal of Business
  & Economic Statistics 29, 2011) have in closed form; at least each of the first two.
- Few artists, or artists of very unequal weight, vary less among themselves than they would around their
  true mean, and how much is known badly. Their variance is therefore divided by what it is short of in the
  mean where artists vary and nothing else does, and the interval is that of Student's t with the degrees
  of freedom of such a variance (Satterthwaite 1946; Bell and McCaffrey, Survey Methodology 28, 2002). The
  same is done for users.

Seeds of a row are averaged play by play, and the variance of their mean is added, with its own degrees of
freedom. The seeds of two rows are taken for independent. A row of one seed says nothing of others. Folds are
one resampling, in which a user brings the lists of all folds along; that the models of two folds learned from
much the same songs cannot be seen in them (Bengio and Grandvalet, JMLR 5, 2004).

The t-test of paired differences is the one that keeps its level best among those used for rankings (Urbano,
Lima and Hanjalic, SIGIR 2019; Smucker, Allan and Carterette, CIKM 2007, found little between it, a
randomization and a bootstrap), there with queries alone, here with artists beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.evaluation.play_figures import PlayFigures
from dcbmr.evaluation.resampling import cells_of, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """Where the figure of a row, or the difference of two, lies.

    Attributes
    ----------
    estimate : float
        As measured: the mean over the lists, and over the seeds.
    standard_error : float
        Its standard deviation over other users and artists, and other seeds where there are several.
    df : float
        Degrees of freedom that the standard error is known with.
    low, high : float
        The interval over all that varies: users, artists where they are known, and seeds where there are
        several. NaN where there is one user or one artist only.
    low_of_users, high_of_users : float
        The interval over users alone: what other users would give for the same songs and seeds.
    """

    estimate: float
    standard_error: float
    df: float
    low: float
    high: float
    low_of_users: float
    high_of_users: float


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same plays.

    Attributes
    ----------
    first, second : str
        Their names; the first has the higher figure.
    difference : Interval
        The first minus the second.
    p : float
        Chance of a difference at least as large, either way, between rows that are equal: the level at which
        the interval just reaches zero.
    p_holm : float
        The same, corrected for the number of comparisons (:func:`holm`).
    detectable : float
        Difference that this data would have shown with a chance of ``power``, whatever the other rows: at the
        level over the number of comparisons.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_holm: float
    detectable: float


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What :func:`bootstrap` found.

    Attributes
    ----------
    intervals : dict of str to Interval
        For each row, in the order given.
    comparisons : list of Comparison
        Of each pair of rows, those of the best row first.
    confidence : float
        That of the intervals; one minus it is the level of the tests.
    n_users, n_artists, n_plays : int
        What was drawn from. Without artists ``n_artists`` is 0, and all intervals are over users alone.
    notes : tuple of str
        What a reader should be told.
    """

    intervals: dict[str, Interval]
    comparisons: list[Comparison]
    confidence: float
    n_users: int
    n_artists: int
    n_plays: int
    notes: tuple[str, ...] = field(default=())

    def words(self, candidates: Mapping[str, int] | None = None) -> str:
        """Say, a sentence a line, which rows are better than which and which are alike; then the notes.

        Parameters
        ----------
        candidates : mapping of str to int, optional
            A number for the candidates of each row, where they are not the same: of rows that were ranked
            among other ones it is said which figure is higher, and not that a row is better.
        """
        among = candidates or {}
        better: dict[tuple[str, str, bool], list[str]] = {}
        alike: dict[str, list[Comparison]] = {}
        for pair in self.comparisons:
            if pair.p_holm < 1 - self.confidence:
                alike_ranked = among.get(pair.first) == among.get(pair.second)
                key = (pair.first, _p_in_words(pair.p_holm), alike_ranked)
                better.setdefault(key, []).append(pair.second)
            elif not math.isnan(pair.p_holm):
                alike.setdefault(pair.first, []).append(pair)
        told = []
        for (first, p, alike_ranked), others in better.items():
            how = "is better" if alike_ranked else "has a higher figure"
            note = "" if alike_ranked else ", of other candidates: it need not be better"
            told.append(f"{first} {how} than {_listed(others, 'and')} ({p}){note}")
        for first, pairs in alike.items():
            others = [pair.second for pair in pairs]
            apart = f"{first} and {others[0]} cannot be told apart"
            if len(others) > 1:
                apart = f"{first} cannot be told from {_listed(others, 'or')}"
            detectable = max(pair.detectable for pair in pairs)
            if detectable >= 1:  # no metric is below 0 or above 1
                apart += " (there is too little data to show any difference)"
            elif detectable:
                apart += f" (a difference of {detectable:.2g} would have shown)"
            told.append(apart)
        return "\n".join([*told, *self.notes])


def _p_in_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _listed(names: list[str], last: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def bootstrap(
    figures: PlayFigures,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    power: float = 0.8,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    random_state: int = 0,
    progress: Progress | None = None,
) -> Uncertainty:
    """Tell how sure the figures of rows, and the differences between them, are.

    Parameters
    ----------
    figures : PlayFigures
        What each play adds to them. Without artists, intervals and tests are over users alone: narrower than
        the truth where artists matter.
    n_resamples : int
        Draws of users and artists. A standard error of 1,000 is exact to about 3 %.
    confidence : float
        Of the intervals, between 0 and 1.
    power : float
        Chance with which ``Comparison.detectable`` would have been found, between 0 and 1.
    bounds : tuple of float
        What no figure can be beyond, as (0, 1) for metrics of ranks. Intervals end there, and those of
        differences at how far two figures can be apart; standard errors and tests stay as they are.
    random_state : int
        Seed of the draws.
    progress : Progress, optional
        Told of the resamples; it may raise to stop.

    Returns
    -------
    Uncertainty

    Raises
    ------
    InputError
        An option out of range; no list without NaN.
    """
    if n_resamples < 2:
        raise InputError(f"n_resamples must be at least 2; got {n_resamples}")
    for name, share in (("confidence", confidence), ("power", power)):
        if not 0 < share < 1:
            raise InputError(f"{name} must lie between 0 and 1; got {share}")
    figures = _without_nan(figures)
    spread = _Spread(figures, n_resamples, random_state, progress)
    names = list(figures.rows)
    low, high = bounds
    intervals = {
        name: _within(spread.interval({row: 1}, confidence), low, high) for row, name in enumerate(names)
    }
    pairs = []
    for i, j in combinations(np.argsort(-spread.estimates, kind="stable"), 2):
        difference = spread.interval({i: 1, j: -1}, confidence)
        pairs.append((names[i], names[j], _within(difference, low - high, high - low), _p_of(difference)))
    corrected = holm([p for *_, p in pairs])
    level = (1 - confidence) / max(len(pairs), 1)
    comparisons = [
        Comparison(*pair, p_holm=float(p_holm), detectable=_detectable(pair[2], level, power))
        for pair, p_holm in zip(pairs, corrected, strict=True)
    ]
    return Uncertainty(
        intervals=intervals,
        comparisons=comparisons,
        confidence=confidence,
        n_users=spread.cells.n_users,
        n_artists=0 if figures.artists is None else spread.cells.n_artists,
        n_plays=figures.n_plays,
        notes=figures.notes + spread.notes(),
    )


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for their number, so that the chance of any false finding keeps its level.

    The smallest is multiplied by their number m, the next by m - 1, and so on; none gets smaller than one
    before it (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979). NaN stays, and does not count.
    """
    p = np.asarray(p_values, np.float64)
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * times))
    return corrected


def _within(interval: Interval, low: float, high: float) -> Interval:
    """Return the part of an interval where the figure can be: it covers the true one as often as the whole.

    Student's t is symmetric, and of few users or artists goes beyond what a metric can be.
    """
    ends = ("low", "high", "low_of_users", "high_of_users")
    return replace(interval, **{end: float(np.clip(getattr(interval, end), low, high)) for end in ends})


def _p_of(difference: Interval) -> float:
    if difference.standard_error == 0:
        return 1.0 if difference.estimate == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference.estimate) / difference.standard_error, difference.df))


def _detectable(difference: Interval, level: float, power: float) -> float:
    """Return (t of the level + t of the power) * standard error; (1.96 + 0.84) of it with many artists."""
    t = stats.t(difference.df)
    return float((t.ppf(1 - level / 2) + t.ppf(power)) * difference.standard_error)


def _without_nan(figures: PlayFigures) -> PlayFigures:
    """Leave out the lists in which a row has NaN, from all rows."""
    bad = np.zeros(figures.n_plays, bool)
    for values in figures.rows.values():
        bad |= np.isnan(values).reshape(-1, figures.n_plays).any(axis=0)
    if not bad.any():
        return figures
    of_play = figures.lists()
    bad_lists = np.unique(of_play[bad])
    kept = ~np.isin(of_play, bad_lists)
    if not kept.any():
        empty = [name for name, values in figures.rows.items() if np.isnan(values).all()]
        raise InputError(f"no list of a user has a figure in all rows{f': {empty} are NaN' if empty else ''}")
    note = f"{len(bad_lists):,} of {of_play.max() + 1:,} lists of users have no figure and are left out"
    return replace(
        figures,
        users=figures.users[kept],
        songs=figures.songs[kept],
        rows={name: values[..., kept] for name, values in figures.rows.items()},
        artists=None if figures.artists is None else figures.artists[kept],
        folds=None if figures.folds is None else figures.folds[kept],
        notes=(*figures.notes, note),
    )


class _Spread:
    """The variances of rows and of their differences, by resampling."""

    def __init__(
        self, figures: PlayFigures, n_resamples: int, random_state: int, progress: Progress | None
    ) -> None:
        self.cells = cells = cells_of(figures)
        self.estimates = cells.estimates
        self._over_artists = figures.artists is not None
        self._drawn = resample(cells, n_resamples=n_resamples, random_state=random_state, progress=progress)
        self._of_users = _Weights(np.bincount(cells.user, cells.lists).astype(np.float64))
        self._of_artists = _Weights(np.bincount(cells.artist, cells.lists).astype(np.float64))
        n_lists = cells.lists.sum()
        self._seeds = [np.atleast_2d(values).sum(axis=1) / n_lists for values in figures.rows.values()]

    def interval(self, signs: dict[int, int], confidence: float) -> Interval:
        """Return the interval of a sum of rows, each with its sign."""

        def of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(sum(sign * rows[row] for row, sign in signs.items()))

        estimate = float(of(self.estimates))
        users, artists, both = of(self._drawn.users), of(self._drawn.artists), of(self._drawn.both)
        rest = both - users - artists
        several = [self._seeds[row] for row in signs if len(self._seeds[row]) > 1]
        of_seeds = [(float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1.0) for seeds in several]
        of_users = (float(users.var()) / self._of_users.short, self._of_users.df)
        error_of_users, df_of_users = _pooled(of_users[0], [of_users])
        parts, variance = [of_users, *of_seeds], of_users[0]
        if self._over_artists:
            of_artists = (float(artists.var()) / self._of_artists.short, self._of_artists.df)
            both_ways = of_users[0] + of_artists[0] - float(rest.var())
            variance = float(np.max([both_ways, of_users[0], of_artists[0]]))
            parts.append(of_artists)
        error, df = _pooled(variance + sum(seeds for seeds, _ in of_seeds), parts)
        half = _half_width(error, df, confidence)
        half_of_users = _half_width(error_of_users, df_of_users, confidence)
        return Interval(
            estimate=estimate,
            standard_error=error,
            df=df,
            low=estimate - half,
            high=estimate + half,
            low_of_users=estimate - half_of_users,
            high_of_users=estimate + half_of_users,
        )

    def notes(self) -> tuple[str, ...]:
        """Say what cannot be said."""
        found = []
        if self.cells.n_users == 1:
            found.append("all plays are of one user: nothing can be said of others")
        if self._over_artists and self.cells.n_artists == 1:
            found.append("all held-out songs are of one artist: nothing can be said of songs of others")
        return tuple(found)


class _Weights:
    """How unequal users, or artists, weigh in a figure, and what that does to their resampled variance.

    With shares s that add up to one, the resamples of effects ``b`` that are independent and alike have the
    variance ``sum(s**2 * (b - sum(s * b))**2)``: a quadratic form ``b' Q b``. ``short`` is its mean over
    that of ``sum(s * b)``, which is ``trace(Q) / sum(s**2)``, and ``df = trace(Q)**2 / trace(Q @ Q)``, both
    written out in the sums of powers of s. Equal shares have ``1 - 1 / n`` and ``n - 1``.
    """

    def __init__(self, lists: NDArray[np.float64]) -> None:
        shares = lists / lists.sum()
        if len(shares) == 1:
            self.short = self.df = math.nan
            return
        s2, s3, s4, s5 = ((shares**power).sum() for power in (2, 3, 4, 5))
        trace = s2 - 2 * s3 + s2**2
        of_square = s4 - 4 * s5 + 4 * s2 * s4 + 2 * s3**2 - 4 * s2**2 * s3 + s2**4
        self.short = float(trace / s2)
        # Where one has nearly all, the terms of the square cancel to nothing.
        self.df = float(np.clip(trace**2 / of_square, 1, len(shares) - 1))


def _pooled(variance: float, parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard error and its degrees of freedom, after Welch and Satterthwaite.

    The parts are what the variance was made of, each with the degrees of freedom that it is known with.
    """
    if variance == 0:
        return 0.0, math.inf
    return math.sqrt(variance), float(variance**2 / sum(part**2 / df for part, df in parts))


def _half_width(error: float, df: float, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, df) * error) if error else 0.0
