"""What every regressor must do: one function a check, with a sentence that says what for."""

from __future__ import annotations

from typing import Any

from dcbmr.testing.checks import Check, checks_of
from dcbmr.testing.regressors import declared, inputs, learned, saved, small, together, watched
from dcbmr.testing.regressors.subject import Subject


def regressor_checks(name: str, **params: Any) -> list[Check]:
    """Return the checks that a registered regressor must pass.

    Parameters
    ----------
    name : str
        One of :func:`dcbmr.regressors`.
    **params
        Hyper-parameters that make it small enough for tests (its quality is not judged beyond beating
        the mean song).
    """
    subject = Subject(name, params)
    checks = checks_of(subject, declared, inputs, small, learned, saved, watched, together)
    without = {
        "activations_are_those_of_windows": subject.spec.has_activations,
        "users_are_those_of_the_plays": subject.spec.has_users,
        "starts_from_another": subject.spec.has_warm_start,
        "processes_learn_together": subject.spec.has_peers,
        "tells_its_memory": subject.spec.has_memory,
        "takes_sparse_vectors": subject.spec.shape == "vectors",
        "one_frame": subject.spec.shape == "frames",
    }
    return [check for check in checks if without.get(check.name, True)]
