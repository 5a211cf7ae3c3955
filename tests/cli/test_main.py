"""What the console script sets up before anything is imported."""

import os
import subprocess
import sys

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
