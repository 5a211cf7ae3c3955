"""Linear regression against scikit-learn, and its weighted prediction error against brute force."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import reference
from dcbmr_linear.linear import Linear
from scipy.sparse import csr_array

from dcbmr import FactorTarget, FitRun, InputError, get_regressor
from dcbmr.features.memory import VectorFeatures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def world(rng, n_songs=60, n_dims=10, n_factors=4, n_users=50, noise=0.3):
    """Songs whose factors are linear in their vectors, but for noise; users who play what suits them."""
    vectors = (rng.standard_normal((n_songs, n_dims)) * np.geomspace(10, 0.5, n_dims) + 3).astype(np.float32)
    weights = rng.standard_normal((n_dims, n_factors)) / 10
    factors = vectors @ weights + 0.2 + noise * rng.standard_normal((n_songs, n_factors))
    users = 0.3 * rng.standard_normal((n_users, n_factors)).astype(np.float32)
    played = rng.random((n_songs, n_users)) < 1 / (1 + np.exp(2 - 3 * factors @ users.T))
    surplus = csr_array(np.where(played, rng.uniform(20, 40, played.shape), 0).astype(np.float32))
    target = FactorTarget(
        song_factors=factors.astype(np.float32),
        user_factors=users,
        surplus=surplus,
        groups=None,
        validation=np.zeros(n_songs, bool),
    )
    return VectorFeatures("bow_pca", [f"s{i}" for i in range(n_songs)], vectors), target


SHAPES = pytest.mark.parametrize(("n_songs", "n_dims"), [(60, 10), (30, 50), (40, 40)])


@SHAPES
@pytest.mark.parametrize("regularization", [1e-3, 5.0, 1e4])
def test_is_ridge(rng, n_songs, n_dims, regularization):
    from sklearn.linear_model import Ridge

    songs, target = world(rng, n_songs, n_dims)
    model = Linear(regularization=regularization).fit(songs, target)
    peer = Ridge(alpha=regularization).fit(songs.vectors().astype(float), target.song_factors.astype(float))
    np.testing.assert_allclose(model.weights_, peer.coef_.T, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.predict(songs), peer.predict(songs.vectors()), rtol=1e-3, atol=1e-4)
    assert model.predict(songs).dtype == np.float32


@SHAPES
def test_leave_one_out_is_leaving_one_out(rng, n_songs, n_dims):
    from sklearn.linear_model import Ridge

    songs, target = world(rng, n_songs, n_dims)
    model = Linear().fit(songs, target)
    X, Y = songs.vectors().astype(float), target.song_factors.astype(float)
    for regularization in list(model.leave_one_out_)[::8]:
        errors = []
        for i in range(n_songs):
            others = np.arange(n_songs) != i
            peer = Ridge(alpha=regularization, solver="svd").fit(X[others], Y[others])
            errors.append(np.square(peer.predict(X[i : i + 1]) - Y[i]).sum())
        assert model.leave_one_out_[regularization] == pytest.approx(np.mean(errors), rel=1e-4)
    assert model.regularization_ == min(model.leave_one_out_, key=model.leave_one_out_.get)


@SHAPES
@pytest.mark.parametrize("n_artists", [2, 7, 25])
def test_artists_are_left_out_whole(rng, n_songs, n_dims, n_artists):
    from sklearn.linear_model import Ridge

    songs, target = world(rng, n_songs, n_dims)
    artists = np.concatenate([np.arange(n_artists), rng.integers(n_artists, size=n_songs - n_artists)])
    rng.shuffle(artists)
    model = Linear().fit(songs, replace(target, groups=artists))
    X, Y = songs.vectors().astype(float), target.song_factors.astype(float)
    for regularization in list(model.leave_one_out_)[::8]:
        errors = 0
        for artist in range(n_artists):
            own = artists == artist
            peer = Ridge(alpha=regularization, solver="svd").fit(X[~own], Y[~own])
            errors += np.square(peer.predict(X[own]) - Y[own]).sum()
        assert model.leave_one_out_[regularization] == pytest.approx(errors / n_songs, rel=1e-4)


def test_one_artist_is_no_artist(rng):
    songs, target = world(rng)
    alone = Linear().fit(songs, replace(target, groups=np.full(60, 3)))
    assert alone.leave_one_out_ == Linear().fit(songs, target).leave_one_out_


def test_lambda_is_what_ridge_cv_chooses(rng):
    from sklearn.linear_model import RidgeCV

    songs, target = world(rng, n_songs=40, n_dims=30, noise=2)
    model = Linear().fit(songs, target)
    peer = RidgeCV(list(model.leave_one_out_)).fit(
        songs.vectors().astype(float), target.song_factors.astype(float)
    )
    assert model.regularization_ == pytest.approx(peer.alpha_)
    np.testing.assert_allclose(model.weights_, peer.coef_.T, rtol=1e-3, atol=1e-5)


def test_features_that_say_nothing_leave_the_mean(rng):
    songs, target = world(rng)
    noise = VectorFeatures("bow_pca", songs.song_ids, rng.standard_normal((60, 200)).astype(np.float32))
    predicted = Linear().fit(noise, target).predict(noise)
    np.testing.assert_allclose(predicted.mean(axis=0), target.song_factors.mean(axis=0), atol=1e-3)
    assert predicted.std() < 0.6 * target.song_factors.std()
    same = VectorFeatures("bow_pca", songs.song_ids, np.full((60, 7), 4, np.float32))
    for loss in ("mse", "wpe"):
        model = Linear(loss=loss).fit(same, target)
        assert not model.weights_.any()
    np.testing.assert_allclose(
        Linear().fit(same, target).intercept_, target.song_factors.mean(axis=0), rtol=1e-4
    )


def wpe_objective(model, songs, target, weights, intercept):
    predicted = songs.vectors().astype(float) @ weights + intercept
    surplus = target.surplus.toarray().astype(float)
    users = target.user_factors.astype(float)
    mean_confidence = users.T @ ((1 + surplus.mean(axis=0))[:, None] * users)
    penalty = model.regularization_ * np.trace(weights @ mean_confidence @ weights.T)
    return reference.wpe(predicted, users, surplus) + penalty


@SHAPES
@pytest.mark.parametrize("regularization", [None, 0.5])
def test_wpe_is_least(rng, n_songs, n_dims, regularization):
    songs, target = world(rng, n_songs, n_dims)
    model = Linear(loss="wpe", regularization=regularization).fit(songs, target)
    weights, intercept = model.weights_.astype(float), model.intercept_.astype(float)
    least = wpe_objective(model, songs, target, weights, intercept)
    mse = Linear(regularization=model.regularization_).fit(songs, target)
    assert least < 0.999 * wpe_objective(model, songs, target, mse.weights_.astype(float), mse.intercept_)
    # A quadratic is least where every direction is level: compare both sides.
    for _ in range(20):
        dw, db = rng.standard_normal(weights.shape), rng.standard_normal(intercept.shape)
        step = 1e-2 / np.linalg.norm(dw)
        up = wpe_objective(model, songs, target, weights + step * dw, intercept + step * db)
        down = wpe_objective(model, songs, target, weights - step * dw, intercept - step * db)
        curvature = (up + down) / 2 - least
        assert curvature > 0
        assert abs(up - down) / 2 < 0.02 * curvature


def test_wpe_is_the_solution_of_the_whole_system(rng):
    songs, target = world(rng, n_songs=40, n_dims=5, n_factors=3, n_users=30)
    model = Linear(loss="wpe", regularization=2.0).fit(songs, target)
    X = np.column_stack([songs.vectors().astype(float), np.ones(40)])
    users, surplus = target.user_factors.astype(float), target.surplus.toarray().astype(float)
    mean_confidence = users.T @ ((1 + surplus.mean(axis=0))[:, None] * users)
    system = np.kron(np.diag([2.0] * 5 + [0]), mean_confidence)
    right = np.zeros(18)
    for x, s in zip(X, surplus, strict=True):
        system += np.kron(np.outer(x, x), users.T @ ((1 + s)[:, None] * users))
        right += np.kron(x, users.T @ ((1 + s) * (s > 0)))
    solution = np.linalg.solve(system, right).reshape(6, 3)
    np.testing.assert_allclose(model.weights_, solution[:-1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, solution[-1], rtol=1e-3, atol=1e-5)


@SHAPES
@pytest.mark.parametrize("loss", ["mse", "wpe"])
def test_small_pieces_are_the_whole(rng, monkeypatch, loss, n_songs, n_dims):
    songs, target = world(rng, n_songs, n_dims)
    target = replace(target, groups=rng.integers(0, 9, n_songs))
    whole = Linear(loss=loss).fit(songs, target)
    for numbers in (7, 20 * n_dims):
        for module in ("ridge", "linear"):
            monkeypatch.setattr(f"dcbmr_linear.{module}.GATHERED", numbers)
        pieces = Linear(loss=loss).fit(songs, target)
        np.testing.assert_allclose(pieces.weights_, whole.weights_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            list(pieces.leave_one_out_.values()), list(whole.leave_one_out_.values()), rtol=1e-9
        )


@pytest.mark.parametrize("loss", ["mse", "wpe"])
def test_no_copy_of_the_vectors_is_made(rng, monkeypatch, loss):
    songs, target = world(rng, n_songs=8000, n_dims=100, n_users=20)
    for module in ("ridge", "linear"):
        monkeypatch.setattr(f"dcbmr_linear.{module}.GATHERED", 1 << 14)
    tracemalloc.start()
    try:
        Linear(loss=loss).fit(songs, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.8 * 8 * songs.vectors().size


def test_wpe_reports_and_can_be_stopped(rng):
    songs, target = world(rng)
    steps = []
    Linear(loss="wpe").fit(
        songs, target, run=FitRun(report=lambda stage, step, n, figures: steps.append(step))
    )
    assert steps == list(range(1, len(steps) + 1))
    assert 1 < len(steps) < 100

    def stop(stage, step, n_steps, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Linear(loss="wpe").fit(songs, target, run=FitRun(report=stop))


@pytest.mark.parametrize("loss", ["mse", "wpe"])
def test_sparse_counts_save_and_load(rng, loss, tmp_path):
    songs, target = world(rng)
    counts = csr_array(rng.poisson(1.0, (60, 20)).astype(np.float32))
    sparse = VectorFeatures("bow", songs.song_ids, counts)
    dense = VectorFeatures("bow", songs.song_ids, counts.toarray())
    model = get_regressor("linear", loss=loss).fit(sparse, target)
    np.testing.assert_allclose(
        model.predict(sparse), Linear(loss=loss).fit(dense, target).predict(dense), rtol=1e-4
    )
    model.save(tmp_path)
    loaded = Linear.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(sparse), model.predict(sparse))
    assert (loaded.loss, loaded.regularization, loaded.regularization_) == (loss, None, model.regularization_)
    assert loaded.leave_one_out_ == model.leave_one_out_


def test_bad_input(rng):
    songs, target = world(rng)
    with pytest.raises(InputError, match="loss must be 'mse' or 'wpe'; got 'mae'"):
        Linear(loss="mae").fit(songs, target)
    with pytest.raises(InputError, match="at least 0 and finite; got -1"):
        Linear(regularization=-1).fit(songs, target)
    fewer = VectorFeatures("bow_pca", songs.song_ids[:9], songs.vectors()[:9])
    with pytest.raises(InputError, match="9 vectors and 60 rows"):
        Linear().fit(fewer, target)
    broken = songs.vectors().copy()
    broken[3, 3] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        Linear().fit(VectorFeatures("bow_pca", songs.song_ids, broken), target)
    with pytest.raises(InputError, match="no weights yet"):
        Linear().predict(songs)
    model = Linear().fit(songs, target)
    with pytest.raises(InputError, match="9 dimensions, the weights 10"):
        model.predict(VectorFeatures("bow_pca", songs.song_ids, broken[:, :9]))
    with pytest.raises(InputError, match="has no loss 'hinge'"):
        get_regressor("linear", loss="hinge")
    with pytest.raises(InputError, match="at least 0 and finite; got nan"):  # before any work
        get_regressor("linear", regularization=float("nan"))
