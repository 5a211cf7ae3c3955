"""Kernel ridge regression against its linear system, and leaving out against refitting."""

from dataclasses import replace

import numpy as np
import pytest
from dcbmr_linear.kernel_ridge import KernelRidge
from dcbmr_linear.linear import Linear
from scipy.sparse import csr_array

from dcbmr import FactorTarget, FitRun, InputError, get_regressor
from dcbmr.features.memory import VectorFeatures


def world(n_songs=40, n_dims=6, n_artists=13, seed=0):
    """Songs whose factors bend with their vectors, but for noise."""
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((n_songs, n_dims)) + 30).astype(np.float32)
    bends = np.sin(2 * (vectors - 30) @ rng.standard_normal((n_dims, 3)) / n_dims**0.5)
    target = FactorTarget(
        song_factors=(bends + 0.1 * rng.standard_normal(bends.shape) + 0.3).astype(np.float32),
        user_factors=rng.standard_normal((5, 3)).astype(np.float32),
        surplus=csr_array(np.ones((n_songs, 5), np.float32)),
        groups=rng.integers(n_artists, size=n_songs),
        validation=np.zeros(n_songs, bool),
    )
    return VectorFeatures("stats", [f"s{i}" for i in range(n_songs)], vectors), target


def alike(x, z, width):
    squares = np.square(x[:, None].astype(float) - z[None].astype(float)).sum(axis=-1)
    return np.exp(-squares / (2 * width**2))


def solution(vectors, factors, width, regularization):
    """Solve (K + lambda) a + b = Y, sum of a = 0; return what predicts."""
    n = len(vectors)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = alike(vectors, vectors, width) + regularization * np.eye(n)
    system[n, n] = 0
    weights = np.linalg.solve(system, np.vstack([factors, np.zeros(factors.shape[1])]).astype(float))
    return lambda songs: alike(songs, vectors, width) @ weights[:-1] + weights[-1]


def solution_on(landmarks, vectors, factors, width, regularization):
    """Solve for the least |Y - K a - b|^2 + lambda a' K_landmarks a; return what predicts."""
    n = len(landmarks)
    wide = np.column_stack([alike(vectors, landmarks, width), np.ones(len(vectors))])
    system = wide.T @ wide
    system[:n, :n] += regularization * alike(landmarks, landmarks, width)
    weights = np.linalg.solve(system, wide.T @ factors.astype(float))
    return lambda songs: alike(songs, landmarks, width) @ weights[:-1] + weights[-1]


@pytest.mark.parametrize(("width", "regularization"), [(0.5, 0.01), (2.0, 0.1), (8.0, 1e-3)])
def test_is_the_solution_of_its_system(width, regularization):
    songs, target = world()
    model = KernelRidge(width=width, regularization=regularization).fit(songs, target)
    peer = solution(songs.vectors(), target.song_factors, width, regularization)
    others = world(seed=1)[0]
    np.testing.assert_allclose(model.predict(others), peer(others.vectors()), rtol=1e-4, atol=1e-4)
    assert model.predict(others).dtype == np.float32


