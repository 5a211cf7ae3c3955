"""Hyper-parameters as text."""

from typing import Literal

import pytest

from dcbmr.contract.params import parse_settings
from dcbmr.errors import InputError


class Machine:
    def __init__(
        self,
        *,
        hidden: int = 1000,
        rate: float = 0.1,
        bias: bool = True,
        shape: Literal["wide", "deep"] = "wide",
        widths: tuple[int, ...] = (1, 2),
        decay: float | None = None,
        random_state: int = 0,
        callback: object = None,
    ) -> None:
        pass


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("hidden=64", {"hidden": 64}),
        ("rate=1e-3", {"rate": 1e-3}),
        ("bias=no", {"bias": False}),
        ("shape=deep", {"shape": "deep"}),
        ("widths=8,16, 32", {"widths": (8, 16, 32)}),
        ("decay=none", {"decay": None}),
        ("decay=0.5", {"decay": 0.5}),
    ],
)
def test_settings_are_typed_by_the_annotations(setting, expected):
    assert parse_settings(Machine, [setting]) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["hidden"], "wanted name=value"),
        (["hiden=3"], "no parameter 'hiden'; there are hidden, rate, bias, shape, widths, decay"),
        (["hidden=many"], "wanted a whole number, got 'many'"),
        (["hidden=1.5"], "wanted a whole number, got '1.5'"),
        (["bias=perhaps"], "wanted true or false"),
        (["shape=round"], "wanted wide or deep, got 'round'"),
        (["widths=1,x"], "wanted a whole number, or several with commas between"),
        (["decay=x"], "wanted a number or none"),
        (["random_state=3"], "random_state has a flag of its own"),
        (["hidden=1", "hidden=2"], "--set hidden is given twice"),
        (["callback=f"], "got 'f'"),
    ],
)
def test_what_does_not_read_says_what_was_wanted(settings, message):
    with pytest.raises(InputError, match=message):
        parse_settings(Machine, settings)
