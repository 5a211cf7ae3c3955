"""Settings of the factorization chosen by plays held out of it, with Optuna.

Each trial is a factorization of the training plays, judged by the recall of the plays held out, after sweeps
3, 9, ...; by successive halving (Jamieson and Talwalkar, AISTATS 2016; asynchronous, Li et al., MLSys 2020)
only the better third goes on from each. The first trial has the default settings, so that what is chosen is
no worse than they are on these plays, and the next ones have more and more regularization.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcbmr.base.directory import RECORD, write_json
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.base.spelling import close_names
from dcbmr.contract import registry
from dcbmr.errors import InputError
from dcbmr.evaluation.scoring import plays_between
from dcbmr.factorization.als import WeightedALS
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split, split_plays
from dcbmr.ranking.report import evaluate_ranking

# Not settings of a factorization here: the seed is everybody's, and threads change nothing.
NOT_OF_FACTORIZATION = ("n_threads", "random_state")
_FIRST_RUNG, _REDUCTION = 3, 3  # sweeps
_STUDY = "study.jsonl"
_ENOUGH = 10  # trials, to say what mattered
_LADDER = (10.0, 100.0, 1000.0)

SPACE: dict[str, tuple[float, float]] = {
    "n_factors": (8, 128),
    "regularization": (0.1, 1e4),
    "alpha": (0.1, 40.0),
}
"""Where the settings are looked for, if nobody says otherwise: on a scale of logarithms."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """What :func:`tune_factorization` found.

    Attributes
    ----------
    settings : dict
        The best settings, as :class:`dcbmr.WeightedALS` takes them.
    recall : float
        What they reach on the plays held out.
    default_recall : float
        What the defaults reach on them.
    n_trials, n_pruned : int
        How many settings were tried, and how many of these were given up after a few sweeps.
    importance : dict of str to float
        How much each setting decides whether a trial is among the better ones after three sweeps, which all
        have made; they sum to one (PED-ANOVA, Watanabe, Bansal and Hutter, IJCAI 2023). Empty after few
        trials.
    seconds : float
    """

    settings: dict[str, Any]
    recall: float
    default_recall: float
    n_trials: int
    n_pruned: int
    importance: dict[str, float]
    seconds: float

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each setting: its default, what was chosen, and how much it mattered."""
        defaults = WeightedALS().get_params()
        return [
            {
                "setting": name,
                "default": defaults[name],
                "chosen": value,
                "mattered": self.importance.get(name),
            }
            for name, value in self.settings.items()
        ]


