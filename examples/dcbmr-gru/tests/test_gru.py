import pytest

import dcbmr.testing

SMALL = {"units": 8, "window": 64, "epochs": 10, "batch_size": 8, "learning_rate": 3e-2}


@pytest.mark.parametrize("check", dcbmr.testing.regressor_checks("gru", **SMALL), ids=str)
def test_gru(check):
    check()
