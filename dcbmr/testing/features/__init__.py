"""What every kind of feature must do: one function a check, with a sentence that says what for."""

from __future__ import annotations

from typing import Any

from dcbmr.testing.checks import Check, checks_of
from dcbmr.testing.features import computed, declared, hosted
from dcbmr.testing.features.subject import Subject

_SECONDS = 4.0


def feature_checks(kind: str, *, seconds: float = _SECONDS, **params: Any) -> list[Check]:
    """Return the checks that a kind of feature must pass.

    Parameters
    ----------
    kind : str
        One of :func:`dcbmr.extractors`.
    seconds : float
        Length of the sounds, for kinds that need longer ones.
    **params
        Parameters of its extractor.
    """
    subject = Subject(kind, params, seconds)
    without = {
        "rows_do_not_depend_on_how_a_song_is_cut": subject.spec.is_streaming,
        "states_its_rate": not subject.spec.made_of,
    }
    return [
        check for check in checks_of(subject, declared, computed, hosted) if without.get(check.name, True)
    ]
