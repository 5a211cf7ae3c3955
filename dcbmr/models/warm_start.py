"""What a training can start from."""

from __future__ import annotations

from collections.abc import Sequence

from dcbmr.contract import registry
from dcbmr.contract.contract import RegressorSpec
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.models.model import Model


def check_can_start(spec: RegressorSpec) -> None:
    """Raise InputError unless the fit of a regressor can start from a fitted one."""
    if not spec.has_warm_start:
        raise InputError(
            f"regressor {spec.name!r} has no warm start: leave it out, or take one that has: "
            f"{registry.who_has('has_warm_start')}"
        )


def check_model_to_start_from(
    model: Model, spec: RegressorSpec, factors: Factors, heldout_songs: Sequence[str]
) -> None:
    """Raise InputError where a training cannot start from a model, or should not."""
    check_can_start(spec)
    n_factors = factors.song_factors.shape[1]
    pairs = [("regressor", model.spec.name, spec.name), ("n_factors", model.config["n_factors"], n_factors)]
    for name, found, wanted in pairs:
        if found != wanted:
            raise InputError(f"the model to start from has {name} {found}, this training has {wanted}")
    if seen := set(heldout_songs).intersection(model.song_ids):
        raise InputError(
            f"the model to start from was trained on {len(seen)} of the {len(heldout_songs)} songs that are "
            f"held out, as {min(seen)}: start from a model of this split, or without any"
        )
