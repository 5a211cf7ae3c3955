"""Settings, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcbmr.errors import InputError


def check_settings(wanted: Mapping[str, Any], found: Mapping[str, Any], complaint: str) -> None:
    """Raise InputError with the complaint and the settings in which ``found`` differs from ``wanted``."""
    names = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if names:
        differences = ", ".join(f"{name} {found.get(name)} (wanted {wanted.get(name)})" for name in names)
        raise InputError(f"{complaint}: {differences}")
