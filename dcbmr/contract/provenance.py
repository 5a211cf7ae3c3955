"""Which plugin, in which version, something was made by: what to do when that one is not here."""

from __future__ import annotations

import warnings
from itertools import takewhile
from pathlib import Path

from dcbmr.base.settings import check_settings
from dcbmr.contract import registry
from dcbmr.contract.features import FeatureConfig
from dcbmr.contract.loading import Spec


def how_to_get(package: str) -> str:
    """Say what to do where something that was used before is offered by nobody here.

    Parameters
    ----------
    package : str
        "distribution version" of the plugin that offered it then.
    """
    distribution, _, version = package.partition(" ")
    for one in registry.skipped():
        if one.plugin.distribution == distribution:
            return f"{one.plugin} is installed, but {one.why}"
    here = {plugin.distribution: plugin.package for plugin in registry.plugins()}.get(distribution)
    others = f"{here} is installed, and does not offer it: " if here else "which is not installed: "
    return f"{others}pip install {distribution}=={version}"


def warn_of_another_version(spec: Spec, package: str, what: str) -> None:
    """Warn where ``package`` made something whose plugin is here in a version that may do otherwise.

    That is one whose first number is another, or the second one behind a 0. What comes with dcbmr is held
    to its own files.
    """
    distribution, _, version = package.partition(" ")
    here, _, installed_version = spec.package.partition(" ")
    if here == distribution != "dcbmr" and _release(version) != _release(installed_version):
        warnings.warn(
            f"{what} was made by {package}, here is {spec.package}, which may do otherwise: pip install "
            f"{distribution}=={version}, or make it again",
            stacklevel=3,
        )


def check_made_as(wanted: FeatureConfig, found: FeatureConfig, where: Path) -> None:
    """Raise InputError where features were made with other settings than those that a model learned from.

    Warn where another version of their plugin made them, which may do otherwise.
    """
    ours, theirs = wanted.params or {}, found.params or {}
    flags = [
        f" --set {wanted.kind}.{name}={value}" for name, value in ours.items() if theirs.get(name) != value
    ]
    renew = f"dcbmr featurize AUDIO -o OTHER --kind {wanted.kind}{''.join(flags)}"
    check_settings(
        wanted.made_alike(),
        found.made_alike(),
        f"{where} was made",
        remedy=f"these are the model's; {renew} makes features with them",
    )
    (maker, _, version), (other, _, its) = wanted.package.partition(" "), found.package.partition(" ")
    if maker == other != "dcbmr" and _release(version) != _release(its):
        warnings.warn(
            f"{where} was made by {found.package}, and the model learned from features by {wanted.package}: "
            f"train it again, or make these with the model's: {renew}",
            stacklevel=3,
        )


def _release(version: str) -> tuple[str, ...]:
    """Return the numbers of a version that change with what it can no longer do: up to the first but 0."""
    numbers = version.split(".")
    zeros = list(takewhile(lambda number: number == "0", numbers))
    return tuple(numbers[: len(zeros) + 1])
