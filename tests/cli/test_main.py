"""What the console script sets up before anything is imported."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(("given", "wanted"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_sleep_unless_told_otherwise(given, wanted):
    code = (
        "import os, sys\n"
        "def see(event, args):\n"
        "    if event == 'import' and args[0] == 'numpy': print(os.environ['OMP_WAIT_POLICY'])\n"
        "sys.addaudithook(see)\n"
        "import dcbmr.__main__, dcbmr\n"
        "dcbmr.LogMel"
    )
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert set(done.stdout.splitlines()) == {wanted}


def test_a_plain_log_tells_once_how_long_it_will_take(monkeypatch, capsys):
    from dcbmr.cli import _common

    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(_common, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with _common.show_progress() as bars:
        for step in range(1, 6):
            bars("hear", step, 301, {})
            bars("short", step, 6, {})
    # Half a minute a look: "short" is past a percent in its second step, "hear" in its fourth.
    assert capsys.readouterr().err == "short: about 0 h 02 min to go\nhear: about 2 h 28 min to go\n"
