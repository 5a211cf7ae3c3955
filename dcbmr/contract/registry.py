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
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pluggy

from dcbmr.base.version import __version__
from dcbmr.contract import hookspecs
from dcbmr.contract.contract import (
    CONTRACT_VERSION,
    FactorTarget,
    HasCheck,
    Loss,
    LossSpec,
    Regressor,
    RegressorSpec,
)
from dcbmr.contract.features import CheckedExtractor, FeatureConfig, FeatureExtractor, FeatureSpec
from dcbmr.contract.kinds import HOST_KINDS, FeatureKind, is_kind_name
from dcbmr.errors import DcbmrError, InputError

ENTRY_POINT_GROUP = "dcbmr"
# Constructor names that the host fills itself; --set does not reach them.
RESERVED = ("loss", "loss_params", "device", "random_state")
SOURCES = "sources"  # of extractors
HOOKS = ("dcbmr_regressors", "dcbmr_losses", "dcbmr_features")

Spec = RegressorSpec | LossSpec | FeatureSpec
SpecT = TypeVar("SpecT", RegressorSpec, LossSpec, FeatureSpec)


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: its entry point, the distribution that brought it, and what it offers."""

    name: str
    distribution: str
    version: str
    contract: int
    regressors: tuple[RegressorSpec, ...]
    losses: tuple[LossSpec, ...]
    features: tuple[FeatureSpec, ...]

    @property
    def package(self) -> str:
        """Return "distribution version"."""
        return f"{self.distribution} {self.version}"

    @property
    def is_built_in(self) -> bool:
        """Whether it came with the host."""
        return self.distribution == "dcbmr"

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution}"


def _load(found: list[EntryPoint]) -> list[Plugin]:
    manager = pluggy.PluginManager("dcbmr")
    manager.add_hookspecs(hookspecs)
    loaded: dict[str, tuple[Plugin, Any]] = {}
    for entry in found:
        origin = entry.dist.name if entry.dist else "unknown"
        version = entry.dist.version if entry.dist else "unknown"
        plugin = Plugin(entry.name, origin, version, CONTRACT_VERSION, (), (), ())
        try:
            module = entry.load()
        except Exception as error:
            warnings.warn(
                f"{plugin} cannot be imported and is skipped: {type(error).__name__}: {error}; install what "
                f"it needs (pip install --upgrade {origin}), or remove it (pip uninstall {origin})",
                stacklevel=2,
            )
            continue
        if why := _made_for_another(plugin, getattr(module, "DCBMR_CONTRACT", None)):
            warnings.warn(why, stacklevel=2)
            continue
        name = f"{origin}:{entry.name}"
        try:
            manager.register(module, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise DcbmrError(f"{plugin}: {error}") from error
        loaded[name] = plugin, module
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise DcbmrError(f"misspelt hook: {error}; dcbmr knows {', '.join(HOOKS)}") from error
    plugins = []
    for name, (plugin, _) in loaded.items():
        others = [module for other, (_, module) in loaded.items() if other != name]
        plugins.append(
            replace(
                plugin,
                regressors=_offers(plugin, manager, others, "dcbmr_regressors", RegressorSpec),
                losses=_offers(plugin, manager, others, "dcbmr_losses", LossSpec),
                features=_offers(plugin, manager, others, "dcbmr_features", FeatureSpec),
            )
        )
    _check_kinds(plugins)
    return plugins


def _offers(
    plugin: Plugin, manager: pluggy.PluginManager, others: list[Any], hook: str, wanted: type[SpecT]
) -> tuple[SpecT, ...]:
    """Return what a plugin's hook offers; DcbmrError names the plugin where that breaks a rule."""
    try:
        specs = tuple(spec for specs in manager.subset_hook_caller(hook, others)() for spec in specs)
    except Exception as error:
        raise _breaks_a_rule(plugin, hook, f"{type(error).__name__}: {error}") from error
    for spec in specs:
        if fault := _fault(spec, wanted):
            raise _breaks_a_rule(plugin, hook, fault)
    return specs


def _breaks_a_rule(plugin: Plugin, hook: str, fault: str) -> DcbmrError:
    return DcbmrError(
        f"{plugin}, {hook}: {fault}; tell its makers, or remove it (pip uninstall {plugin.distribution})"
    )


def _check_kinds(found: list[Plugin]) -> None:
    """Raise DcbmrError where a spec names a kind that is not there, or is of another shape."""
    shapes = {spec.name: str(spec.shape) for plugin in found for spec in plugin.features}
    shapes |= {kind.name: kind.shape for kind in HOST_KINDS}
    for plugin in found:
        for spec in plugin.regressors:
            if fault := _wrong_kind(spec.name, "kind", spec.kind, spec.shape, shapes):
                raise _breaks_a_rule(plugin, "dcbmr_regressors", fault)
        for kind in plugin.features:
            for source in kind.made_of:
                if fault := _wrong_kind(kind.name, "source", source, "frames", shapes):
                    raise _breaks_a_rule(plugin, "dcbmr_features", fault)


