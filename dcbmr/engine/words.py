"""What goes wrong with a cluster, in words, and what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dcbmr.errors import DcbmrError, InputError

_ANSWER_S = 10.0  # for a cluster to answer


def check_there(address: str) -> None:
    """Raise ConnectionError where nobody answers, for which Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    if not port.isdecimal():
        raise InputError(f"--ray-address {address}: wanted HOST:PORT, as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise ConnectionError(f"{address}: {error.strerror or error}") from error


def none_left(why: str) -> str:
    return f"there is no worker: {why}; see `ray status`, and with --resume what is done is not done again"


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def in_words(ray: Any) -> Iterator[None]:
    """Say what Ray has run into, and what to do."""
    exceptions = ray.exceptions
    try:
        yield
    except exceptions.ObjectStoreFullError as error:
        raise DcbmrError(
            "the object store of Ray is full: start it with more memory (ray start --object-store-memory)"
        ) from error
    except exceptions.OutOfDiskError as error:
        raise DcbmrError(
            "the disk is full where Ray writes what its object store has no room for (/tmp/ray, see "
            "RAY_TMPDIR): free some space, and go on with --resume"
        ) from error
    except ConnectionError as error:
        raise InputError(
            f"there is no Ray cluster to be reached: {last_line(error)}; start one (ray start --head), or "
            "leave --ray-address out to start Ray on this machine alone"
        ) from error
    except exceptions.RayError as error:
        raise DcbmrError(f"Ray: {type(error).__name__}: {last_line(error)}") from error
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise InputError(
            "the cluster runs another version of Ray or Python than this command: "
            + " ".join(str(error).split())
        ) from error