@pytest.mark.parametrize(("width", "regularization"), [(0.5, 0.01), (2.0, 0.1)])
def test_landmarks_bound_the_sum_and_all_songs_are_learned_from(width, regularization):
    songs, target = world()
    model = KernelRidge(width=width, regularization=regularization, n_landmarks=9).fit(songs, target)
    assert model.weights_.shape == (9, 3)
    peer = solution_on(model.landmarks_, songs.vectors(), target.song_factors, width, regularization)
    others = world(seed=1)[0]
    np.testing.assert_allclose(model.predict(others), peer(others.vectors()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n_landmarks", [100, 9])
def test_leaving_out_is_refitting(n_landmarks):
    songs, target = world()
    model = KernelRidge(n_landmarks=n_landmarks).fit(songs, target)
    vectors, factors, artists = songs.vectors(), target.song_factors, target.groups
    assert len(model.leave_one_out_) == 5
    for width, errors in model.leave_one_out_.items():
        for regularization in list(errors)[12::7]:
            error = 0.0
            for artist in np.unique(artists):
                own = artists == artist
                others = vectors[~own], factors[~own], width, regularization
                peer = solution(*others) if n_landmarks > 40 else solution_on(model.landmarks_, *others)
                error += np.square(peer(vectors[own]) - factors[own]).sum() / 40
            assert errors[regularization] == pytest.approx(error, rel=1e-3)
    assert model.leave_one_out_[model.width_][model.regularization_] == min(
        error for errors in model.leave_one_out_.values() for error in errors.values()
    )


def test_hears_what_a_line_cannot():
    songs, target = world(n_songs=300, n_dims=2, n_artists=100)
    others, wanted = world(n_songs=300, n_dims=2, seed=0)
    kernel, line = (model.fit(songs, target) for model in (KernelRidge(), Linear()))
    errors = [np.square(model.predict(others) - wanted.song_factors).mean() for model in (kernel, line)]
    assert errors[0] < 0.3 * errors[1]


def test_features_that_say_nothing_leave_the_mean():
    songs, target = world()
    same = VectorFeatures("stats", songs.song_ids, np.full((40, 7), 4, np.float32))
    predicted = KernelRidge().fit(same, target).predict(same)
    np.testing.assert_allclose(predicted, np.tile(target.song_factors.mean(axis=0), (40, 1)), rtol=1e-4)


def test_small_pieces_are_the_whole(monkeypatch):
    songs, target = world()
    whole = KernelRidge(n_landmarks=12).fit(songs, target).predict(songs)
    monkeypatch.setattr("dcbmr_linear.kernel_ridge.GATHERED", 50)
    monkeypatch.setattr("dcbmr_linear.ridge.GATHERED", 50)
    np.testing.assert_allclose(
        KernelRidge(n_landmarks=12).fit(songs, target).predict(songs), whole, rtol=1e-5, atol=1e-6
    )


def test_landmarks_follow_the_seed():
    songs, target = world()
    chosen = [
        KernelRidge(n_landmarks=9, random_state=seed).fit(songs, target).landmarks_ for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])


def test_sparse_counts_save_and_load(tmp_path):
    songs, target = world()
    counts = csr_array(np.random.default_rng(0).poisson(1.0, (40, 20)).astype(np.float32))
    sparse, dense = (VectorFeatures("bow", songs.song_ids, rows) for rows in (counts, counts.toarray()))
    model = get_regressor("kernel_ridge", n_landmarks=30).fit(sparse, target)
    np.testing.assert_array_equal(
        model.predict(sparse), KernelRidge(n_landmarks=30).fit(dense, target).predict(dense)
    )
    model.save(tmp_path)
    loaded = KernelRidge.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(sparse), model.predict(sparse))
    assert loaded.leave_one_out_ == model.leave_one_out_
    assert vars(loaded).keys() == vars(model).keys()


def test_can_be_stopped():
    songs, target = world()
    steps = []

    def stop(stage, step, n_steps, figures):
        steps.append((step, n_steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KernelRidge().fit(songs, target, run=FitRun(report=stop))
    assert steps == [(0, 5)]


def test_bad_input():
    songs, target = world()
    for params, message in (
        ({"width": 0.0}, "width must be positive and finite; got 0.0"),
        ({"regularization": float("nan")}, "regularization must be positive and finite; got nan"),
        ({"n_landmarks": 1}, "n_landmarks must be at least 2; got 1"),
    ):
        with pytest.raises(InputError, match=message):
            get_regressor("kernel_ridge", **params)
    fewer = VectorFeatures("stats", songs.song_ids[:9], songs.vectors()[:9])
    with pytest.raises(InputError, match="9 vectors and 40 rows"):
        KernelRidge().fit(fewer, target)
    for row in (3, 39):
        broken = songs.vectors().copy()
        broken[row, 3] = np.nan
        for n_landmarks in (5, 100):
            with pytest.raises(InputError, match="must be finite"):
                KernelRidge(n_landmarks=n_landmarks).fit(
                    VectorFeatures("stats", songs.song_ids, broken), target
                )
    with pytest.raises(InputError, match="no weights yet"):
        KernelRidge().predict(songs)
    model = KernelRidge().fit(songs, replace(target, groups=None))
    with pytest.raises(InputError, match="5 dimensions, the landmarks 6"):
        model.predict(VectorFeatures("stats", songs.song_ids, songs.vectors()[:, :5]))
