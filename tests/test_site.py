"""The site of docs/: it builds without a warning, has every public name and command, and needs no network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dcbmr
from dcbmr.base.documented import meanings
from dcbmr.cli import cli

ROOT = Path(__file__).resolve().parents[1]
NAMES = (Path(__file__).with_name("public_names.txt")).read_text("utf-8").splitlines()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "docs" / "conf.py").exists(), reason="the pages are in the sources only"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="pip install 'dcbmr[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-P", "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(out / ".doctrees")]
    made = subprocess.run([*command, str(ROOT / "docs"), str(out)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return out


def test_every_public_name_is_there(site):
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    found = {name for entries in inventory.data.values() for name in entries}
    missing = []
    for line in NAMES:
        name = re.match(r"[\w.]+", line)[0]
        owner, _, member = name.rpartition(".")
        if name in found or f"dcbmr.{name}" in found:
            continue
        # Attributes are told in the docstring of their class.
        if not (hasattr(dcbmr, owner) and member in meanings(getattr(dcbmr, owner))):
            missing.append(name)
    assert not missing


def test_every_command_is_there(site):
    for name in cli.commands:
        assert f"Usage: dcbmr {name} " in (site / "commands" / f"{name}.html").read_text("utf-8")


def test_nothing_comes_from_a_network(site):
    loaded = re.compile(
        r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//|@import ..?https?:|url\(.?https?:"
    )
    for file in site.rglob("*"):
        if file.suffix in (".html", ".css"):
            assert not loaded.search(file.read_text("utf-8")), file
