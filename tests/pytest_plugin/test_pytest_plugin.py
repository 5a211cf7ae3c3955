"""``pytest --dcbmr NAME``: the suite, run by pytest, which loads nothing of dcbmr until it is asked."""

import os
import re
import subprocess
import sys

import pytest

import dcbmr.testing


def run(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    return tmp_path


def test_importing_it_imports_nothing_but_pytest():
    code = (
        "import pytest, sys\nbefore = set(sys.modules)\nimport dcbmr_pytest\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['dcbmr_pytest']"


def test_pytest_itself_loads_nothing_of_dcbmr(folder):
    (folder / "test_own.py").write_text(
        "import sys\n\ndef test_own():\n    assert 'dcbmr' not in sys.modules\n"
    )
    code, said = run("-q", cwd=folder)
    assert code == 0, said


def test_without_paths_the_suite_alone_and_with_paths_both(folder):
    code, said = run("-v", "--dcbmr", "linear", cwd=folder)
    assert code == 0, said
    assert "dcbmr::linear::regressor::save_and_load PASSED" in said
    assert "linear: fit never reports" in run("-rs", "--dcbmr", "linear", cwd=folder)[1]
    assert "test_own" not in said
    assert f"collected {len(dcbmr.testing.regressor_checks('linear'))} items" in said
    code, said = run("-v", "--dcbmr", "mel", "-k", "silence or own", "test_own.py", cwd=folder)
    assert code == 0, said
    assert "dcbmr::mel::features::silence PASSED" in said
    assert "test_own.py::test_own PASSED" in said
    assert "one_sample" not in said


def test_a_failure_says_what_to_change_and_what_for(folder):
    # A set regularization that is so large that nothing is learned.
    code, said = run("--dcbmr", "linear", "--dcbmr-set", "regularization=1e12", cwd=folder)
    assert code == 1
    assert "predict in the units of target.song_factors" in said
    assert "why: On every kind of its shape" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dcbmr", "nobody"], "--dcbmr nobody: no plugin offers 'nobody'; installed: .*linear"),
        (["--dcbmr", "linear", "--dcbmr-set", "depth=2"], "no parameter 'depth'"),
        (["--dcbmr-set", "depth=2"], "give --dcbmr NAME with it"),
    ],
)
def test_what_is_not_there_is_named(folder, words, message):
    code, said = run(*words, cwd=folder)
    assert code == 4
    assert re.search(message, said), said
