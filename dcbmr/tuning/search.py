"""A search for settings: trials, one after another, that are kept, given up early, and looked back on.

What is searched is an :class:`Objective`. By successive halving (Jamieson and Talwalkar, AISTATS 2016;
asynchronous, Li et al., MLSys 2020) only the better third of the trials goes on after 3, 9, 27, ... steps.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dcbmr.base.directory import RECORD, write_json
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import check_settings
from dcbmr.errors import DcbmrError, InputError
from dcbmr.tuning.space import Space

FIRST_RUNG, REDUCTION = 3, 3  # steps of a trial, as sweeps or epochs
_STUDY, _TRIALS = "study.jsonl", "trials.tsv"
_ENOUGH = 10  # trials, to say what mattered
_DEFAULTS, _FAILED = "defaults", "failed"  # what a study and a trial of ours are marked with


class GivenUp(Exception):
    """A trial is not worth more steps, or there is no more time."""


class Objective(Protocol):
    """What is searched.

    Attributes
    ----------
    metric : str
        What :meth:`run` returns; more is better.
    defaults : mapping of str to value
        What the settings are when nobody chooses.
    """

    metric: str
    defaults: Mapping[str, Any]

    def run(self, settings: Mapping[str, Any], watch: Watch) -> float:
        """Return the figure of settings; ``watch`` is told how it goes on, and may raise to stop it."""
        ...


class Watch:
    """What a trial tells as it goes on.

    Attributes
    ----------
    number : int
        Of the trial, from 0; -1 of the defaults beside the trials.
    """

    def __init__(self, trial: Any = None, end: float | None = None) -> None:
        self.number: int = -1 if trial is None else trial.number
        self._trial, self._end = trial, end
        self._told = set() if trial is None else set(trial.study.trials[trial.number].intermediate_values)

    def check_time(self) -> None:
        """Raise GivenUp where there is no more time."""
        if self._end is not None and time.monotonic() > self._end:
            raise GivenUp

    def tell(self, step: int, figure: float) -> None:
        """Take note of a figure after so many steps; raise GivenUp where others were better."""
        if self._trial is None or step in self._told:
            return
        self._told.add(step)
        self._trial.report(figure, step)
        if self._trial.should_prune():
            raise GivenUp


def is_rung(step: int) -> bool:
    """Say whether trials are given up after so many steps."""
    while step > FIRST_RUNG and step % REDUCTION == 0:
        step //= REDUCTION
    return step == FIRST_RUNG


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuned:
    """What a search found.

    Attributes
    ----------
    settings : dict
        The best settings; the defaults where no trial was better.
    figure : float
        What they reach on what was held out.
    default_figure : float
        What the defaults reach on it.
    metric : str
        What these figures are.
    defaults : dict
        The defaults of the settings.
    trials : list of dict
        Of each trial its number, figure (None where it did not come to its end), steps until it was given up
        (None where it was not), why it failed (None where it did not), and its settings; the best first.
    importance : dict of str to float
        How much each setting decides whether a trial is among the better ones after three steps, which all
        have made, or of trials without steps at their end; they sum to one (PED-ANOVA, Watanabe, Bansal and
        Hutter, IJCAI 2023). Empty after few trials.
    beyond : dict of str to (end, low, high)
        Settings that are at an end of their range, this end, and where to look on.
    seconds : float
        This run alone.
    """

    settings: dict[str, Any]
    figure: float
    default_figure: float
    metric: str
    defaults: dict[str, Any]
    trials: list[dict[str, Any]] = field(repr=False)
    importance: dict[str, float]
    beyond: dict[str, tuple[float, float, float]] = field(repr=False)
    seconds: float

    @property
    def n_pruned(self) -> int:
        """How many trials were given up early."""
        return sum(trial["given_up_after"] is not None for trial in self.trials)

    @property
    def n_failed(self) -> int:
        """How many could not be run."""
        return sum(trial["failed"] is not None for trial in self.trials)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each setting: its default, what was chosen, and how much it mattered."""
        return [
            {
                "setting": name,
                "default": self.defaults[name],
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


def check_budget(trials: int, seconds: float | None) -> None:
    """Raise InputError where there are no trials, or no time."""
    if trials < 1:
        raise InputError(f"trials must be at least 1; got {trials}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds must be above 0; got {seconds}")


def check_record(directory: str | Path | None, record: Mapping[str, Any]) -> None:
    """Write to a directory of trials all that they depend on; InputError where that is something else."""
    if directory is None:
        return
    file = Path(directory) / RECORD
    if file.is_file():
        found = json.loads(file.read_text("utf-8"))
        check_settings(record, found, f"the trials in {directory} were made", remedy="give another directory")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, dict(record))


def search(
    objective: Objective,
    space: Space,
    *,
    trials: int,
    seconds: float | None,
    directory: str | Path | None,
    random_state: int,
    first: Iterable[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> Tuned:
    """Try settings, the defaults before all others, and return what was found.

    Parameters
    ----------
    objective : Objective
    space : Space
    trials : int
        How many settings are tried, those of interrupted runs among them.
    seconds : float, optional
        Begin no trial after as many, and end the one that runs; the first always comes to its end.
    directory : path, optional
        Where the trials are kept; one that is there already is continued, also in the middle of a trial:
        see :func:`check_record`.
    random_state : int
        Seed of the search.
    first : iterable of mapping
        What to try after the defaults, in place of these, as far as it is in the space.
    progress : Progress, optional
        Told of each trial; it may raise to stop.
    """
    require_optuna()
    import optuna

    began = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="tune",
        storage=None if directory is None else _storage(Path(directory)),
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=REDUCTION),
    )
    defaults = {name: objective.defaults[name] for name in space}
    start = space.nearest(defaults)
    is_tried = space.inside(defaults) is not None
    if start and not study.trials:
        others = [{**start, **inside} for more in first if (inside := space.inside(more))]
        for params in (start, *others):
            study.enqueue_trial(params)
    if not is_tried and _DEFAULTS not in study.user_attrs:
        study.set_user_attr(_DEFAULTS, objective.run(defaults, Watch()))
    report = progress or silent
    while (n_done := len(_over(study))) < trials:
        end = began + seconds if seconds is not None and n_done else None
        if end is not None and time.monotonic() > end:
            break
        # Of each trial its own: so a search that was stopped goes on as if it had not been.
        seed = np.random.SeedSequence([random_state, n_done]).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        trial = _next(study)
        state, value = optuna.trial.TrialState.COMPLETE, None
        try:
            value = objective.run(space.suggest(trial), Watch(trial, end))
        except GivenUp:
            state = optuna.trial.TrialState.PRUNED
        except DcbmrError as error:  # as a learning rate that is too high
            if not n_done:
                raise
            state = optuna.trial.TrialState.FAIL
            trial.set_user_attr(_FAILED, str(error))
        study.tell(trial, value, state=state)
        found = _tuned(study, space, objective, defaults, is_tried, began)
        report("tune", n_done + 1, trials, {"best": found.figure, "defaults": found.default_figure})
        if directory is not None:
            _write_trials(Path(directory) / _TRIALS, found)
    return _tuned(study, space, objective, defaults, is_tried, began)


def _next(study: Any) -> Any:
    """Return the next trial: the one that an interrupted run left, if it did."""
    import optuna

    left = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    # A handle to it, as `ask` makes one: what it has suggested and reported stays.
    return optuna.trial.Trial(study, left[0]._trial_id) if left else study.ask()


def _over(study: Any) -> list[Any]:
    """Return the trials that are over, in their order."""
    import optuna

    states = optuna.trial.TrialState
    return study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL))  # type: ignore[no-any-return]


