"""In a clone, Python finds the folder of sources before what is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dcbmr import _core

ROOT = Path(__file__).resolve().parents[1]
USES_A_KERNEL = "import dcbmr; print(dcbmr.LogMel.__module__, dcbmr.__file__, dcbmr._core.__file__)"


@pytest.fixture
def clone(tmp_path):
    """A folder of sources without the kernels, and a folder where the same is installed, with them."""
    for folder in ("clone", "site"):
        shutil.copytree(ROOT / "dcbmr", tmp_path / folder / "dcbmr", ignore=shutil.ignore_patterns("_core*"))
    shutil.copy(_core.__file__, tmp_path / "site" / "dcbmr")
    return tmp_path / "clone"


def python(clone, *words, path=()):
    """Run Python in the clone as it is started by hand: its own packages are those of ``path`` alone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    return subprocess.run(
        [sys.executable, "-S", *words], cwd=clone, env=environment, capture_output=True, text=True
    )


def test_the_installed_package_takes_the_place_of_the_sources(clone):
    site = clone.parent / "site"
    numpy = Path(np.__file__).parents[1]
    done = python(clone, "-c", USES_A_KERNEL, path=[site, numpy])
    assert done.returncode == 0, done.stderr
    module, file, kernels = done.stdout.split()
    assert module == "dcbmr.audio.frames"
    assert {Path(file).parent, Path(kernels).parent} == {site / "dcbmr"}
    # Nothing of the sources is left among what was imported.
    listed = "import sys, dcbmr.cli; print([m.__file__ for n, m in sys.modules.items() if n[:5] == 'dcbmr'])"
    click = Path(__import__("click").__file__).parents[1]
    done = python(clone, "-c", listed, path=[site, click])
    assert "__init__.py" in done.stdout
    assert str(clone) not in done.stdout
    assert python(clone, "-m", "dcbmr", "--version", path=[site, click]).stdout.startswith("dcbmr, version ")


def test_without_an_installed_one_the_message_says_what_to_do(clone):
    # A folder of sources elsewhere is no installed one.
    (clone.parent / "site" / "dcbmr" / Path(_core.__file__).name).unlink()
    done = python(clone, "-c", "from dcbmr import _core", path=[clone.parent / "site"])
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {clone / 'dcbmr'} holds the sources of dcbmr without its compiled kernels, and no "
        f"dcbmr is installed in this Python: pip install {clone}"
    )