def require_optuna() -> None:
    """Raise InputError unless Optuna is installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError("tuning needs optuna: pip install 'dcbmr[tune]'") from None


def tune_factorization(
    plays: PlayCounts | Split,
    *,
    space: Mapping[str, tuple[float, ...]] | None = None,
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
    space : mapping of str to (low, high), optional
        Numbers among the settings of :class:`dcbmr.WeightedALS`, and where to look for each: on a scale of
        logarithms where ``low`` is above 0. ``SPACE`` if None.
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
        Where the trials are kept; one that is there already is continued.
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
    import optuna

    began = time.monotonic()
    table = plays.train if isinstance(plays, Split) else plays
    space = dict(SPACE if space is None else space)
    check_search(space, trials, seconds)
    fixed = {**(others or {}), "n_threads": n_threads, "random_state": random_state}
    search = _Search(table, k, validation_fraction, fixed, random_state)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = None
    if directory is not None:
        wanted = {
            "space": {name: list(ends) for name, ends in space.items()},
            "others": dict(others or {}),
            "k": k,
            "validation_fraction": validation_fraction,
            "random_state": random_state,
            "n_pairs": int(table.counts.nnz),
            "shape": list(table.counts.shape),
        }
        storage = _storage(Path(directory), wanted)
    study = optuna.create_study(
        study_name="factorization",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=random_state),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=_FIRST_RUNG, reduction_factor=_REDUCTION),
    )
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    if not study.trials:
        for first in _first_trials(space):
            study.enqueue_trial(first)
    default_recall = search.recall_of_defaults()
    report = progress or silent
    while (n_done := len(study.get_trials(deepcopy=False, states=done))) < trials:
        # The first one always comes to its end.
        end = began + seconds if seconds is not None and n_done else None
        if end is not None and time.monotonic() > end:
            break
        trial = study.ask()
        value = search.run(trial, space, end)
        state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
        study.tell(trial, value, state=state)
        whole = study.get_trials(deepcopy=False, states=done[:1])
        best = max((of.value for of in whole if of.value is not None), default=math.nan)
        report("tune", n_done + 1, trials, {"best": best, "defaults": default_recall})
    return _tuned(study, default_recall, time.monotonic() - began)


def check_search(space: Mapping[str, tuple[float, ...]], trials: int, seconds: float | None) -> None:
    """Raise InputError where there is nothing to look for, or nowhere, or no time; names the setting."""
    known = registry.parameters(WeightedALS)
    numbers = [
        name
        for name, parameter in known.items()
        if name not in NOT_OF_FACTORIZATION and parameter.annotation in (int, float)
    ]
    if not space:
        raise InputError("there is nothing to tune: the space is empty")
    for name, ends in space.items():
        if name not in numbers:
            close = close_names(name, numbers, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(numbers)}"
            raise InputError(f"{name} is no setting that can be tuned; {hint}")
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise InputError(f"{name} must be looked for between two numbers, the lower first; got {[*ends]}")
        for end in ends:
            WeightedALS(**{name: known[name].annotation(end)}).settings()
    if trials < 1:
        raise InputError(f"trials must be at least 1; got {trials}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds must be above 0; got {seconds}")


def _first_trials(space: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """Return the defaults, then more and more regularization: what matters most where plays are few."""
    defaults = WeightedALS().get_params()
    first = {name: min(max(defaults[name], low), high) for name, (low, high) in space.items()}
    low, high = space.get("regularization", (0, 0))
    more = [{**first, "regularization": value} for value in _LADDER if low <= value <= high]
    return [first, *more]


def _storage(directory: Path, wanted: dict[str, Any]) -> Any:
    """Return where the trials are kept, of the same plays and settings."""
    import json

    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    directory.mkdir(parents=True, exist_ok=True)
    record = directory / RECORD
    if record.is_file():
        found = json.loads(record.read_text("utf-8"))
        check_settings(wanted, found, f"the trials in {directory} were made", remedy="give another directory")
    else:
        write_json(record, wanted)
    return JournalStorage(JournalFileBackend(str(directory / _STUDY)))


class _Search:
    """The plays held out, and how a factorization does on them."""

    def __init__(
        self, plays: PlayCounts, k: int, fraction: float, fixed: Mapping[str, Any], random_state: int
    ) -> None:
        # A seed of its own: that of the split that the plays may come from would choose much the same.
        split = split_plays(plays, by="play", fraction=fraction, random_state=random_state + 1)
        self._train, self._k = split.train, k
        self._heldout = plays_between(split.heldout, self._train.user_ids, self._train.song_ids)
        self._fixed = fixed

    def recall_of_defaults(self) -> float:
        """Return what the defaults reach when they are through."""
        return self._recall(WeightedALS(**self._fixed).fit(self._train))

    def run(self, trial: Any, space: Mapping[str, tuple[float, ...]], end: float | None) -> float | None:
        """Return the recall of the settings that a trial suggests; None where it was given up."""
        als = WeightedALS(**self._fixed, **_suggested(trial, space))
        rungs = {_FIRST_RUNG * _REDUCTION**rung for rung in range(10)} - {als.n_iterations}

        def judge(_: str, sweep: int, n_sweeps: int | None, terms: Mapping[str, float]) -> None:
            if end is not None and time.monotonic() > end:
                raise _GivenUp
            if sweep in rungs and sweep < als.n_iterations:
                trial.report(self._recall(als), sweep)
                if trial.should_prune():
                    raise _GivenUp

        try:
            return self._recall(als.fit(self._train, progress=judge))
        except _GivenUp:
            return None

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


class _GivenUp(Exception):
    """A trial is not worth more sweeps, or there is no more time."""


def _suggested(trial: Any, space: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    known = registry.parameters(WeightedALS)
    found = {}
    for name, (low, high) in space.items():
        if known[name].annotation is int:
            found[name] = trial.suggest_int(name, int(low), int(high), log=low > 0)
        else:
            found[name] = trial.suggest_float(name, low, high, log=low > 0)
    return found


def _tuned(study: Any, default_recall: float, seconds: float) -> Tuned:
    import optuna

    whole = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    pruned = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.PRUNED,))
    best = study.best_trial
    return Tuned(
        settings=dict(best.params),
        recall=best.value,
        default_recall=default_recall,
        n_trials=len(whole) + len(pruned),
        n_pruned=len(pruned),
        importance=_importance([*whole, *pruned]),
        seconds=seconds,
    )


def _importance(trials: list[Any]) -> dict[str, float]:
    """Return how much each setting mattered for the recall after the first rung."""
    import optuna

    judged = [trial for trial in trials if _FIRST_RUNG in trial.intermediate_values]
    if len(judged) < _ENOUGH:
        return {}
    early = optuna.create_study(direction="maximize")
    for trial in judged:
        early.add_trial(
            optuna.trial.create_trial(
                params=trial.params,
                distributions=trial.distributions,
                value=trial.intermediate_values[_FIRST_RUNG],
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(early, evaluator=evaluator))
