"""The hooks of a plugin, and the marker that implements them."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from dcbmr.contract.contract import LossSpec, RegressorSpec
from dcbmr.contract.features import FeatureSpec

hookspec = pluggy.HookspecMarker("dcbmr")
hookimpl = pluggy.HookimplMarker("dcbmr")


@hookspec
def dcbmr_regressors() -> Iterable[RegressorSpec]:  # type: ignore[empty-body]
    """Return the regressors that this plugin offers."""


@hookspec
def dcbmr_losses() -> Iterable[LossSpec]:  # type: ignore[empty-body]
    """Return the losses that this plugin offers."""


@hookspec
def dcbmr_features() -> Iterable[FeatureSpec]:  # type: ignore[empty-body]
    """Return the kinds of features that this plugin offers."""
