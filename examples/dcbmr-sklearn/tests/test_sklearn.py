import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge

import dcbmr
import dcbmr.testing

SMALL = {
    "kernel_ridge": {"alpha": 0.1},
    "random_forest": {"n_estimators": 20},
    "neighbours": {"n_neighbors": 5},
}
CHECKS = [
    pytest.param(check, id=f"{estimator}-{check}")
    for estimator, params in SMALL.items()
    for check in dcbmr.testing.regressor_checks("sklearn", estimator=estimator, **params)
]


@pytest.mark.parametrize("check", CHECKS)
def test_sklearn(check):
    check()


@pytest.fixture
def fitted():
    """A function that fits an estimator on scaled songs, and returns them with it."""
    features, target = dcbmr.testing.planted_world("bow_pca")

    def fit(estimator):
        model = dcbmr.get_regressor("sklearn", estimator=estimator, **SMALL[estimator])
        model.fit(features, target)
        vectors = (features.vectors() - model.mean_) / model.scale_
        return model, features, vectors, target.song_factors - model.offset_

    return fit


def test_kernel_ridge_predicts_as_scikit_learn_does(fitted):
    model, features, vectors, factors = fitted("kernel_ridge")
    theirs = KernelRidge(alpha=0.1, kernel="rbf").fit(vectors, factors).predict(vectors)
    np.testing.assert_allclose(model.predict(features) - model.offset_, theirs, atol=1e-5)


def test_a_forest_predicts_as_scikit_learn_does(fitted):
    model, features, vectors, factors = fitted("random_forest")
    forest = RandomForestRegressor(20, min_samples_leaf=2, max_features=1 / 3, random_state=0)
    theirs = forest.fit(vectors, factors).predict(vectors)
    np.testing.assert_allclose(model.predict(features) - model.offset_, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["left", "right", "dimension", "roots"])
def test_a_forest_whose_walk_would_not_end_is_refused(fitted, tmp_path, name):
    model, *_ = fitted("random_forest")
    model.arrays_[name] = model.arrays_[name].copy()
    model.arrays_[name][0] = 0 if name in ("left", "right") else 1 << 20  # a circle, or outside
    model.save(tmp_path)
    with pytest.raises(dcbmr.InputError, match="nodes of the forest are damaged"):
        type(model).load(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimator": "boosting"}, "estimator must be one of kernel_ridge, random_forest, neighbours"),
        ({"alpha": 0.0}, "alpha must be positive; got 0"),
        ({"n_neighbors": 0}, "n_neighbors must be at least 1; got 0"),
    ],
)
def test_what_is_out_of_range_is_refused(params, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.get_regressor("sklearn", **params)
