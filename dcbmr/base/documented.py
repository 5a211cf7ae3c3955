"""What docstrings say of parameters, for those who choose them elsewhere."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"(\w+(?:, \w+)*) : \S")


def meanings(documented: type) -> dict[str, str]:
    """Return the description of each parameter or attribute that a numpydoc docstring lists, as one line."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in (inspect.getdoc(documented) or "").splitlines():
        if entry := _ENTRY.match(line):
            names = entry[1].split(", ")
            found |= {name: [] for name in names}
        elif line.startswith("    "):
            for name in names:
                found[name].append(line.strip())
        elif line:
            names = []
    return {name: " ".join(lines) for name, lines in found.items()}