def _wrong_kind(name: str, what: str, kind: str, shape: str, shapes: Mapping[str, str]) -> str | None:
    if kind not in shapes:
        return f"{name!r} has the {what} {kind!r}, which nobody knows; there are {', '.join(shapes)}"
    if shape != shapes[kind]:
        return f"{name!r} has the shape {shape!r}, but its {what} {kind!r} has the shape {shapes[kind]!r}"
    return None


def _made_for_another(plugin: Plugin, version: Any) -> str | None:
    """Say what to do with a plugin that was made for another version of the contract; None if it was not."""
    if version == CONTRACT_VERSION:
        return None
    if version is None:
        made = "declares no version of the contract (DCBMR_CONTRACT), as those do that were made before 2"
    else:
        made = f"was made for version {version} of the contract"
    if isinstance(version, int) and version > CONTRACT_VERSION:
        remedy = f"upgrade dcbmr (pip install --upgrade dcbmr), or install a {plugin.distribution} for it"
    else:
        remedy = (
            f"upgrade it (pip install --upgrade {plugin.distribution}), or install the dcbmr it was made for"
        )
    return (
        f"{plugin} {plugin.version} {made}, and is skipped: dcbmr {__version__} has version "
        f"{CONTRACT_VERSION}; {remedy}"
    )


def _fault(spec: Any, wanted: type[Spec]) -> str | None:
    """Say which rule of its own a spec breaks; None for a whole one."""
    if not isinstance(spec, wanted):
        return f"wanted {wanted.__name__}, got {spec!r}"
    if not isinstance(spec.name, str) or not spec.name.strip():
        return f"a {wanted.__name__} has an empty name: {spec}"
    if isinstance(spec.factory, str) and not all(spec.factory.partition(":")):
        return f"{spec.name!r} has the factory {spec.factory!r}; wanted 'package.module:Name'"
    for name in ("losses", "devices", "made_of"):
        value = getattr(spec, name, None)
        if value is not None and not isinstance(value, tuple):
            return f"{spec.name!r}: {name} must be a tuple of names; got {value!r}"
    if not isinstance(spec, FeatureSpec):
        return None
    if not is_kind_name(spec.name):
        return f"{spec.name!r} is no name of a kind; wanted a letter, then letters, digits, '_' and '-'"
    for name, choices in (("shape", ("vectors", "frames")), ("dtype", ("<f4", "<f2"))):
        if getattr(spec, name) not in choices:
            return f"{spec.name!r} has the {name} {getattr(spec, name)!r}; wanted {' or '.join(choices)}"
    return None


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
            rivals = f"{owners[spec.name]} and {plugin}"
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


def extractors() -> dict[str, FeatureSpec]:
    """Return every installed extractor by the kind of feature that it makes."""
    own = {kind.name for kind in HOST_KINDS}
    for plugin in plugins():
        for spec in plugin.features:
            if spec.name in own:
                raise DcbmrError(
                    f"two owners of the kind of feature {spec.name!r}: dcbmr itself and {plugin}; uninstall "
                    "the plugin"
                )
    return _by_name("kind of feature", [(p, spec) for p in plugins() for spec in p.features])


def kinds() -> dict[str, FeatureKind]:
    """Return every kind of feature that is installed by name, those that the host makes last."""
    offered = (
        FeatureKind(spec.name, spec.summary, spec.shape, spec.dtype, spec.made_of)
        for spec in extractors().values()
    )
    return {kind.name: kind for kind in (*offered, *HOST_KINDS)}


def find_kind(name: str) -> FeatureKind:
    """Return a kind; InputError lists the installed ones when it is unknown."""
    return _find("kind of feature", name, kinds())


def find_extractor(kind: str) -> FeatureSpec:
    """Return the spec of an extractor; InputError lists the installed ones when its kind is unknown."""
    return _find("kind of feature", kind, extractors())


def owner_of(kind: str) -> Plugin:
    """Return the plugin that offers a kind of feature, which :func:`extractors` has."""
    return next(plugin for plugin in plugins() if any(spec.name == kind for spec in plugin.features))


def find_regressor(name: str) -> RegressorSpec:
    """Return the spec of a regressor; InputError lists the installed ones when it is unknown."""
    return _find("regressor", name, regressors())


def find_loss(name: str) -> LossSpec:
    """Return the spec of a loss; InputError lists the installed ones when it is unknown."""
    return _find("loss", name, losses())


Found = TypeVar("Found")


def _find(kind: str, name: str, specs: Mapping[str, Found]) -> Found:
    if name not in specs:
        raise InputError(f"unknown {kind} {name!r}; installed: {', '.join(specs) or 'none'}")
    return specs[name]


