"""The examples pass the conformance suite, found as anyone's plugins are."""

from pathlib import Path
from unittest import SkipTest

import pytest

import dcbmr.testing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nearest", {"n_neighbours": 3}),
        pytest.param(
            "gru",
            {"units": 8, "window": 64, "epochs": 10, "batch_size": 8, "learning_rate": 3e-2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["nearest", "gru"],
)
def test_example(install, monkeypatch, name, params):
    folder = EXAMPLES / f"dcbmr-{name}"
    monkeypatch.syspath_prepend(folder)
    install(f"dcbmr-{name}", (folder / f"dcbmr_{name}.py").read_text("utf-8"))
    for check in dcbmr.testing.regressor_checks(name, **params):
        try:
            check()
        except SkipTest:
            assert name == "nearest", f"{check} was skipped"
