"""``dcbmr plugin new``: what it writes, what it refuses, and that each package works from its birth on."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import dcbmr
from dcbmr.scaffold.names import Names, checked_names
from dcbmr.scaffold.package import KINDS, new_package


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete_and_says_what_it_offers(tmp_path, kind):
    place = new_package("my-own_1", kind=kind, output=tmp_path / "deep" / "here")
    text = {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml"} < set(text)
    assert {"src/dcbmr_my_own_1/__init__.py", "tests/test_my_own_1.py"} < set(text)
    assert f"DCBMR_CONTRACT = {dcbmr.CONTRACT_VERSION} " in text["src/dcbmr_my_own_1/__init__.py"]
    assert 'my_own_1 = "dcbmr_my_own_1"' in text["pyproject.toml"]
    assert "MyOwn1" in "".join(text.values())
    assert "${{ matrix.python }}" in text[".github/workflows/test.yml"]
    for path, content in text.items():
        assert "$name" not in content, path
        if path.endswith(".py"):
            compile(content, path, "exec")
    assert [path.name for path in place.parent.iterdir()] == ["here"]


def test_names_of_pip_of_python_and_of_dcbmr():
    names = checked_names("dcbmr-tempo_map-2", "loss")
    assert names == Names("tempo_map-2")
    spelt = (names.distribution, names.module, names.class_name)
    assert spelt == ("dcbmr-tempo-map-2", "dcbmr_tempo_map_2", "TempoMap2")


@pytest.mark.parametrize(
    "name", ["", "Upper", "2fast", "a.b", "a--b", "a-", "-a", "../up", "none", "x" * 41, "é"]
)
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(dcbmr.InputError, match="wanted a lower-case letter"):
        checked_names(name, "regressor")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("linear", "regressor", "offered by plugin 'linear' of dcbmr"),
        ("mse", "loss", "offered by plugin 'torch'"),
        ("mel", "features", "offered by plugin 'spectra'"),
        ("bow", "features", "offered by dcbmr itself"),
        ("torch", "regressor", "a module dcbmr_torch in this environment already"),
    ],
)
def test_names_that_are_taken(name, kind, message):
    with pytest.raises(dcbmr.InputError, match=message):
        checked_names(name, kind)


def test_nothing_is_overwritten_and_a_wrong_kind_is_named(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(dcbmr.InputError, match="exists, and nothing in it is overwritten"):
        new_package("novel", kind="loss", output=tmp_path / "mine")
    with pytest.raises(dcbmr.InputError, match="wanted regressor, loss, features; got 'feature'"):
        new_package("novel", kind="feature", output=tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a file system where nothing can be written")
def test_where_nothing_can_be_written():
    with pytest.raises(dcbmr.DcbmrError, match="/proc/novel (could not|cannot) be written"):
        new_package("novel", kind="loss", output="/proc/novel")


class Environment:
    """A fresh environment that sees what this one has, and where a package is installed and removed."""

    def __init__(self, folder):
        venv.create(folder)
        self.python = folder / "bin" / "python"
        base, paths = str(folder), sysconfig.get_paths()
        site = sysconfig.get_path("purelib", vars={"base": base, "platbase": base})
        # By addsitedir, so that an editable dcbmr is found, too.
        lines = [f"import site; site.addsitedir({paths[name]!r})" for name in ("purelib", "platlib")]
        Path(site, "here.pth").write_text("\n".join(dict.fromkeys(lines)) + "\n")

    def run(self, *words, cwd=None, python=None):
        done = subprocess.run(
            [python or self.python, "-m", *map(str, words)],
            cwd=cwd,
            capture_output=True,
            text=True,
            env=os.environ | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pip(self, *words):
        return self.run("pip", "--python", self.python, *words, python=sys.executable)


TRAIN = {
    "regressor": ("--regressor", "novel", "--words", "16"),
    "loss": ("--regressor", "mlp", "--loss", "novel", "--words", "16", "--set", "epochs=2"),
    "features": ("--regressor", "linear", "--kind", "novel"),
}


@pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword")
@pytest.mark.parametrize(
    "kind", ["regressor", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("loss", "features"))]
)
def test_from_its_birth_to_its_end(small_world, tmp_path, kind):
    """Generate, build a wheel, install it, run its tests, train, evaluate, uninstall."""
    pytest.importorskip("setuptools", minversion="77")  # which the package is built by
    here = Environment(tmp_path / "venv")
    here.run("dcbmr", "plugin", "new", "novel", "--kind", kind, cwd=tmp_path)
    here.pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, tmp_path / "dcbmr-novel")
    (wheel,) = tmp_path.glob("*.whl")
    here.pip("install", "-q", "--no-deps", wheel)
    assert " passed" in here.run("pytest", "-q", "tests", cwd=tmp_path / "dcbmr-novel")
    assert "from dcbmr-novel 0.1.0" in here.run("dcbmr", "plugins", "novel")
    assert " passed" in here.run("pytest", "--dcbmr", "novel", cwd=tmp_path)

    features, factors, model = small_world / "features", small_world / "factors", tmp_path / "model"
    if kind == "features":
        features = tmp_path / "features"
        here.run("dcbmr", "featurize", small_world / "audio", "-o", features, "--kind", "novel")
    here.run("dcbmr", "train", *TRAIN[kind], "--factors", factors, "--features", features, "-o", model)
    split = ("--split", small_world / "split", "--features", features)
    assert '"model"' in here.run("dcbmr", "evaluate", model, *split, "--json")

    here.pip("uninstall", "-q", "-y", "dcbmr-novel")
    assert "novel" not in here.run("dcbmr", "plugins", "--json")