def get_regressor(name: str, **params: Any) -> Regressor:
    """Make a regressor, and check all that can be known of it before it fits.

    Parameters
    ----------
    name : str
        One of :func:`regressors`.
    **params
        Keyword arguments of its constructor, those of its loss in ``loss_params``.

    Raises
    ------
    InputError
        The name is unknown (the installed ones are listed), a parameter is, or one of its loss; the loss or
        the device is not one that the regressor takes; a parameter is out of its range.
    """
    spec = find_regressor(name)
    factory = resolve(spec)
    loss_params = params.get("loss_params")
    if not loss_params:
        params.pop("loss_params", None)
    makes_loss = loss_factory(spec, params.get("loss"))
    if makes_loss is not None:
        loss = params.get("loss", parameters(factory)["loss"].default)
        _check_names(f"loss {loss!r}", makes_loss, loss_params or {})
    elif loss_params:
        raise InputError(f"{no_loss_params(spec)}; got {', '.join(loss_params)}")
    _check_names(repr(name), factory, params)
    if params.get("device", spec.devices[0]) not in spec.devices:
        raise InputError(
            f"regressor {name!r} computes on {', '.join(spec.devices)}; got device {params['device']!r}"
        )
    regressor: Regressor = factory(**params)
    if spec.has_check:
        cast(HasCheck, regressor).check()
    return regressor


def get_extractor(
    kind: str, *, sources: Mapping[str, FeatureConfig] | None = None, **params: Any
) -> FeatureExtractor:
    """Make the extractor of a kind of feature, and check all that can be known of it before it works.

    Parameters
    ----------
    kind : str
        One of :func:`extractors`.
    sources : mapping of str to FeatureConfig, optional
        What the frames are that the kind is made of; where it is.
    **params
        Keyword arguments of its constructor.

    Raises
    ------
    InputError
        The kind is unknown (the installed ones are listed), a parameter is, or is out of its range.
    """
    spec = find_extractor(kind)
    factory = resolve(spec)
    if spec.made_of:
        if missing := set(spec.made_of) - set(sources or {}):
            raise InputError(
                f"the kind {kind!r} is made of {', '.join(spec.made_of)}: sources lack {missing}"
            )
        params[SOURCES] = sources
    _check_names(f"the kind {kind!r}", factory, params)
    extractor: FeatureExtractor = factory(**params)
    if spec.has_check:
        cast(CheckedExtractor, extractor).check()
    return extractor


def get_loss(name: str, target: FactorTarget, **params: Any) -> Loss:
    """Make the loss ``name`` for ``target``; ``params`` go to its factory."""
    factory = resolve(find_loss(name))
    _check_names(f"loss {name!r}", factory, params)
    loss: Loss = factory(target, **params)
    return loss


def losses_of(spec: RegressorSpec) -> tuple[str, ...]:
    """Return the names of the losses that a regressor takes."""
    return tuple(losses()) if spec.losses is None else spec.losses


def loss_factory(spec: RegressorSpec, loss: str | None = None) -> Any:
    """Return the factory of the loss that a regressor minimises, which says what ``loss_params`` may be.

    Parameters
    ----------
    spec : RegressorSpec
    loss : str, optional
        The regressor's default if None.

    Returns
    -------
    callable or None
        None where the regressor declares no ``loss_params``: it has no loss, or computes it itself.

    Raises
    ------
    InputError
        The regressor does not take that loss.
    """
    allowed = losses_of(spec)
    if loss is not None and loss not in allowed:
        takes = f"it takes {', '.join(allowed)}" if allowed else "it has none to choose"
        raise InputError(f"regressor {spec.name!r} has no loss {loss!r}: {takes}")
    declared = parameters(resolve(spec))
    if "loss_params" not in declared:
        return None
    return resolve(find_loss(declared["loss"].default if loss is None else loss))


def no_loss_params(spec: RegressorSpec) -> str:
    """Say why a loss has no parameters with this regressor."""
    why = "computes its losses itself, which have" if losses_of(spec) else "has no loss to choose and so"
    return f"regressor {spec.name!r} {why} no parameters"


def kinds_of(spec: RegressorSpec) -> tuple[str, ...]:
    """Return the kinds of feature that a regressor works on, its own choice first."""
    others = (kind.name for kind in kinds().values() if kind.shape == spec.shape and kind.name != spec.kind)
    return (spec.kind, *others)


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


def resolve(spec: Spec) -> Any:
    """Return the factory of a spec; DcbmrError says what to install when its module cannot be imported."""
    try:
        return spec.resolve()
    except ImportError as error:
        owner = next((p for p in plugins() if spec in (*p.regressors, *p.losses, *p.features)), None)
        if owner is None or owner.is_built_in:
            cure = "(the built-in networks and torch losses: pip install 'dcbmr[torch]')"
        else:
            cure = f"(its documentation says what; pip install --upgrade {owner.distribution})"
        raise DcbmrError(
            f"{spec.name!r} cannot be imported: {error}; install what it needs {cure}"
        ) from error


def _check_names(what: str, factory: Any, params: Mapping[str, Any]) -> None:
    known = parameters(factory)
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InputError(
            f"{what} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(known) or 'none'}"
        )
    missing = [name for name, p in known.items() if p.default is p.empty and name not in params]
    if missing:
        raise InputError(f"{what} needs the parameter {', '.join(map(repr, missing))}")
