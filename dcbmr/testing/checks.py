"""A check of the suite, and what checks have in common."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open


@dataclass(frozen=True)
class Check:
    """One check, callable; its text is its name."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Raise AssertionError, with what was expected, when the plugin breaks the contract.

        Where there is nothing to check, unittest.SkipTest says why, which pytest shows as skipped.
        """
        self.run()

    def __str__(self) -> str:
        return self.name


def checks_of(suite: Any) -> list[Check]:
    """Return the methods of a suite that are named ``check_...``, in the order of their names."""
    methods = [method for method in dir(suite) if method.startswith("check_")]
    return [Check(method.removeprefix("check_"), getattr(suite, method)) for method in methods]


def assert_annotated_keywords(parameters: Iterable[inspect.Parameter]) -> None:
    """Fail unless parameters are keyword-only and annotated."""
    for parameter in parameters:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{parameter.name} is not keyword-only"
        assert parameter.annotation is not inspect.Parameter.empty, f"{parameter.name} has no type"


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
        np.load(path, allow_pickle=False)
    else:
        raise AssertionError(f"{path.name}: wanted safetensors, .npy or JSON")
