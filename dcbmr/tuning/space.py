"""Where settings are looked for: in a range of numbers, or among values."""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcbmr.base.spelling import close_names
from dcbmr.contract.params import describe, parse_value, spelt, typed, without_none
from dcbmr.errors import InputError

_NEAR = 0.03  # of a range, to be at its end


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, looked for on a scale of logarithms where ``low`` is above 0."""

    low: float
    high: float
    is_whole: bool

    def suggest(self, trial: Any, name: str) -> Any:
        if self.is_whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.low > 0)
        return self.value(trial.suggest_float(name, self.low, self.high, log=self.low > 0))

    def value(self, parameter: Any) -> Any:
        """Return what is used of what Optuna keeps: four digits, so that what is printed was tried."""
        if self.is_whole:
            return int(parameter)
        return min(max(float(f"{parameter:.4g}"), self.low), self.high)

    def nearest(self, value: Any) -> Any:
        """Return the number of the range that is nearest to one, as Optuna keeps it; None for others."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return min(max(value, self.low), self.high) if is_number else None

    def end_near(self, value: float) -> float | None:
        """Return the end of the range that a value is at, if any."""
        scale: Callable[[float], float] = math.log if self.low > 0 else float
        low, at, high = scale(self.low), scale(value), scale(self.high)
        place = (at - low) / (high - low)
        return self.low if place < _NEAR else self.high if place > 1 - _NEAR else None


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def _by_text(self) -> dict[str, Any]:
        return {json.dumps(value): value for value in self.values}

    def suggest(self, trial: Any, name: str) -> Any:
        return self.value(trial.suggest_categorical(name, list(self._by_text)))

    def value(self, parameter: Any) -> Any:
        return self._by_text[parameter]

    def nearest(self, value: Any) -> Any:
        return json.dumps(value) if value in self.values else None

    def end_near(self, value: Any) -> None:
        return None


class Space:
    """Where each of some settings is looked for.

    Parameters
    ----------
    given : mapping of str to sequence
        Two numbers, the lower first, are the ends of a range; anything else are values to choose among.
    known : mapping of str to Parameter
        What may be tuned, and of which type it is.
    check : callable
        Given settings by name, raises InputError for one that is out of its range.

    Raises
    ------
    InputError
        Nothing to look for, an unknown name (with the nearest that is known), an empty range, a value of
        another type or out of its range. The message begins with the name.
    """

    def __init__(
        self,
        given: Mapping[str, Sequence[Any]],
        known: Mapping[str, inspect.Parameter],
        *,
        check: Callable[[dict[str, Any]], Any],
    ) -> None:
        if not given:
            raise InputError("there is nothing to tune: the space is empty")
        self._where: dict[str, Range | Choice] = {}
        for name, values in given.items():
            if name not in known:
                close = close_names(name, list(known), n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}"
                raise InputError(f"{name} is no setting that can be tuned; {hint}")
            where = _where(name, values, known[name].annotation)
            tried = (where.low, where.high) if isinstance(where, Range) else where.values
            for value in tried:
                check({name: where.value(value) if isinstance(where, Range) else value})
            self._where[name] = where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __str__(self) -> str:
        said = {
            name: f"{where.low:g} to {where.high:g}"
            if isinstance(where, Range)
            else " or ".join(map(spelt, where.values))
            for name, where in self._where.items()
        }
        return ", ".join(f"{name} {words}" for name, words in said.items())

    def for_json(self) -> dict[str, Any]:
        """Return it for a record of what was looked for."""
        return {
            name: [where.low, where.high] if isinstance(where, Range) else list(where.values)
            for name, where in self._where.items()
        }

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return the settings that a trial of Optuna suggests."""
        return {name: where.suggest(trial, name) for name, where in self._where.items()}

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a trial, of the parameters that Optuna keeps of it."""
        return {name: where.value(params[name]) for name, where in self._where.items()}

    def nearest(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what Optuna keeps of the point nearest to settings; None where one of them is no point."""
        found = {name: where.nearest(settings[name]) for name, where in self._where.items()}
        return None if None in found.values() else found

    def inside(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what Optuna keeps of some settings; None where the space does not hold one of them."""
        found = {}
        for name, value in settings.items():
            where = self._where.get(name)
            near = None if where is None else where.nearest(value)
            if where is None or near is None or where.value(near) != value:
                return None
            found[name] = near
        return found

    def ends_near(self, settings: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
        """Return, of the settings that are at an end of their range, this end, and a range beyond it."""
        found = {}
        for name, where in self._where.items():
            end = where.end_near(settings[name])
            if end is None or not isinstance(where, Range) or end <= 0:
                continue
            factor = math.sqrt(where.high / where.low) if where.low > 0 else 2.0
            found[name] = (end, end / factor, end * factor)
        return found


def _where(name: str, given: Sequence[Any], annotation: Any) -> Range | Choice:
    values = [given] if isinstance(given, str) else list(given)
    accepted = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    is_numeric = any(one in (int, float) for one in accepted)
    if is_numeric and len(values) == 2 and all(type(value) in (int, float) for value in values):
        low, high = values
        if not low < high:
            raise InputError(
                f"{name} must be looked for between two numbers, the lower first; got {[low, high]}"
            )
        is_whole = float not in accepted
        if is_whole and any(value != int(value) for value in values):
            raise InputError(f"{name} must be looked for between whole numbers; got {[low, high]}")
        return Range(int(low) if is_whole else float(low), int(high) if is_whole else float(high), is_whole)
    try:
        choices = tuple(dict.fromkeys(typed(value, annotation) for value in values))
    except ValueError:
        raise InputError(
            f"{name} must be looked for among values that are {describe(without_none(annotation))}"
            f"{', or between two numbers' if is_numeric else ''}; got {values}"
        ) from None
    if len(choices) < 2:
        raise InputError(f"{name} must be looked for among at least two values; got {values}")
    return Choice(choices)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def parse_ranges(
    given: Iterable[str], known: Mapping[str, inspect.Parameter]
) -> dict[str, tuple[Any, ...]] | None:
    """Return the space that ``NAME=LOW:HIGH``, or ``NAME=VALUE`` once for each value, spell; None of nothing.

    Names that are unknown are left to :class:`Space`.

    Raises
    ------
    InputError
        No "=", or a value that is none.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        low, colon, high = value.partition(":")
        annotation = known[name].annotation if name in known else str
        try:
            if not equals:
                raise ValueError
            if colon:
                found[name] = (*found.get(name, ()), _number(low), _number(high))
            else:
                found[name] = (*found.get(name, ()), parse_value(value, annotation))
        except ValueError:
            raise InputError(
                f"--range {text}: wanted NAME=LOW:HIGH, two numbers, or NAME=VALUE, once for each value "
                "to choose among" + (f"; {name} is {describe(annotation)}" if name in known else "")
            ) from None
    return found or None


def _number(text: str) -> float:
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
