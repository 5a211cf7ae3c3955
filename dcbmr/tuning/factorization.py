"""Settings of the factorization chosen by plays held out of it.

Each trial is a factorization of the training plays, judged by the recall of the plays held out, after sweeps
3, 9, ...; only the better third goes on from each. The first trial has the default settings, so that what is
chosen is no worse than they are on these plays, and the next ones have more and more regularization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcbmr.base.progress import Progress
from dcbmr.contract import registry
from dcbmr.evaluation.scoring import plays_between
from dcbmr.factorization.als import WeightedALS
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split, split_plays
from dcbmr.ranking.report import evaluate_ranking
from dcbmr.tuning.search import Tuned, Watch, check_budget, check_record, is_rung, require_optuna, search
from dcbmr.tuning.space import Space

# Not settings of a factorization here: the seed is everybody's, and threads change nothing.
NOT_OF_FACTORIZATION = ("n_threads", "random_state")
_MORE_REGULARIZATION = [{"regularization": value} for value in (10.0, 100.0, 1000.0)]

SPACE: dict[str, tuple[float, float]] = {
    "n_factors": (8, 128),
    "regularization": (0.1, 1e4),
    "alpha": (0.1, 40.0),
}
"""Where the settings are looked for, if nobody says otherwise: on a scale of logarithms."""


def tune_factorization(
    plays: PlayCounts | Split,
    *,
    space: Mapping[str, Sequence[Any]] | None = None,
    trials: int = 50,
    seconds: float | None = None,
    others: Mapping[str, Any] | None = None,
    k: int = 20,
    validation_fraction: float = 0.1,
    directory: str | Path | None = None,
    n_threads: int | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Tuned:
    """Choose settings of the factorization by the recall of plays of known songs that are held out.

    Parameters
    ----------
    plays : PlayCounts or Split
        Of a split the training plays alone.
    space : mapping of str to sequence, optional
        Settings of :class:`dcbmr.WeightedALS`, and where to look for each: two numbers, the lower first, are
        the ends of a range, on a scale of logarithms where the lower is above 0; anything else are values to
        choose among. By default 8 to 128 factors, lambda 0.1 to 10,000 and alpha 0.1 to 40.
    others : mapping, optional
        Settings that are given.
    trials : int
        How many settings are tried, those of interrupted runs among them.
    seconds : float, optional
        Begin no trial after as many, and end the one that runs.
    k : int
        Cut-off of the recall.
    validation_fraction : float
        Share of the plays that is held out.
    directory : path, optional
        Where the trials are kept, and their table, trials.tsv; one that is there already is continued.
    n_threads : int, optional
        None for every core.
    random_state : int
        Seed of the held-out plays, of the factorizations and of the search.
    progress : Progress, optional
        Told of each trial; it may raise to stop.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        Optuna is not installed; a setting that is none, or a range that is empty; a directory of other plays
        or settings.
    """
    require_optuna()
    table = plays.train if isinstance(plays, Split) else plays
    where = factorization_space(SPACE if space is None else space)
    check_budget(trials, seconds)
    fixed = {**(others or {}), "n_threads": n_threads, "random_state": random_state}
    objective = _HeldOutPlays(table, k, validation_fraction, fixed, random_state)
    record = {
        "space": where.for_json(),
        "others": dict(others or {}),
        "k": k,
        "validation_fraction": validation_fraction,
        "random_state": random_state,
        "n_pairs": int(table.counts.nnz),
        "shape": list(table.counts.shape),
    }
    check_record(directory, record)
    return search(
        objective,
        where,
        trials=trials,
        seconds=seconds,
        directory=directory,
        random_state=random_state,
        first=_MORE_REGULARIZATION,
        progress=progress,
    )


def factorization_space(given: Mapping[str, Sequence[Any]]) -> Space:
    """Return where settings of the factorization are looked for; InputError names one that is none."""
    known = {
        name: parameter
        for name, parameter in registry.parameters(WeightedALS).items()
        if name not in NOT_OF_FACTORIZATION
    }
    return Space(given, known, check=lambda settings: WeightedALS(**settings).settings())


class _HeldOutPlays:
    """The plays held out, and how a factorization does on them."""

    def __init__(
        self, plays: PlayCounts, k: int, fraction: float, fixed: Mapping[str, Any], random_state: int
    ) -> None:
        # A seed of its own: that of the split that the plays may come from would choose much the same.
        split = split_plays(plays, by="play", fraction=fraction, random_state=random_state + 1)
        self._train, self._k = split.train, k
        self._heldout = plays_between(split.heldout, self._train.user_ids, self._train.song_ids)
        self._fixed = fixed
        self.metric = f"recall@{k} of the plays held out"
        self.defaults: Mapping[str, Any] = WeightedALS(**fixed).get_params()

    def run(self, settings: Mapping[str, Any], watch: Watch) -> float:
        als = WeightedALS(**{**self._fixed, **settings})

        def judge(stage: str, sweep: int, n_sweeps: int | None, terms: Mapping[str, float]) -> None:
            watch.check_time()
            if stage == "factorize" and is_rung(sweep) and sweep < als.n_iterations:
                watch.tell(sweep, self._recall(als))

        return self._recall(als.fit(self._train, progress=judge))

    def _recall(self, als: WeightedALS) -> float:
        report = evaluate_ranking(
            als.user_factors_,
            als.song_factors_,
            self._heldout,
            excluded=self._train.counts,
            k=self._k,
            n_threads=als.n_threads,
        )
        return float(report.of_users("recall_at_k").mean())
