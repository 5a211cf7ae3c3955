"""What the installed plugins offer, by name, and how it is made.

Every plugin, the built-in ones too, enters through the entry-point group ``dcbmr``. The order in which
they are found never matters: two owners of one name are an error, not a race.
"""

from __future__ import annotations

import inspect
import os
import sys
import typing
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from dcbmr.base.spelling import close_names
from dcbmr.contract.contract import (
    FactorTarget,
    HasCheck,
    Loss,
    LossSpec,
    Regressor,
    RegressorSpec,
)
from dcbmr.contract.faults import calling, is_built_in, named, told
from dcbmr.contract.features import CheckedExtractor, FeatureConfig, FeatureExtractor, FeatureSpec
from dcbmr.contract.kinds import HOST_KINDS, FeatureKind
from dcbmr.contract.loading import OFF, Installed, Plugin, Skipped, Spec, SpecT, load
from dcbmr.errors import DcbmrError, InputError

ENTRY_POINT_GROUP = "dcbmr"
# Constructor names that the host fills itself; --set does not reach them.
RESERVED = ("loss", "loss_params", "device", "random_state")
SOURCES = "sources"  # of extractors

_only_built_in = False


def plugins() -> tuple[Plugin, ...]:
    """Return the plugins that are installed and used, sorted by distribution and name."""
    return _installed().plugins


def skipped() -> tuple[Skipped, ...]:
    """Return the plugins that are installed and not used, and why."""
    return _installed().skipped


def _installed() -> Installed:
    off = (name.strip() for name in os.environ.get(OFF, "").split(","))
    return installed(frozenset(filter(None, off)), _only_built_in)


@cache
def installed(off: frozenset[str], only_built_in: bool) -> Installed:
    """Find the plugins, once per process; see :func:`dcbmr.contract.loading.load`."""
    found = sorted(
        entry_points(group=ENTRY_POINT_GROUP),
        key=lambda entry: (entry.dist.name if entry.dist else "", entry.name),
    )
    known = {name for entry in found for name in (entry.name, entry.dist.name if entry.dist else "")}
    if unknown := sorted(off - known):
        warnings.warn(
            f"{OFF}={','.join(unknown)}: no such plugin is installed; there are "
            f"{', '.join(entry.name for entry in found)}",
            stacklevel=2,
        )
    return load(found, off=off, only_built_in=only_built_in)


@contextmanager
def built_in_only() -> Iterator[None]:
    """Use no plugin in this block that did not come with dcbmr."""
    global _only_built_in
    before, _only_built_in = _only_built_in, True
    try:
        yield
    finally:
        _only_built_in = before


def _by_name(kind: str, offers: list[tuple[Plugin, SpecT]]) -> dict[str, SpecT]:
    owners: dict[str, Plugin] = {}
    specs: dict[str, SpecT] = {}
    for plugin, spec in offers:
        if spec.name in owners:
            rivals = f"{owners[spec.name]} and {plugin}"
            raise DcbmrError(
                f"two owners of the {kind} {spec.name!r}: {rivals}; uninstall one of them, or "
                f"turn it off ({OFF}=NAME)"
            )
        owners[spec.name] = plugin
        specs[spec.name] = spec
    return dict(sorted(specs.items()))


def regressors() -> dict[str, RegressorSpec]:
    """Return every installed regressor by name."""
    return _by_name("regressor", [(p, spec) for p in plugins() for spec in p.regressors])


def who_has(capability: str) -> str:
    """Return, for a message, the regressors whose spec says that they can something, as "has_peers"."""
    names = [name for name, spec in regressors().items() if getattr(spec, capability)]
    return ", ".join(names) or "none is installed"


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
    return find("kind of feature", name, kinds())


def find_extractor(kind: str) -> FeatureSpec:
    """Return the spec of an extractor; InputError lists the installed ones when its kind is unknown."""
    return find("kind of feature", kind, extractors())


def find_regressor(name: str) -> RegressorSpec:
    """Return the spec of a regressor; InputError lists the installed ones when it is unknown."""
    return find("regressor", name, regressors())


