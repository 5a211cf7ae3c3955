"""A file read for no other reason than to see whether that crashes."""

from __future__ import annotations

from dcbmr.audio.decode import decode
from dcbmr.errors import InputError


def read_through(path: str) -> None:
    """Decode a file, if it can be decoded."""
    try:
        for _ in decode(path):
            pass
    except InputError:
        return
