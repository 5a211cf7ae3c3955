"""A check of the suite, and what checks have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from unittest import SkipTest

from dcbmr.errors import InputError


@dataclass(frozen=True)
class Check:
    """One check, callable; its text is its name.

    Attributes
    ----------
    name : str
    why : str
        What for, in a sentence; it stands under a failure.
    run : callable
    """

    name: str
    why: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Raise AssertionError, with what was found and what to change, when the plugin breaks the contract.

        Where there is nothing to check, unittest.SkipTest says why, which pytest shows as skipped.
        """
        try:
            self.run()
        except SkipTest:
            raise
        except Exception as error:
            error.add_note(f"why: {self.why}")
            raise

    def __str__(self) -> str:
        return self.name


def checks_of(subject: Any, *modules: ModuleType) -> list[Check]:
    """Return the functions of ``modules`` that are named ``check_...``, for a subject, in their order."""
    return [
        Check(name.removeprefix("check_"), " ".join((check.__doc__ or "").split()), partial(check, subject))
        for module in modules
        for name, check in vars(module).items()
        if name.startswith("check_")
    ]


def assert_annotated_keywords(parameters: Iterable[inspect.Parameter]) -> None:
    """Fail unless parameters are keyword-only and annotated."""
    for parameter in parameters:
        name = parameter.name
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, (
            f"{name} is not keyword-only; put a * before it: def __init__(self, *, {name}: ...)"
        )
        assert parameter.annotation is not inspect.Parameter.empty, (
            f"{name} has no type; --set reads its value by it: {name}: float"
        )


@contextmanager
def no_error(what: str, cure: str, *, may_refuse: bool = False) -> Iterator[None]:
    """Turn what a plugin raises into a failure that says what to change; an InputError may be an answer."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        if may_refuse and isinstance(error, InputError):
            return
        raise AssertionError(f"{what} raised {type(error).__name__}: {error}; {cure}") from error