def find_loss(name: str) -> LossSpec:
    """Return the spec of a loss; InputError lists the installed ones when it is unknown."""
    return find("loss", name, losses())


Found = TypeVar("Found")


def find(kind: str, name: str, specs: Mapping[str, Found]) -> Found:
    """Return ``specs[name]``; InputError lists what there is, and the plugins that are not used."""
    if name not in specs:
        not_used = "".join(f"; {one.plugin} {one.why}" for one in skipped())
        raise InputError(f"unknown {kind} {name!r}; installed: {', '.join(specs) or 'none'}{not_used}")
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
    with calling(spec, "its constructor, or check"):
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
    with calling(spec, "its constructor, or check"):
        extractor: FeatureExtractor = factory(**params)
        if spec.has_check:
            cast(CheckedExtractor, extractor).check()
    return extractor


def get_loss(name: str, target: FactorTarget, **params: Any) -> Loss:
    """Make a loss, and try it on a song or two.

    Parameters
    ----------
    name : str
        One of :func:`losses`.
    target : FactorTarget
    **params
        Keyword arguments of its factory.

    Raises
    ------
    InputError
        The name is unknown (the installed ones are listed), or a parameter is.
    DcbmrError
        It is not what its plugin says: it raises, or returns no finite scalar for the true factors.
    """
    spec = find_loss(name)
    factory = resolve(spec)
    _check_names(f"loss {name!r}", factory, params)
    import torch  # which a loss is made of, if its module could be imported

    songs = torch.arange(min(2, len(target.song_factors)))
    with calling(spec, "its factory, or a first call"):
        loss: Loss = factory(target, **params)
        value = loss(torch.tensor(target.song_factors[: len(songs)]), songs)
    if not isinstance(value, torch.Tensor) or value.shape != () or not value.isfinite():
        found = f"shape {tuple(value.shape)}" if getattr(value, "shape", ()) else f"{value!r:.80}"
        raise DcbmrError(f"{named(spec)} returned {found}, wanted a finite scalar tensor")
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
    """Return the keyword parameters of a factory, their annotations resolved to types.

    Raises
    ------
    DcbmrError
        It has none that can be read: it cannot be called, or an annotation names what is not there.
    """
    try:
        return {
            name: parameter.replace(annotation=_annotation(factory, name, parameter))
            for name, parameter in inspect.signature(factory).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise DcbmrError(
            f"the parameters of {factory!r} cannot be read: {told(error)}; tell its makers"
        ) from error


def _annotation(factory: Any, name: str, parameter: inspect.Parameter) -> Any:
    # Of these alone: other arguments may have types that are imported for type checkers only.
    named = SimpleNamespace(__annotations__={name: parameter.annotation})
    return typing.get_type_hints(named, _names_where_declared(factory, name))[name]


def _names_where_declared(factory: Any, parameter: str) -> dict[str, Any]:
    """Return the names by which a parameter's type is spelt: of the module of its dataclass, maybe a base."""
    if not inspect.isclass(factory):
        return dict(factory.__globals__)
    for base in factory.__mro__:
        if parameter in inspect.get_annotations(base):
            return vars(sys.modules[base.__module__])
    return dict(factory.__init__.__globals__)


def resolve(spec: Spec) -> Any:
    """Return the factory of a spec; DcbmrError says what to do when it cannot be imported."""
    try:
        return spec.resolve()
    except (Exception, SystemExit) as error:
        module, _, name = str(spec.factory).partition(":")
        if isinstance(error, AttributeError) and error.name == name and error.obj is sys.modules.get(module):
            hint = "".join(f"; did you mean {close!r}?" for close in close_names(name, dir(error.obj), n=1))
            raise DcbmrError(
                f"{named(spec)} has the factory {spec.factory!r}, and {module} has no {name!r}{hint}"
            ) from error
        if is_built_in(spec):
            cure = "the built-in networks and torch losses: pip install 'dcbmr[torch]'"
        else:
            cure = f"its documentation says what; pip install --upgrade {spec.package.split()[0]}"
        raise DcbmrError(
            f"{named(spec)} cannot be imported: {told(error)}; install what it needs ({cure})"
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
