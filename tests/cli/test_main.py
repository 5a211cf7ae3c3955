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


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the bars read, to be set by hand."""
    from dcbmr.cli import _common

    seconds = [0.0]
    monkeypatch.setattr(_common, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_a_plain_log_tells_once_how_long_it_will_take(clock, capsys):
    from dcbmr.cli._common import show_progress

    with show_progress() as bars:
        for step in range(1, 6):
            bars("hear", step, 301, {})
            bars("short", step, 6, {})
            clock[0] += 60
        bars("short", 2, 6, {})  # the next of that name
        clock[0] += 600
        bars("short", 3, 6, {})
    # A minute a step: "short" is past a percent in its second step, "hear" in its fourth.
    assert capsys.readouterr().err == (
        "short: about 0 h 04 min to go\nhear: about 4 h 57 min to go\nshort: about 0 h 30 min to go\n"
    )


def test_a_terminal_shows_how_long_steps_of_minutes_will_take(clock, capsys, monkeypatch):
    from dcbmr.cli._common import show_progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with show_progress() as bars:
        bars("factorize", 0, 15, {})
        for sweep in range(1, 4):
            clock[0] += 300
            bars("factorize", sweep, 15, {})
    assert "1:00:00 to go" in capsys.readouterr().err
