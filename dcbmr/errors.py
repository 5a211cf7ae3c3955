"""The errors that users see."""

from __future__ import annotations


class DcbmrError(Exception):
    """Root of everything that dcbmr raises on purpose."""


class InputError(DcbmrError, ValueError):
    """What the user gave is wrong: the message says what came, what was wanted, and what to do."""
