"""CONFIG.toml read: what is wrong in it is said with its line, its key and the nearest valid one."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from dcbmr.base.documented import meanings
from dcbmr.base.spelling import close_names
from dcbmr.contract import registry
from dcbmr.contract.params import LOSS_PREFIX, describe, typed, without_none
from dcbmr.datasets.world import WorldSettings
from dcbmr.errors import InputError
from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    ExperimentConfig,
    FeatureSettings,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.rows import Row, RowTune, TuneSettings
from dcbmr.factorization.als import WeightedALS
from dcbmr.tuning.factorization import NOT_OF_FACTORIZATION

Key = tuple[str | int, ...]
Section = TypeVar("Section")

SECTIONS: dict[str, type] = {
    "data": DataSettings,
    "world": WorldSettings,
    "split": SplitSettings,
    "features": FeatureSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
    "tune": TuneSettings,
}
_ALL = ("random_state", *SECTIONS, "factorization", "rows")


def read_experiment(file: str | Path, *, without: Collection[str] = ()) -> ExperimentConfig:
    """Read the configuration of an experiment.

    Parameters
    ----------
    file : path
        A CONFIG.toml, as `dcbmr experiment --init` writes one. Paths in it are relative to its folder.
    without : collection of str
        Regressors whose rows are left out.

    Returns
    -------
    ExperimentConfig

    Raises
    ------
    InputError
        The file is no TOML; a key is unknown, has a value of another type or out of its range, or does not
        go with another one. Names the file, the line, the key and, of an unknown one, the nearest valid one.
    """
    file = Path(file)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _Reader(file, text, without).config()


class _Reader:
    """One file, and where its keys stand."""

    def __init__(self, file: Path, text: str, without: Collection[str]) -> None:
        self._file, self._without = file, without
        try:
            self._content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{file} is no TOML: {error}") from None
        self._lines = _lines_of_keys(text)

    def config(self) -> ExperimentConfig:
        content = self._content
        self._check_names((), content, _ALL)
        given: dict[str, Any] = {}
        if "random_state" in content:
            given["random_state"] = self._typed(("random_state",), content["random_state"], int)
        for name, section in SECTIONS.items():
            if name in content:
                defaults = {"random_state": given.get("random_state", 0)} if name == "world" else {}
                given[name] = self._section((name,), content[name], section, defaults)
        if "factorization" in content:
            given["factorization"] = self._factorization(content["factorization"])
        rows = content.get("rows", [])
        if not isinstance(rows, list):
            raise self._error(("rows",), "rows are written under [[rows]], each under its own")
        given["rows"] = tuple(
            self._row(number, row)
            for number, row in enumerate(rows)
            if not (isinstance(row, Mapping) and row.get("regressor") in self._without)
        )
        try:
            return ExperimentConfig(**given)
        except InputError as error:
            raise self._error(_key_of(str(error)), str(error)) from None

    def _section(
        self, key: Key, table: Any, section: type[Section], defaults: Mapping[str, Any] | None = None
    ) -> Section:
        """Make a section of a table, and check it."""
        known = {of.name: of for of in dataclasses.fields(section)}  # type: ignore[arg-type]
        self._check_names(key, table, known)
        hints = typing.get_type_hints(section)
        values = {name: self._typed((*key, name), value, hints[name]) for name, value in table.items()}
        nothing = dataclasses.MISSING
        for name, of in known.items():
            if name not in values and of.default is nothing and of.default_factory is nothing:
                raise self._error(key, f"{_called(key)} lacks {name}: {meanings(section)[name]}")
        try:
            return section(**{**(defaults or {}), **values})
        except InputError as error:
            name = str(error).split()[0].strip(",:")
            inner = next((k for k, v in table.items() if isinstance(v, Mapping) and name in v), None)
            where = (*key, name) if inner is None else (*key, inner, name)
            raise self._error(where, f"{_called(where[:-1])} {error}") from None

    def _factorization(self, table: Any) -> dict[str, Any]:
        known = {
            name: parameter
            for name, parameter in registry.parameters(WeightedALS).items()
            if name not in NOT_OF_FACTORIZATION
        }
        key = ("factorization",)
        self._check_names(key, table, known)
        values = {
            name: self._typed((*key, name), value, known[name].annotation) for name, value in table.items()
        }
        try:
            WeightedALS(**values).settings()
        except InputError as error:
            raise self._error((*key, str(error).split()[0]), f"{_called(key)} {error}") from None
        return values

    def _row(self, number: int, table: Any) -> Row:
        """Read a row, and make its regressor: rather now than after hours."""
        key: Key = ("rows", number)
        tune = None
        if isinstance(table, Mapping) and "tune" in table:
            tune = self._section((*key, "tune"), table["tune"], RowTune)
            table = {name: value for name, value in table.items() if name != "tune"}
        row = self._section(key, table, Row)
        try:
            spec = registry.find_regressor(row.regressor)
        except InputError as error:
            close = close_names(row.regressor, registry.regressors(), n=1)
            raise self._error((*key, "regressor"), f"{error}{_hint(close)}") from None
        params = self._parameters((*key, "params"), row.params, registry.resolve(spec))
        loss = {} if row.loss is None else {"loss": row.loss}
        try:
            factory = registry.loss_factory(spec, row.loss)
        except InputError as error:
            raise self._error((*key, "loss"), str(error)) from None
        of_loss = dict(row.loss_params)
        if factory is not None:
            of_loss = self._parameters((*key, "loss_params"), of_loss, factory)
        try:
            registry.get_regressor(row.regressor, **params, **loss, loss_params=of_loss)
        except InputError as error:
            raise self._error((*key, "params", str(error).split()[0]), f"row {row.name!r}: {error}") from None
        for kind in row.kinds:
            if kind not in registry.kinds() and kind not in self._content.get("data", {}).get("vectors", {}):
                close = close_names(kind, registry.kinds(), n=1)
                raise self._error((*key, "kinds"), f"unknown kind of feature {kind!r}{_hint(close)}")
        row = dataclasses.replace(row, params=params, loss_params=of_loss, tune=tune)
        if tune is not None:
            self._check_space((*key, "tune"), row, tune)
        return row

    def _check_space(self, key: Key, row: Row, tune: RowTune) -> None:
        try:
            row.given.space(tune.space)
        except InputError as error:
            name = str(error).split()[0]
            of = "loss_params" if name.startswith(LOSS_PREFIX) else "params"
            where = (*key, of, name.removeprefix(LOSS_PREFIX))
            raise self._error(where, f"{_called(where[:-1])} {error}") from None

    def _parameters(self, key: Key, given: Mapping[str, Any], factory: Any) -> dict[str, Any]:
        """Return the parameters of a regressor, or of a loss, in the types that it declares."""
        known = {
            name: parameter
            for name, parameter in registry.parameters(factory).items()
            if name not in registry.RESERVED or name == "device"
        }
        self._check_names(key, given, known)
        return {
            name: self._typed((*key, name), value, known[name].annotation) for name, value in given.items()
        }

    def _check_names(self, key: Key, table: Any, known: Mapping[str, Any] | Sequence[str]) -> None:
        """Raise InputError for a name that is none, with the nearest that is."""
        if not isinstance(table, Mapping):
            raise self._error(key, f"{_called(key)} holds keys and values; got {table!r}")
        for name in table:
            if name not in known:
                close = close_names(name, list(known), n=1)
                hint = _hint(close) or f"; there are {', '.join(known) or 'none'}"
                what = "unknown key" if key else "unknown section or key"
                raise self._error((*key, name), f"{what} {name!r} in {_called(key)}{hint}")

    def _typed(self, key: Key, value: Any, annotation: Any) -> Any:
        try:
            return typed(value, annotation, folder=self._file.parent)
        except ValueError:
            wanted = describe(without_none(annotation))
            shown = f"{value.isoformat()}" if isinstance(value, date) else repr(value)
            raise self._error(key, f"{_called(key[:-1])} {key[-1]} must be {wanted}; got {shown}") from None

    def _error(self, key: Key, problem: str) -> InputError:
        """Return the error, with the line of the key, or of what holds it."""
        while key and key not in self._lines:
            key = key[:-1]
        where = f", line {self._lines[key]}" if key else ""
        return InputError(f"{self._file}{where}: {problem}")


def _called(key: Key) -> str:
    """Return what a table is called in the file."""
    names = [str(part) for part in key if isinstance(part, str)]
    if not names:
        return "the file"
    if names == ["rows"]:
        return f"[[rows]] number {int(key[1]) + 1}"
    return f"[{'.'.join(names)}]"


def _hint(close: Sequence[str]) -> str:
    return f"; did you mean {close[0]!r}?" if close else ""


def _key_of(problem: str) -> Key:
    """Return the key that a problem begins with: "split.by is ..." or "[data] names ..."."""
    return tuple(problem.split()[0].strip("[]:,").split("."))


_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_INLINE = re.compile(r"""((?<![\w-])[\w-]+|"[^"]*")\s*=""")


def _lines_of_keys(text: str) -> dict[Key, int]:
    """Return the line of each key and table of a TOML file: tomllib says nothing of them."""
    lines: dict[Key, int] = {}
    table: Key = ()
    numbers: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := _TABLE.match(line):
            table = ()
            parts = _parts(head[2])
            for depth, part in enumerate(parts):
                table = (*table, part)
                if head[1] == "[[" and depth == len(parts) - 1:
                    numbers[table] = numbers.get(table, -1) + 1
                if table in numbers:
                    table = (*table, numbers[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            full = (*table, *_parts(key[1]))
            for end in range(len(table) + 1, len(full) + 1):
                lines.setdefault(full[:end], number)
            for inner in _INLINE.finditer(line, key.end()):  # of an inline table
                lines.setdefault((*full, *_parts(inner[1])), number)
    return lines


def _parts(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
