"""The examples pass the conformance suite, found as anyone's plugins are."""

from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

import pytest

import dcbmr.testing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nearest", {"n_neighbours": 3}),
        ("sklearn", {"estimator": "random_forest", "n_estimators": 10}),
        pytest.param(
            "gru",
            {"units": 8, "window": 64, "epochs": 10, "batch_size": 8, "learning_rate": 3e-2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["nearest", "sklearn", "gru"],
)
def test_example(install, monkeypatch, name, params):
    offer(install, monkeypatch, name)
    for check in dcbmr.testing.regressor_checks(name, **params):
        try:
            check()
        except SkipTest:
            assert name != "gru", f"{check} was skipped"


def test_the_loss_of_the_examples(install, monkeypatch):
    offer(install, monkeypatch, "gaussian")
    for check in dcbmr.testing.loss_checks("gaussian"):
        with suppress(SkipTest):
            check()


def offer(install, monkeypatch, name):
    """Install an example, its modules from their folder."""
    folder = EXAMPLES / f"dcbmr-{name}"
    monkeypatch.syspath_prepend(folder)
    install(f"dcbmr-{name}", (folder / f"dcbmr_{name}.py").read_text("utf-8"))
