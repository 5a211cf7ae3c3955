"""What is on disk executes nothing: the files hold text and numbers, and to load them does not obey them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors import safe_open

_TRAP = "dcbmr_trap"
# What a text of a file would have to be for a loader that obeys it to fall into the trap.
_BAITS = (_TRAP, f"{_TRAP}:Trap", f"{_TRAP}.Trap", f"__import__({_TRAP!r})")


def assert_inert(path: Path) -> None:
    """Fail unless the file is one that loads without executing anything."""
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as tensors:
            list(tensors.keys())
    elif path.suffix in (".json", ".jsonl"):
        lines = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
        for line in lines:
            json.loads(line)
    elif path.suffix == ".npy":
        try:
            np.load(path, allow_pickle=False)
        except ValueError as error:
            raise AssertionError(f"{path.name} holds pickled objects; save numbers alone") from error
    else:
        raise AssertionError(
            f"{path.name} was written; wanted safetensors, .npy or JSON, which execute nothing when they are "
            "read: dcbmr.save_tensors writes the two that a model needs"
        )


def assert_not_obeyed(directory: Path, load: Callable[[Path], object]) -> None:
    """Fail where ``load`` imports or evaluates what a text in one of the JSON files of a directory says."""
    for path in sorted(directory.rglob("*.json")):
        whole = path.read_text("utf-8")
        for place in _places_of_texts(json.loads(whole)):
            for bait in _BAITS:
                path.write_text(json.dumps(_with(json.loads(whole), place, bait)), "utf-8")
                with _trap() as fallen, suppress(Exception):  # it may well refuse what makes no sense
                    load(directory)
                where = ".".join(map(str, place))
                assert not fallen, (
                    f"load imported or evaluated what {path.name} says at {where}; compare it with the names "
                    "that you know, and look these up in a dict of your own"
                )
        path.write_text(whole, "utf-8")


def _places_of_texts(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the texts of a JSON value are: the keys and numbers that lead there."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places_of_texts(part, (*place, key))


def _with(value: Any, place: tuple[Any, ...], text: str) -> Any:
    if not place:
        return text
    value[place[0]] = _with(value[place[0]], place[1:], text)
    return value


class _Trap:
    """Finds the module of the trap for whoever imports it, and takes note of it."""

    def __init__(self, fallen: list[str]) -> None:
        self._fallen = fallen

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] == _TRAP:
            self._fallen.append(name)


@contextmanager
def _trap() -> Iterator[list[str]]:
    fallen: list[str] = []
    trap = _Trap(fallen)
    sys.meta_path.insert(0, trap)
    try:
        yield fallen
    finally:
        sys.meta_path.remove(trap)
