"""How long work says how far it is: one protocol for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """What long work calls as it goes on.

    It may raise to stop the work, which lets the exception through.
    """

    def __call__(self, stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        """Take note of a step.

        Parameters
        ----------
        stage : str
            What is being done: "factorize", "featurize", "k-means", ... One call may go through several.
        step : int
            Steps of the stage that are over: 0, or where it goes on, to say that it begins.
        n_steps : int or None
            Steps that the stage has; None where that is not known.
        figures : mapping of str to float
            What there is to say of the step, as the objective.
        """


def silent(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
    """Show nothing: the progress of who does not ask for any."""


def under(progress: Progress, stage: str) -> Progress:
    """Return a progress that tells every stage under one name."""

    def renamed(_: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        progress(stage, step, n_steps, figures)

    return renamed
