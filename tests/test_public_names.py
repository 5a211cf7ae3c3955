"""The public names and their signatures are those of tests/public_names.txt.

When one changes on purpose: ``python tests/test_public_names.py > tests/public_names.txt``, and a line in
CHANGELOG.md.
"""

import dataclasses
import inspect
from pathlib import Path

import dcbmr_torch
import pytest

import dcbmr

LISTED = Path(__file__).with_name("public_names.txt")


def _signature(function):
    """Names, kinds and defaults of the parameters; annotations are the type checker's business."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=_default(parameter.default))
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    return str(inspect.Signature(parameters))


class _Named:
    """A default that is a function, shown by its name."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return self._name


def _default(value):
    return _Named(value.__name__) if inspect.isfunction(value) else value


def _members(owner):
    """Public methods, properties and class attributes of a class, those of its bases of ours too."""
    found = {}
    for base in reversed(owner.__mro__):
        if base.__module__.split(".")[0] in ("dcbmr", "dcbmr_torch"):
            found |= {n: m for n, m in vars(base).items() if not n.startswith("_") or n == "__call__"}
    return dict(sorted(found.items()))


def describe(name, value):
    """The lines of one public name."""
    if inspect.ismodule(value):
        for function in sorted(value.__all__):
            yield f"{name}.{function}{_signature(getattr(value, function))}"
    elif inspect.isclass(value):
        protocol = getattr(value, "_is_protocol", False)
        constructs = "" if protocol or issubclass(value, Exception) else _signature(value)
        yield f"{name}{constructs}"
        fields = {f.name for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
        for member, what in _members(value).items():
            if isinstance(what, classmethod | staticmethod):
                what = what.__func__
            if inspect.isfunction(what):
                yield f"{name}.{member}{_signature(what)}"
            elif member not in fields:
                yield f"{name}.{member}"
    elif callable(value):
        yield f"{name}{_signature(value) if inspect.isfunction(value) else ''}"
    else:
        yield name


def lines():
    """Every public name, a line each."""
    names = {name: getattr(dcbmr, name) for name in sorted(dcbmr.__all__, key=str.lower)}
    # What a network of other people may be a subclass of.
    names |= {f"dcbmr_torch.{name}": getattr(dcbmr_torch, name) for name in dcbmr_torch.__all__}
    return [line for name, value in names.items() for line in describe(name, value)]


def test_public_names_are_those_listed():
    assert lines() == LISTED.read_text("utf-8").splitlines(), (
        "public names changed; where that is meant, write the list anew (see the head of this file)"
    )


def test_the_lazy_names_and_the_list_agree():
    assert set(dcbmr._HOME) | {"testing"} == set(dcbmr.__all__)
    assert sorted(dcbmr.__all__) == sorted(set(dcbmr.__all__))


@pytest.mark.parametrize("name", dcbmr.__all__)
def test_public_names_are_documented(name):
    value = getattr(dcbmr, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", [n for n in dcbmr.__all__ if inspect.isfunction(getattr(dcbmr, n))])
def test_at_most_three_positional_and_options_by_keyword(name):
    parameters = inspect.signature(getattr(dcbmr, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD or p.kind is p.POSITIONAL_ONLY]
    assert len(positional) <= 3
    assert all(p.default is p.empty for p in positional), f"{name}: an option is positional"


if __name__ == "__main__":
    print("\n".join(lines()))
