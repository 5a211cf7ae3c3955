import pytest

import dcbmr.testing


@pytest.mark.parametrize("check", dcbmr.testing.regressor_checks("nearest", n_neighbours=3), ids=str)
def test_nearest(check):
    check()
