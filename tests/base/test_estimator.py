"""Settings of estimators: read, changed, shown and cloned as scikit-learn does."""

import numpy as np
import pytest
from sklearn.base import clone

import dcbmr
from dcbmr.base.estimator import Estimator


class Halving(Estimator):
    def __init__(self, *, times=1, name=None, share=float("nan")):
        self.times, self.name, self.share = times, name, share


def test_settings_are_read_and_changed_by_name():
    estimator = Halving(times=3)
    assert estimator.get_params() == {"times": 3, "name": None, "share": estimator.share}
    assert estimator.set_params(name="a", share=0.5) is estimator
    assert estimator.get_params(deep=False) == {"times": 3, "name": "a", "share": 0.5}


def test_a_setting_that_is_none_changes_nothing():
    estimator = Halving()
    with pytest.raises(dcbmr.InputError, match="Halving has no parameter 'tiems'; it has times, name, share"):
        estimator.set_params(times=9, tiems=2)
    assert estimator.times == 1


def test_repr_shows_what_is_not_the_default():
    assert repr(Halving()) == "Halving()"
    assert repr(Halving(times=2, name="x")) == "Halving(times=2, name='x')"
    assert repr(Halving(times=np.arange(2))) == "Halving(times=array([0, 1]))"


def test_clone_has_the_settings_and_nothing_else():
    estimator = Halving(times=4)
    estimator.fitted_ = 1
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not hasattr(copy, "fitted_")
