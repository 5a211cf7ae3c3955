"""Hyper-parameters as text: ``--set name=value``, typed by the annotations of a constructor."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Union

from dcbmr.contract import registry
from dcbmr.errors import InputError

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_settings(factory: Callable[..., Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return the keyword arguments that settings like ``"hidden=500"`` spell for ``factory``.

    Raises
    ------
    InputError
        A setting has no "=", names no parameter or one that has a flag of its own, is given twice, or
        does not read as the parameter's type.
    """
    known = registry.parameters(factory)
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: wanted name=value")
        if name in registry.RESERVED:
            raise InputError(f"--set {setting}: {name} has a flag of its own")
        if name not in known:
            free = [other for other in known if other not in registry.RESERVED]
            raise InputError(f"--set {setting}: no parameter {name!r}; there are {', '.join(free) or 'none'}")
        if name in values:
            raise InputError(f"--set {name} is given twice")
        annotation = known[name].annotation
        try:
            values[name] = _parse(text, annotation)
        except ValueError:
            raise InputError(f"--set {setting}: wanted {describe(annotation)}, got {text!r}") from None
    return values


def _parse(text: str, annotation: Any) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        if types.NoneType in args and text.lower() == "none":
            return None
        for arg in args:
            if arg is not types.NoneType:
                try:
                    return _parse(text, arg)
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
        return tuple(_parse(word.strip(), args[0]) for word in words)
    if annotation is bool:
        if text.lower() not in _BOOLS:
            raise ValueError
        return _BOOLS[text.lower()]
    if annotation in (int, float, str):
        return annotation(text)
    raise ValueError


def describe(annotation: Any) -> str:
    """Return in words what a parameter of this type takes."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (tuple, list, Sequence):
        return f"{describe(args[0])}, or several with commas between"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(annotation, "none" if annotation is types.NoneType else str(annotation))
