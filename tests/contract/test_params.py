"""Hyper-parameters as text."""

from typing import Literal

import pytest

import dcbmr
from dcbmr.contract.params import parse_regressor_settings, parse_settings
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


def test_settings_of_a_loss_reach_the_loss():
    mlp = dcbmr.regressors()["mlp"]
    given = ["epochs=3", "loss.temperature=0.5", "loss.n_songs=10", "loss.random_state=4"]
    params, loss_params = parse_regressor_settings(mlp, given, loss="softmax")
    assert params == {"epochs": 3}
    assert loss_params == {"temperature": 0.5, "n_songs": 10, "random_state": 4}
    assert parse_regressor_settings(mlp, ["loss.unit_norm=yes"]) == ({}, {"unit_norm": True})
    assert parse_regressor_settings(mlp, ["epochs=3"], loss="wpe") == ({"epochs": 3}, {})


@pytest.mark.parametrize(
    ("regressor", "loss", "setting", "message"),
    [
        ("mlp", "softmax", "loss.heat=1", "--set loss.heat=1: no parameter 'heat'; there are temperature"),
        ("mlp", "softmax", "loss.n_songs=x", "--set loss.n_songs=x: wanted a whole number, got 'x'"),
        ("mlp", "softmax", "loss.n_songs", "--set loss.n_songs: wanted name=value"),
        ("mlp", "wpe", "loss.unit_norm=yes", "no parameter 'unit_norm'; there are none"),
        ("mlp", "softmax", "temperature=1", "'temperature' is the loss's: --set loss.temperature=1"),
        ("mlp", None, "loss_params=3", "loss_params is set by loss.NAME=VALUE"),
        ("mlp", None, "loss=wpe", "loss has a flag of its own"),
        ("linear", "wpe", "loss.x=1", "loss.x=1: regressor 'linear' computes its losses itself"),
        ("mlr", None, "loss.x=1", "regressor 'mlr' has no loss to choose and so no parameters"),
        ("linear", "hinge", "regularization=1", "'linear' has no loss 'hinge': it takes mse, wpe"),
    ],
)
def test_wrong_settings_of_a_loss(regressor, loss, setting, message):
    with pytest.raises(InputError, match=message):
        parse_regressor_settings(dcbmr.regressors()[regressor], [setting], loss=loss)
