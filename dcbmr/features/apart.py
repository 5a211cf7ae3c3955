"""A part of features made in a process of its own, where a library that crashes costs one file.

For workers, whose own process has threads and a cluster behind it: what crashed one is done again here, as a
command on one machine does it. Light, as :mod:`dcbmr.base.crashes` is, until the work begins.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dcbmr.base.crashes import die_with, outlive
from dcbmr.errors import DcbmrError

_RUN = "from dcbmr.features.apart import answer; answer()"


def made_apart(work: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the report that ``work`` makes of these arguments.

    Raises
    ------
    DcbmrError
        It failed, or goes on crashing.
    """
    from dcbmr import _core

    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(os.getpid())],
        input=pickle.dumps((work, given)),  # for our own child
        capture_output=True,
        env={**os.environ, "DCBMR_ISA": _core.isa()},
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise DcbmrError(said.splitlines()[-1] if said else f"its process ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def answer() -> None:
    """Do what :func:`made_apart` asks for on standard input."""
    die_with(int(sys.argv[1]))
    asked = sys.stdin.buffer.read()
    outlive(partial(_make, asked), _decode)


def _make(asked: bytes) -> None:
    work, given = pickle.loads(asked)
    try:
        report = work(**given)
    except DcbmrError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    print(json.dumps(vars(report)))


def _decode(path: str) -> None:
    from dcbmr.audio.trial import read_through

    read_through(path)
