"""Find the plugins that are installed, and make what they offer.

Every plugin, the built-in ones too, enters through the entry-point group ``dcbmr``. The order in which
they are found never matters: two owners of one name are an error, not a race.
"""

from __future__ import annotations

import inspect
import sys
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace
from typing import Any, TypeVar

import pluggy

from dcbmr.contract import hookspecs
from dcbmr.contract.contract import FactorTarget, Loss, LossSpec, Regressor, RegressorSpec
from dcbmr.errors import DcbmrError, InputError

ENTRY_POINT_GROUP = "dcbmr"
# Constructor names that the host fills itself; --set does not reach them.
RESERVED = ("loss", "device", "random_state")

SpecT = TypeVar("SpecT", RegressorSpec, LossSpec)


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: its entry point, the distribution that brought it, and what it offers."""

    name: str
    distribution: str
    version: str
    regressors: tuple[RegressorSpec, ...]
    losses: tuple[LossSpec, ...]


def _load(found: list[EntryPoint]) -> list[Plugin]:
    manager = pluggy.PluginManager("dcbmr")
    manager.add_hookspecs(hookspecs)
    loaded: list[tuple[EntryPoint, str, Any]] = []
    for entry in found:
        origin = entry.dist.name if entry.dist else "unknown"
        try:
            module = entry.load()
        except Exception as error:
            warnings.warn(
                f"plugin {entry.name!r} of {origin} cannot be imported and is skipped: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )
            continue
        name = f"{origin}:{entry.name}"
        try:
            manager.register(module, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise DcbmrError(f"plugin {entry.name!r} of {origin}: {error}") from error
        loaded.append((entry, name, module))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise DcbmrError(f"misspelt hook: {error}; dcbmr knows dcbmr_regressors and dcbmr_losses") from error
    plugins = []
    for entry, name, _ in loaded:
        others = [other for _, other_name, other in loaded if other_name != name]
        hooks = manager.subset_hook_caller
        plugins.append(
            Plugin(
                name=entry.name,
                distribution=entry.dist.name if entry.dist else "unknown",
                version=entry.dist.version if entry.dist else "unknown",
                regressors=tuple(spec for specs in hooks("dcbmr_regressors", others)() for spec in specs),
                losses=tuple(spec for specs in hooks("dcbmr_losses", others)() for spec in specs),
            )
        )
    return plugins


@cache
def plugins() -> tuple[Plugin, ...]:
    """Return the installed plugins, sorted by distribution and name; found once per process."""
    found = sorted(
        entry_points(group=ENTRY_POINT_GROUP),
        key=lambda entry: (entry.dist.name if entry.dist else "", entry.name),
    )
    return tuple(_load(found))


def _by_name(kind: str, offers: list[tuple[Plugin, SpecT]]) -> dict[str, SpecT]:
    owners: dict[str, Plugin] = {}
    specs: dict[str, SpecT] = {}
    for plugin, spec in offers:
        if spec.name in owners:
            rivals = " and ".join(
                f"plugin {p.name!r} of {p.distribution}" for p in (owners[spec.name], plugin)
            )
            raise DcbmrError(f"two owners of the {kind} {spec.name!r}: {rivals}; uninstall one of them")
        owners[spec.name] = plugin
        specs[spec.name] = spec
    return dict(sorted(specs.items()))


def regressors() -> dict[str, RegressorSpec]:
    """Return every installed regressor by name."""
    return _by_name("regressor", [(p, spec) for p in plugins() for spec in p.regressors])


def losses() -> dict[str, LossSpec]:
    """Return every installed loss by name."""
    return _by_name("loss", [(p, spec) for p in plugins() for spec in p.losses])


def find_regressor(name: str) -> RegressorSpec:
    """Return the spec of a regressor; InputError lists the installed ones when it is unknown."""
    return _find("regressor", name, regressors())


def find_loss(name: str) -> LossSpec:
    """Return the spec of a loss; InputError lists the installed ones when it is unknown."""
    return _find("loss", name, losses())


def _find(kind: str, name: str, specs: Mapping[str, SpecT]) -> SpecT:
    if name not in specs:
        raise InputError(f"unknown {kind} {name!r}; installed: {', '.join(specs) or 'none'}")
    return specs[name]


def get_regressor(name: str, **params: Any) -> Regressor:
    """Make a regressor.

    Parameters
    ----------
    name : str
        One of :func:`regressors`.
    **params
        Keyword arguments of its constructor.

    Raises
    ------
    InputError
        The name is unknown (the installed ones are listed), a parameter is, or the loss is not one that
        the regressor takes.
    """
    spec = find_regressor(name)
    factory = resolve(spec)
    _check_names(name, factory, params)
    if "loss" in params:
        allowed = losses_of(spec)
        if params["loss"] not in allowed:
            takes = f"it takes {', '.join(allowed)}" if allowed else "it has none to choose"
            raise InputError(f"regressor {name!r} has no loss {params['loss']!r}: {takes}")
    regressor: Regressor = factory(**params)
    return regressor


def get_loss(name: str, target: FactorTarget, **params: Any) -> Loss:
    """Make the loss ``name`` for ``target``; ``params`` go to its factory."""
    factory = resolve(find_loss(name))
    _check_names(name, factory, params)
    loss: Loss = factory(target, **params)
    return loss


def losses_of(spec: RegressorSpec) -> tuple[str, ...]:
    """Return the names of the losses that a regressor takes."""
    return tuple(losses()) if spec.losses is None else spec.losses


def parameters(factory: Any) -> dict[str, inspect.Parameter]:
    """Return the keyword parameters of a factory, their annotations resolved to types."""
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    resolved = {}
    for name, parameter in keywords.items():
        # Of these alone: other arguments may have types that are imported for type checkers only.
        named = SimpleNamespace(__annotations__={name: parameter.annotation})
        hint = typing.get_type_hints(named, _names_where_declared(factory, name))[name]
        resolved[name] = parameter.replace(annotation=hint)
    return resolved


def _names_where_declared(factory: Any, parameter: str) -> dict[str, Any]:
    """Return the names by which a parameter's type is spelt: of the module of its dataclass, maybe a base."""
    if not inspect.isclass(factory):
        return dict(factory.__globals__)
    for base in factory.__mro__:
        if parameter in inspect.get_annotations(base):
            return vars(sys.modules[base.__module__])
    return dict(factory.__init__.__globals__)


def resolve(spec: RegressorSpec | LossSpec) -> Any:
    """Return the factory of a spec; DcbmrError says what to install when its module cannot be imported."""
    try:
        return spec.resolve()
    except ImportError as error:
        raise DcbmrError(
            f"{spec.name!r} cannot be imported: {error}; install what it needs (the built-in networks and "
            "torch losses: pip install 'dcbmr[torch]')"
        ) from error


def _check_names(name: str, factory: Any, params: Mapping[str, Any]) -> None:
    known = parameters(factory)
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InputError(
            f"{name!r} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(known) or 'none'}"
        )
