"""The stub dcbmr/_core.pyi says of the kernels what the binding says."""

import ast
import inspect
from pathlib import Path

import pytest

from dcbmr import _core

STUB = ast.parse((Path(__file__).resolve().parents[1] / "dcbmr/_core.pyi").read_text())
# What the binding writes, and what the stub writes for it.
WORDS = {
    "typing.SupportsInt | typing.SupportsIndex": "int",
    "typing.SupportsFloat | typing.SupportsIndex": "float",
    "collections.abc.Sequence[": "list[",
    "numpy.typing.": "",
    "numpy.": "np.",
    "dcbmr._core.": "",
}


def types(annotation):
    """Return the members of a union."""
    if isinstance(annotation, ast.BinOp):
        return types(annotation.left) | types(annotation.right)
    return {ast.unparse(annotation)}


def in_words_of_the_stub(text):
    for theirs, ours in WORDS.items():
        text = text.replace(theirs, ours)
    return text


def signature(function):
    """Return the arguments, each with types, default and whether it is for keywords alone, and the result."""
    given = function.args
    plain = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    arguments = {
        argument.arg: (types(argument.annotation), default and ast.unparse(default), for_keywords)
        for for_keywords, group, defaults in (
            (False, given.args, plain),
            (True, given.kwonlyargs, given.kw_defaults),
        )
        for argument, default in zip(group, defaults, strict=True)
        if argument.arg != "self"
    }
    return arguments, types(function.returns)


def bound_signature(thing):
    """Read the docstring of pybind11: a line, or one for each overload, which differ in types alone."""
    doc = in_words_of_the_stub(inspect.getdoc(thing))
    lines = [line.lstrip("0123456789. ") for line in doc.split("\n")]
    (arguments, returned), *others = [
        signature(ast.parse(f"def {line}: ...").body[0])
        for line in lines
        if line.startswith(f"{thing.__name__}(") and "*args" not in line
    ]
    for more, _ in others:
        for name, (of_type, *_) in more.items():
            arguments[name][0].update(of_type)
    return arguments, returned


def stub_functions(body=STUB.body, owner=""):
    """Yield each function of the stub, and each method of its classes, by name."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from stub_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield f"{owner}{node.name}", node


def bound_functions(things=_core, owner=""):
    """Yield those of the extension."""
    for name, value in vars(things).items():
        if isinstance(value, type) and not name.startswith("_"):
            yield from bound_functions(value, f"{name}.")
        elif callable(value) and (not name.startswith("_") or (owner and name == "__init__")):
            yield f"{owner}{name}", value


IN_STUB, BOUND = dict(stub_functions()), dict(bound_functions())


def test_stub_and_binding_have_the_same_functions():
    assert set(IN_STUB) == set(BOUND)


@pytest.mark.parametrize("name", sorted(set(IN_STUB) & set(BOUND)))
def test_stub_and_binding_have_the_same_arguments(name):
    ours, returned = signature(IN_STUB[name])
    theirs, bound_return = bound_signature(BOUND[name])
    assert list(ours) == list(theirs)
    assert ours == theirs
    # What is in a tuple only the stub knows, where the binding makes it by hand.
    assert bound_return in (returned, {of_type.split("[")[0] for of_type in returned})
