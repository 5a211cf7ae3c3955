"""A long fit tells how far it is, stops when it is told to, and goes on where it was."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest import SkipTest

import numpy as np

from dcbmr.testing.inert import assert_inert
from dcbmr.testing.regressors.subject import RUN, Subject, assert_close

_JUDGED = "validation_map"
Report = tuple[str, int, int | None, Mapping[str, float]]


def _reports(subject: Subject) -> list[Report]:
    """Return what a fit reports; SkipTest where that is nothing."""
    features, target = subject.world()
    reports: list[Report] = []

    def note(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        reports.append((stage, step, n_steps, dict(figures)))

    subject.make().fit(features, target, run=replace(RUN, report=note))
    if not reports:
        raise SkipTest(
            f"{subject.name}: fit never reports, so that nobody sees how far it is, or can cancel it; if it "
            "takes more than a second or two, let it call run.report(stage, step, n_steps, figures)"
        )
    return reports


def check_progress_goes_forward(subject: Subject) -> None:
    """The bar on the terminal is drawn from these numbers."""
    before: dict[str, int] = {}
    for stage, step, n_steps, figures in _reports(subject):
        assert step >= before.get(stage, 0), (
            f"stage {stage!r}: step {step} was reported after step {before[stage]}; count up"
        )
        assert n_steps is None or step <= n_steps, (
            f"stage {stage!r}: step {step} of {n_steps} was reported; give the number of all steps, or None"
        )
        for name, value in figures.items():
            assert np.isscalar(value), f"the figure {name!r} is {value!r}; report numbers, as float(loss)"
        before[stage] = step


def check_can_be_cancelled(subject: Subject) -> None:
    """``report`` raises when the user presses Ctrl-C, and whoever waits wants to wait no longer."""
    _reports(subject)
    features, target = subject.world()
    calls = 0

    def cancel(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    try:
        subject.make().fit(features, target, run=replace(RUN, report=cancel))
    except KeyboardInterrupt:
        assert calls == 1, "report raised, and was called again; let what it raises through"
        return
    raise AssertionError("report raised, and fit went on: nobody could cancel it; let what it raises through")


def check_resumes_after_a_cancel(subject: Subject) -> None:
    """``--resume`` gives the model that the fit would have become, had nobody stopped it, and its curve."""
    reports = _reports(subject)
    features, target = subject.world()
    calls = 0
    told: set[int] = set()

    def cancel(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    def note(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        if _JUDGED in figures:
            told.add(step)

    with tempfile.TemporaryDirectory() as name:
        run = replace(RUN, checkpoint=Path(name), report=cancel)
        try:
            subject.make().fit(features, target, run=run)
        except KeyboardInterrupt:
            again = replace(RUN, checkpoint=Path(name), resume=True, report=note)
            resumed = subject.make().fit(features, target, run=again)
        else:
            raise SkipTest(f"{subject.name}: fit reports {len(reports)} times, so that it was over before")
        for path in Path(name).rglob("*"):
            if path.is_file():
                assert_inert(path)
    unbroken = subject.fitted()[0]
    assert_close(
        resumed.predict(features),
        unbroken.predict(features),
        "predictions of a resumed and of an unbroken fit",
        "a checkpoint holds all that the next step depends on, the state of random numbers, too; without "
        "one, start anew",
    )
    untold = {step for _, step, _, figures in reports if _JUDGED in figures} - told
    assert not untold, (
        f"{_JUDGED} was reported at steps {sorted(untold)} of an unbroken fit, and not by one that went on: "
        "report once more what the checkpoint holds, as whoever noted it may have been killed with the fit"
    )
