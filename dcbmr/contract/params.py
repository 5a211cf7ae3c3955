"""Hyper-parameters as text: ``--set name=value`` and ``--set loss.name=value``, typed by annotations."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from dcbmr.contract import registry
from dcbmr.contract.contract import RegressorSpec
from dcbmr.errors import InputError

Value = TypeVar("Value")
LOSS_PREFIX = "loss."
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_settings(
    factory: Callable[..., Any], settings: Iterable[str], *, prefix: str = ""
) -> dict[str, Any]:
    """Return the keyword arguments that settings like ``"hidden=500"`` spell for ``factory``.

    Parameters
    ----------
    factory : callable
    settings : iterable of str
        Without the prefix.
    prefix : str
        What stood before each of them, for the messages; with one, no name is reserved.

    Raises
    ------
    InputError
        A setting has no "=", names no parameter or one that has a flag of its own, is given twice, or
        does not read as the parameter's type.
    """
    known = registry.parameters(factory)
    reserved = () if prefix else registry.RESERVED
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        complaint = f"--set {prefix}{setting}"
        if not equals:
            raise InputError(f"{complaint}: wanted name=value")
        if name in reserved:
            own = "is set by loss.NAME=VALUE" if name == "loss_params" else "has a flag of its own"
            raise InputError(f"{complaint}: {name} {own}")
        if name not in known:
            free = [other for other in known if other not in reserved]
            raise InputError(f"{complaint}: no parameter {name!r}; there are {', '.join(free) or 'none'}")
        if name in values:
            raise InputError(f"--set {prefix}{name} is given twice")
        annotation = known[name].annotation
        try:
            values[name] = parse_value(text, annotation)
        except ValueError:
            raise InputError(f"{complaint}: wanted {describe(annotation)}, got {text!r}") from None
    return values


def parse_regressor_settings(
    spec: RegressorSpec, settings: Iterable[str], *, loss: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of a regressor, and those of its loss, ``"loss.margin=1"``, beside them.

    Parameters
    ----------
    spec : RegressorSpec
    settings : iterable of str
        What was given by ``--set``.
    loss : str, optional
        The loss that was chosen; the regressor's default if None.

    Returns
    -------
    params, loss_params : dict

    Raises
    ------
    InputError
        As :func:`parse_settings`; or a parameter of a loss where the loss has none, or without "loss.".
    """
    of_regressor: list[str] = []
    of_loss: list[str] = []
    for setting in settings:
        (of_loss if setting.startswith(LOSS_PREFIX) else of_regressor).append(setting)
    regressor, factory = registry.resolve(spec), registry.loss_factory(spec, loss)
    for setting in of_regressor:
        name = setting.partition("=")[0]
        if factory and name in registry.parameters(factory) and name not in registry.parameters(regressor):
            raise InputError(f"--set {setting}: {name!r} is the loss's: --set {LOSS_PREFIX}{setting}")
    params = parse_settings(regressor, of_regressor)
    if of_loss and factory is None:
        raise InputError(f"--set {of_loss[0]}: {registry.no_loss_params(spec)}")
    names = [setting.removeprefix(LOSS_PREFIX) for setting in of_loss]
    return params, parse_settings(factory, names, prefix=LOSS_PREFIX) if names else {}


def share_out(
    given: Iterable[tuple[str, Value]], factories: Mapping[str, Callable[..., Any]]
) -> dict[str, dict[str, Value]]:
    """Share parameters out among the extractors of several kinds of feature.

    Parameters
    ----------
    given : iterable of (str, value)
        "NAME" goes to every kind that has such a parameter, "KIND.NAME" to one.
    factories : mapping of kind to factory

    Returns
    -------
    dict of kind to dict of name to value

    Raises
    ------
    InputError
        A name that no kind has, or a kind that is not among these; one that is given twice.
    """
    shared: dict[str, dict[str, Value]] = {kind: {} for kind in factories}
    declared = {
        kind: [name for name in registry.parameters(factory) if name != registry.SOURCES]
        for kind, factory in factories.items()
    }
    for full, value in given:
        kind, _, name = full.rpartition(".")
        if kind and kind not in declared:
            made = ", ".join(declared)
            raise InputError(f"parameter {full!r}: {kind!r} is none of the kinds that are made: {made}")
        asked = [kind] if kind else list(declared)
        takers = [other for other in asked if name in declared[other]]
        if not takers:
            known = dict.fromkeys(chain.from_iterable(declared[other] for other in asked))
            raise InputError(f"no parameter {full!r}; there are {', '.join(known) or 'none'}")
        for taker in takers:
            if name in shared[taker]:
                raise InputError(f"parameter {name!r} of {taker!r} is given twice")
            shared[taker][name] = value
    return shared


