"""Write a new plugin package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from dcbmr.base.directory import check_writable
from dcbmr.contract.contract import CONTRACT_VERSION
from dcbmr.errors import DcbmrError, InputError
from dcbmr.scaffold.names import Names, checked_names

KINDS = ("regressor", "loss", "features")
_SUMMARIES = {
    "regressor": "ridge regression on standardized song vectors",
    "loss": "Huber's loss on the song factors",
    "features": "mean and deviation of the level of each octave, in dB",
}
_WHAT = {"regressor": "A regressor", "loss": "A loss", "features": "A kind of feature"}
_USAGE = {
    "regressor": "dcbmr train --regressor $name --factors factors --features features -o model",
    "loss": "dcbmr train --regressor mlp --loss $name --factors factors --features features -o model",
    "features": "dcbmr featurize music/ -o features --kind $name\n"
    "dcbmr train --regressor linear --kind $name --factors factors --features features -o model",
}
_DEPENDENCIES = {
    "regressor": ("dcbmr", "numpy", "scipy"),
    "loss": ("dcbmr[torch]", "numpy", "torch"),
    "features": ("dcbmr", "numpy"),
}
# Where a template goes; $module, $identifier are the package's own.
_COMMON = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "test.yml.in": ".github/workflows/test.yml",
}
_OWN = {"__init__.py.in": "src/$module/__init__.py", "test.py.in": "tests/test_$identifier.py"}
_WORKS_IN = {"regressor": "regressor.py", "loss": "loss.py", "features": "extractor.py"}


def new_package(name: str, *, kind: str, output: Path | str | None = None) -> Path:
    """Write a package that offers a regressor, a loss or a kind of feature, and works as it is.

    Parameters
    ----------
    name : str
        What it offers: what ``--regressor``, ``--loss`` or ``--kind`` will take.
    kind : {"regressor", "loss", "features"}
    output : path, optional
        The folder, which must not exist; by default ``dcbmr-NAME`` in this one.

    Returns
    -------
    Path
        The folder. It appears whole, or not at all.

    Raises
    ------
    InputError
        The name is none, or taken; the folder exists.
    DcbmrError
        The disk is full, or cannot be written.
    """
    if kind not in KINDS:
        raise InputError(f"kind: wanted {', '.join(KINDS)}; got {kind!r}")
    names = checked_names(name, kind)
    place = Path(names.distribution if output is None else output)
    if place.exists() or place.is_symlink():
        raise InputError(f"{place} exists, and nothing in it is overwritten; give another folder by --output")
    check_writable(place)
    try:
        _write(_texts(names, kind), place)
    except OSError as error:
        raise DcbmrError(f"{place} could not be written: {error.strerror}") from error
    return place


def _write(texts: Mapping[str, str], place: Path) -> None:
    """Write files beside their folder's place, and put it there when it is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
        made = Path(beside, "package")
        for path, text in texts.items():
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        os.rename(made, place)


def _texts(names: Names, kind: str) -> dict[str, str]:
    """Return the text of each file of the package by its path."""
    own = {
        "name": names.name,
        "distribution": names.distribution,
        "identifier": names.identifier,
        "module": names.module,
        "class_name": names.class_name,
    }
    words = {
        **own,
        "contract": str(CONTRACT_VERSION),
        "summary": _SUMMARIES[kind],
        "What": _WHAT[kind],
        "usage": Template(_USAGE[kind]).substitute(own),
        "dependencies": ", ".join(f'"{each}"' for each in _DEPENDENCIES[kind]),
    }
    works_in = _WORKS_IN[kind]
    places = {
        **{f"common/{template}": place for template, place in _COMMON.items()},
        **{f"{kind}/{template}": place for template, place in _OWN.items()},
        f"{kind}/{works_in}.in": f"src/$module/{works_in}",
    }
    templates = files("dcbmr.scaffold") / "templates"
    return {
        Template(place).substitute(own): Template((templates / template).read_text("utf-8")).substitute(words)
        for template, place in places.items()
    }
