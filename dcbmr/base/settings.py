"""Settings, and in what two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dcbmr.errors import InputError


def check_settings(wanted: Mapping[str, Any], found: Mapping[str, Any], of: str, *, remedy: str) -> None:
    """Raise InputError where two settings differ: the one check, and the one message, of all that is kept.

    Parameters
    ----------
    wanted, found : mapping
        Of what is in hand and of what was kept, for JSON; inner settings are named "outer.inner". One that
        is missing is as good as None.
    of : str
        What was kept, and how it came about: "features was made", "demo was begun".
    remedy : str
        What to do; it ends the message.
    """
    shown = ", ".join(
        f"{name} is {theirs} (wanted {ours})" for name, theirs, ours in differences(found, wanted)
    )
    if shown:
        raise InputError(f"{of} with other settings: {shown}; {remedy}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the settings that differ: the name of each, and what it was and is, in words."""
    was, is_now = (dict(_flat(_as_kept(settings))) for settings in (before, now))
    return [
        (name, _shown(was.get(name)), _shown(is_now.get(name)))
        for name in dict.fromkeys([*is_now, *was])
        if was.get(name) != is_now.get(name)
    ]


def _as_kept(settings: Mapping[str, Any]) -> Any:
    """Return the settings as JSON gives them back: tuples are lists there."""
    return json.loads(json.dumps(settings))


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings with those of inner mappings, and of mappings in a list, among them."""
    for name, value in settings.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
