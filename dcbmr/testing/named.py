"""The checks of whatever is offered under a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dcbmr.contract import registry
from dcbmr.contract.params import parse_settings
from dcbmr.errors import InputError
from dcbmr.testing.checks import Check
from dcbmr.testing.features import feature_checks
from dcbmr.testing.losses import loss_checks
from dcbmr.testing.regressors import regressor_checks


def named_checks(name: str, *, settings: Sequence[str] = ()) -> dict[str, list[Check]]:
    """Return the checks of the regressor, the loss and the kind of feature of a name, whichever there are.

    Parameters
    ----------
    name : str
        One of those that ``dcbmr plugins`` lists.
    settings : sequence of str
        Parameters as ``--set`` spells them, "n_neighbours=3".

    Returns
    -------
    dict of str to list of Check
        By "regressor", "loss" and "features".

    Raises
    ------
    InputError
        Nobody offers the name (the message lists what there is), or a setting names no parameter.
    """
    suites: dict[str, tuple[dict[str, Any], Callable[..., list[Check]]]] = {
        "regressor": (registry.regressors(), regressor_checks),
        "loss": (registry.losses(), loss_checks),
        "features": (registry.extractors(), feature_checks),
    }
    found = {
        what: make(name, **parse_settings(registry.resolve(offers[name]), settings))
        for what, (offers, make) in suites.items()
        if name in offers
    }
    if not found:
        known = sorted(name for offers, _ in suites.values() for name in offers)
        raise InputError(f"no plugin offers {name!r}; installed: {', '.join(known)}")
    return found
