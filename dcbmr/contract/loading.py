"""The plugins that are installed: their entry points, imported and asked what they offer.

One that cannot be used is skipped, and why is kept: nothing that a package does on import, and nothing that
it offers, keeps the host or another plugin from working.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pluggy

from dcbmr.base.version import __version__
from dcbmr.contract import hookspecs
from dcbmr.contract.contract import CONTRACT_VERSION, LossSpec, RegressorSpec
from dcbmr.contract.faults import told
from dcbmr.contract.features import FeatureSpec
from dcbmr.contract.kinds import HOST_KINDS, is_kind_name

HOOKS = ("dcbmr_regressors", "dcbmr_losses", "dcbmr_features")
OFF = "DCBMR_DISABLE_PLUGINS"

Spec = RegressorSpec | LossSpec | FeatureSpec
SpecT = TypeVar("SpecT", RegressorSpec, LossSpec, FeatureSpec)


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: its entry point, the distribution that brought it, and what it offers."""

    name: str
    distribution: str
    version: str
    contract: int
    regressors: tuple[RegressorSpec, ...] = ()
    losses: tuple[LossSpec, ...] = ()
    features: tuple[FeatureSpec, ...] = ()

    @property
    def package(self) -> str:
        """Return "distribution version"."""
        return f"{self.distribution} {self.version}"

    @property
    def is_built_in(self) -> bool:
        """Whether it came with the host."""
        return self.distribution == "dcbmr"

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.package}"


@dataclass(frozen=True)
class Skipped:
    """A plugin that is installed and not used.

    Attributes
    ----------
    plugin : Plugin
        It offers nothing.
    why : str
        What is wrong with it; or who turned it off.
    remedy : str
        What to do about it; empty where it was turned off.
    contract : object
        The version of the contract that it declares; None where that is not known.
    """

    plugin: Plugin
    why: str
    remedy: str = ""
    contract: Any = None

    def __str__(self) -> str:
        return f"{self.plugin} {self.why}, and is skipped{self.remedy and '; '}{self.remedy}"


class _FaultError(Exception):
    """What is wrong with a plugin, and what to do: its arguments are those of :class:`Skipped`."""


@dataclass(frozen=True)
class Installed:
    """All plugins that are installed: those that are used, and those that are not."""

    plugins: tuple[Plugin, ...]
    skipped: tuple[Skipped, ...]


def load(entries: Iterable[EntryPoint], *, off: Iterable[str], only_built_in: bool) -> Installed:
    """Import the plugins of entry points, and ask them what they offer; warn of those that cannot be used.

    Parameters
    ----------
    entries : iterable of EntryPoint
    off : iterable of str
        Names of plugins, or of distributions, that are turned off.
    only_built_in : bool
        Turn all of them off that did not come with the host.
    """
    found: list[Plugin] = []
    skipped: list[Skipped] = []
    off = set(off)
    for entry in entries:
        origin, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
        plugin = Plugin(entry.name, origin, version, CONTRACT_VERSION)
        if only_built_in and not plugin.is_built_in:
            skipped.append(Skipped(plugin, "is turned off by --no-plugins"))
        elif named := off & {plugin.name, plugin.distribution}:
            skipped.append(Skipped(plugin, f"is turned off by {OFF}={named.pop()}"))
        else:
            try:
                found.append(_loaded(entry, plugin))
            except _FaultError as error:
                skipped.append(_warned(Skipped(plugin, *error.args), error.__cause__))
    # A kind may be gone with the plugin that offered it.
    while faults := {plugin: fault for plugin in found if (fault := _wrong_kind(plugin, found))}:
        skipped += [
            _warned(Skipped(plugin, *_broken_rule(plugin, fault).args)) for plugin, fault in faults.items()
        ]
        found = [plugin for plugin in found if plugin not in faults]
    return Installed(tuple(found), tuple(skipped))


def _warned(skipped: Skipped, cause: BaseException | None = None) -> Skipped:
    """Warn of a plugin that cannot be used; the warning has what was raised as its cause."""
    warning = UserWarning(str(skipped))
    warning.__cause__ = cause
    warnings.warn(warning, stacklevel=3)
    return skipped


def _loaded(entry: EntryPoint, plugin: Plugin) -> Plugin:
    """Return a plugin with what it offers."""
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:
        raise _FaultError(
            f"cannot be imported: {told(error)}",
            f"install what it needs (pip install --upgrade {plugin.distribution}), or {_remove(plugin)}",
        ) from error
    contract = getattr(module, "DCBMR_CONTRACT", None)
    if contract != CONTRACT_VERSION:
        raise _made_for_another(plugin, contract)
    manager = pluggy.PluginManager("dcbmr")
    manager.add_hookspecs(hookspecs)
    has = [name for name in dir(module) if manager.parse_hookimpl_opts(module, name) is not None]
    if unknown := sorted(set(has) - set(HOOKS)):
        raise _FaultError(
            f"has the hook {', '.join(unknown)}, which dcbmr {__version__} does not know: it knows "
            f"{', '.join(HOOKS)}",
            f"upgrade dcbmr if it is a newer one (pip install --upgrade dcbmr), or {_remove(plugin)}",
            contract,
        )
    try:
        manager.register(module)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise _broken_rule(plugin, str(error)) from error
    return replace(
        plugin,
        regressors=_offers(plugin, manager, "dcbmr_regressors", RegressorSpec),
        losses=_offers(plugin, manager, "dcbmr_losses", LossSpec),
        features=_offers(plugin, manager, "dcbmr_features", FeatureSpec),
    )


def _offers(
    plugin: Plugin, manager: pluggy.PluginManager, hook: str, wanted: type[SpecT]
) -> tuple[SpecT, ...]:
    try:
        specs = [spec for specs in getattr(manager.hook, hook)() for spec in specs]
    except (Exception, SystemExit) as error:
        raise _broken_rule(plugin, f"{hook}: {told(error)}") from error
    for spec in specs:
        if fault := _fault(spec, wanted):
            raise _broken_rule(plugin, f"{hook}: {fault}")
    return tuple(replace(spec, package=plugin.package) for spec in specs)


def _broken_rule(plugin: Plugin, fault: str) -> _FaultError:
    return _FaultError(f"breaks a rule: {fault}", f"tell its makers, or {_remove(plugin)}", CONTRACT_VERSION)


def _remove(plugin: Plugin) -> str:
    return f"remove it (pip uninstall {plugin.distribution}) or turn it off ({OFF}={plugin.name})"


def _wrong_kind(plugin: Plugin, found: Iterable[Plugin]) -> str | None:
    """Say which kind a plugin names that is not there, or is of another shape; None for a whole one."""
    shapes = {spec.name: str(spec.shape) for other in found for spec in other.features}
    shapes |= {kind.name: kind.shape for kind in HOST_KINDS}
    named = [("dcbmr_regressors", spec.name, "kind", spec.kind, spec.shape) for spec in plugin.regressors]
    named += [
        ("dcbmr_features", kind.name, "source", source, "frames")
        for kind in plugin.features
        for source in kind.made_of
    ]
    for hook, name, what, kind, shape in named:
        offer = f"{hook}: {name!r} has the"
        if kind not in shapes:
            return f"{offer} {what} {kind!r}, which nobody knows; there are {', '.join(shapes)}"
        if shape != shapes[kind]:
            return f"{offer} shape {shape!r}, but its {what} {kind!r} has the shape {shapes[kind]!r}"
    return None


def _made_for_another(plugin: Plugin, version: Any) -> _FaultError:
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
    return _FaultError(f"{made}; dcbmr {__version__} has version {CONTRACT_VERSION}", remedy, version)


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