def _storage(directory: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    directory.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(directory / _STUDY)))


def _tuned(
    study: Any,
    space: Space,
    objective: Objective,
    defaults: dict[str, Any],
    is_tried: bool,
    began: float,
) -> Tuned:
    import optuna

    over = _over(study)
    whole = [trial for trial in over if trial.state == optuna.trial.TrialState.COMPLETE]
    default_figure: float = whole[0].value if is_tried else study.user_attrs[_DEFAULTS]
    best = max(whole, key=lambda trial: trial.value, default=None)
    settings, figure = defaults, default_figure
    if best is not None and best.value > default_figure:
        settings, figure = space.settings(best.params), best.value
    return Tuned(
        settings=settings,
        figure=figure,
        default_figure=default_figure,
        metric=objective.metric,
        defaults=defaults,
        trials=_rows_of([*sorted(whole, key=lambda trial: -trial.value), *_others(over, whole)], space),
        importance=_importance(over),
        beyond={} if settings is defaults else space.ends_near(settings),
        seconds=time.monotonic() - began,
    )


def _others(over: Sequence[Any], whole: Sequence[Any]) -> list[Any]:
    """Return the trials that did not come to their end, those that came farthest first."""
    numbers = {trial.number for trial in whole}
    others = [trial for trial in over if trial.number not in numbers]
    return sorted(others, key=lambda trial: -(trial.last_step or 0))


def _rows_of(trials: Iterable[Any], space: Space) -> list[dict[str, Any]]:
    import optuna

    return [
        {
            "trial": trial.number + 1,
            "figure": trial.value,
            "given_up_after": trial.last_step or 0 if trial.state == optuna.trial.TrialState.PRUNED else None,
            "failed": trial.user_attrs.get(_FAILED),
            **space.settings(trial.params),
        }
        for trial in trials
    ]


def _write_trials(file: Path, tuned: Tuned) -> None:
    """Write the table of the trials, beside the one that there is, and put it in its place."""
    columns = list(tuned.trials[0])
    lines = [columns, *([trial[name] for name in columns] for trial in tuned.trials)]
    text = "".join("\t".join(map(_cell, line)) + "\n" for line in lines)
    beside = file.with_suffix(".new")
    beside.write_text(text, "utf-8")
    beside.replace(file)


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _importance(trials: Iterable[Any]) -> dict[str, float]:
    """Return how much each setting mattered for the figure after the first rung, or at the end."""
    import optuna

    judged = [(trial, trial.intermediate_values.get(FIRST_RUNG)) for trial in trials]
    if all(figure is None for _, figure in judged):  # nothing tells how it goes on
        judged = [(trial, trial.value) for trial, _ in judged]
    judged = [(trial, figure) for trial, figure in judged if figure is not None and math.isfinite(figure)]
    if len(judged) < _ENOUGH or len({figure for _, figure in judged}) < 2:
        return {}
    early = optuna.create_study(direction="maximize")
    for trial, figure in judged:
        early.add_trial(
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=figure)
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(early, evaluator=evaluator))
