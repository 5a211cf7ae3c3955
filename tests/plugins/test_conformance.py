"""The built-in plugins pass the suite that dcbmr.testing offers to everybody."""

import pytest

import dcbmr.testing

REGRESSORS = {
    "linear": {},
    "linear-wpe": {"loss": "wpe"},
    "kernel_ridge": {},
    "mlr": {},
    "mlp": {"hidden": 32, "epochs": 10, "batch_size": 8, "learning_rate": 1e-2},
    "cnn": {
        "channels": (8, 8),
        "hidden": (16,),
        "epochs": 10,
        "batch_size": 16,
        "learning_rate": 3e-3,
    },
}
CHECKS = [
    pytest.param(check, id=f"{name}-{check}")
    for name, params in REGRESSORS.items()
    for check in dcbmr.testing.regressor_checks(name.partition("-")[0], **params)
]


@pytest.mark.parametrize("check", CHECKS)
def test_regressor(check):
    check()


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check}")
        for name in ("mse", "softmax", "wpe")
        for check in dcbmr.testing.loss_checks(name)
    ],
)
def test_loss(check):
    check()