def parse_feature_settings(
    factories: Mapping[str, Callable[..., Any]], settings: Iterable[str]
) -> dict[str, Any]:
    """Return the parameters that ``--set NAME=VALUE`` and ``--set KIND.NAME=VALUE`` spell for extractors.

    Each stands under "KIND.NAME", as :func:`dcbmr.featurize` takes them.
    """
    pairs = [setting.partition("=") for setting in settings]
    for name, equals, _ in pairs:
        if not equals:
            raise InputError(f"--set {name}: wanted name=value")
    shared = share_out([(name, text) for name, _, text in pairs], factories)
    parsed = {
        kind: parse_settings(
            factories[kind], [f"{name}={text}" for name, text in own.items()], prefix=f"{kind}."
        )
        for kind, own in shared.items()
    }
    return {f"{kind}.{name}": value for kind, own in parsed.items() for name, value in own.items()}


def parse_value(text: str, annotation: Any) -> Any:
    """Return a value of a type that was spelt on the command line; ValueError where it is none."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        if types.NoneType in args and text.lower() == "none":
            return None
        for arg in args:
            if arg is not types.NoneType:
                try:
                    return parse_value(text, arg)
                except ValueError:
                    continue
        raise ValueError
    if origin is Literal:
        for choice in args:
            if text == str(choice):
                return choice
        raise ValueError
    if origin in (tuple, list, Sequence):
        words = [word for word in text.split(",") if word.strip()]
        return tuple(parse_value(word.strip(), args[0]) for word in words)
    if annotation is bool:
        if text.lower() not in _BOOLS:
            raise ValueError
        return _BOOLS[text.lower()]
    if annotation in (int, float, str):
        return annotation(text)
    raise ValueError


def spelt(value: Any) -> str:
    """Return a value as :func:`parse_value` reads it."""
    if isinstance(value, tuple | list):
        return ",".join(map(spelt, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def typed(value: Any, annotation: Any, *, folder: Path = Path()) -> Any:
    """Return a value of TOML in a type; ValueError where it is none. Paths are relative to ``folder``."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        for arg in args:
            if arg is not types.NoneType:
                try:
                    return typed(value, arg, folder=folder)
                except ValueError:
                    continue
        raise ValueError
    if origin is Literal:
        if value in args:
            return value
        raise ValueError
    if origin in (tuple, list, Sequence):
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(typed(one, args[0], folder=folder) for one in values)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise ValueError
        return {name: typed(one, args[1], folder=folder) for name, one in value.items()}
    if annotation is Any:
        return value
    if annotation is Path and isinstance(value, str) and value and "\0" not in value:
        return folder / value
    if annotation is date:
        return _date(value)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is annotation:
        return value
    raise ValueError


def _date(value: Any) -> date:
    """Return a date of TOML, or one that is written as text."""
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(value if isinstance(value, str) else "")


def without_none(annotation: Any) -> Any:
    """Return a type without None, which TOML does not have."""
    args = typing.get_args(annotation)
    if types.NoneType in args:
        return Union[tuple(arg for arg in args if arg is not types.NoneType)]  # noqa: UP007
    return annotation


def describe(annotation: Any) -> str:
    """Return in words what a parameter of this type takes."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (tuple, list, Sequence):
        return f"{describe(args[0])}, or several with commas between"
    if origin is Mapping:
        return "names and values"
    names: dict[Any, str] = {
        bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path",
        date: "a date",
    }  # fmt: skip
    return names.get(annotation, "none" if annotation is types.NoneType else str(annotation))
