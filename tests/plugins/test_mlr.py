"""Metric learning to rank: its oracles, its solver, the class MLR and the regressor made with it."""

import contextlib
import doctest
import io

import numpy as np
import pytest
from dcbmr_mlr import MLR
from dcbmr_mlr._cone import DiagonalCone, FullCone
from dcbmr_mlr._oracle import most_violated
from dcbmr_mlr._solver import simplex_qp
from dcbmr_mlr.regressor import MLRRegressor, audience_relevance
from reference import worst_violation
from scipy.sparse import csr_array
from sklearn.base import clone

import dcbmr
from dcbmr import FactorTarget, FitRun, InputError

LOSSES = ["auc", "map"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def planted(n_songs=180, n_informative=4, n_noise=12, n_classes=12, seed=0):
    """Songs whose class shows in a few directions, among louder ones that mean nothing; rotated."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_classes, n_informative))
    labels = np.arange(n_songs) % n_classes
    signal = centres[labels] + 0.3 * rng.standard_normal((n_songs, n_informative))
    noise = 2.0 * rng.standard_normal((n_songs, n_noise))
    rotation = np.linalg.qr(rng.standard_normal((n_informative + n_noise,) * 2))[0]
    return np.hstack([signal, noise]) @ rotation, labels


def euclidean(loss):
    """The same scores without learning."""
    plain = MLR(loss=loss)
    plain.mean_, plain.components_ = np.zeros(16), np.eye(16)
    return plain


class TestOracle:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_finds_the_worst_of_all_rankings(self, loss, rng):
        for trial in range(150):
            n_items = int(rng.integers(2, 7))
            scores = rng.standard_normal((1, n_items)) * rng.choice([0.01, 0.1, 0.3, 1.0])
            if trial % 3 == 0:
                scores = np.round(scores, 1)  # ties
            relevance = rng.integers(-1, 2, (1, n_items)).astype(np.int8)
            if not ((relevance == 1).any() and (relevance == 0).any()):
                continue
            losses, weights = most_violated(scores, relevance, loss, 1)
            worst = worst_violation(scores[0], relevance[0], loss)
            assert losses[0] - weights[0] @ scores[0] == pytest.approx(worst, abs=1e-12)
            assert weights.sum() == pytest.approx(0, abs=1e-12)
            assert not weights[relevance == -1].any()

    @pytest.mark.parametrize("loss", LOSSES)
    def test_reaches_both_ends_of_the_loss(self, loss):
        relevance = np.array([[1, 1, 0, 0, 0]], np.int8)
        right = np.array([[9.0, 8.0, 2.0, 1.0, 0.0]])
        assert most_violated(right, relevance, loss, 1)[0] == 0
        wrong = {"auc": 1.0, "map": 1 - (1 / 4 + 2 / 5) / 2}
        assert most_violated(-right, relevance, loss, 1)[0] == pytest.approx(wrong[loss])

    @pytest.mark.parametrize("loss", LOSSES)
    def test_threads_change_nothing(self, loss, rng):
        scores = 0.2 * rng.standard_normal((53, 301))
        relevance = (rng.random(scores.shape) < 0.05).astype(np.int8)
        one, three = (most_violated(scores, relevance, loss, n) for n in (1, 3))
        np.testing.assert_array_equal(one[0], three[0])
        np.testing.assert_array_equal(one[1], three[1])

    def test_passes_over_queries_without_both_kinds(self):
        losses, weights = most_violated(np.ones((2, 3)), np.array([[1, 1, -1], [0, 0, 0]], np.int8), "auc", 1)
        assert not losses.any()
        assert not weights.any()

    def test_refuses_what_does_not_fit(self):
        with pytest.raises(ValueError, match=r"relevance has shape \(1, 3\), scores \(1, 2\)"):
            most_violated(np.ones((1, 2)), np.ones((1, 3), np.int8), "auc", 1)
        with pytest.raises(ValueError, match="loss"):
            most_violated(np.ones((1, 2)), np.ones((1, 2), np.int8), "ndcg", 1)
        with pytest.raises(ValueError, match="scores hold NaN, first for query 1"):
            most_violated(np.array([[1, 2], [1, np.nan]]), np.ones((2, 2), np.int8), "map", 1)


class TestSolver:
    @pytest.mark.parametrize("cone", [FullCone(5), DiagonalCone(5)], ids=["full", "diagonal"])
    def test_plane_is_the_gradient_of_the_scores(self, cone, rng):
        queries, items = rng.standard_normal((3, 5)), rng.standard_normal((7, 5))
        weights = rng.standard_normal((3, 7))
        weights -= weights.mean(axis=1, keepdims=True)
        w = cone.project(rng.standard_normal(cone.identity.shape))
        matrix = w if w.ndim == 2 else np.diag(w)
        expected = -sum(
            weights[q, i] * (queries[q] - items[i]) @ matrix @ (queries[q] - items[i])
            for q in range(3)
            for i in range(7)
        )
        assert np.sum(weights * cone.scores(w, queries, items)) == pytest.approx(expected)
        assert np.sum(w * cone.plane(weights, queries, items)) == pytest.approx(expected)

    def test_simplex_qp_meets_the_optimality_conditions(self, rng):
        for _ in range(50):
            n = int(rng.integers(1, 12))
            root = rng.standard_normal((n, int(rng.integers(1, n + 1))))
            hessian, linear = root @ root.T, rng.standard_normal(n)
            a = simplex_qp(hessian, linear, np.full(n, 3.0 / n))
            assert a.sum() == pytest.approx(3.0)
            assert a.min() >= 0
            gradient = hessian @ a - linear
            # Moving weight from any plane that has some to any other does not help.
            assert gradient[a > 1e-9].max() <= gradient.min() + 1e-6


class TestMLR:
    @pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_converges(self, loss, diagonal):
        X, labels = planted()
        mlr = MLR(loss=loss, diagonal=diagonal, C=300.0, tolerance=0.01).fit(X, labels)
        history = mlr.history_
        objectives = [step["objective"] for step in history]
        assert mlr.converged_
        assert objectives == sorted(objectives, reverse=True)
        assert objectives[-1] < objectives[0]
        assert history[-1]["violation"] <= mlr.tolerance
        assert 0 <= objectives[-1] - history[-1]["bound"] <= mlr.C * mlr.tolerance

    def test_objective_is_that_of_the_paper(self):
        X, labels = planted(n_songs=60)
        mlr = MLR(C=100.0).fit(X, labels)
        scale = np.sqrt(np.square(X - X.mean(0)).sum(axis=1).mean())
        embedded = mlr.transform(X)
        distances = np.square(embedded[:, None] - embedded[None]).sum(axis=2)
        risk = 0.0
        for query in range(60):
            relevant = (labels == labels[query]) & (np.arange(60) != query)
            margins = distances[query][labels != labels[query]][None] - distances[query][relevant][:, None]
            # For AUC the worst ranking takes each pair on its own.
            risk += np.maximum(0, 1 - 2 * margins).mean() / 60
        trace = np.trace(mlr.metric_) * scale**2
        assert trace + 100 * risk == pytest.approx(mlr.history_[-1]["objective"])

    @pytest.mark.parametrize("loss", LOSSES)
    def test_beats_euclid_on_songs_it_has_not_seen(self, loss):
        X, labels = planted(n_songs=300)
        learned = MLR(loss=loss, C=1000.0, tolerance=0.05).fit(X[:180], labels[:180])
        plain = euclidean(loss).score(X[180:], labels[180:])
        assert learned.score(X[180:], labels[180:]) > plain + 0.2

    def test_metric_is_positive_and_factored(self):
        X, labels = planted(n_songs=60)
        full = MLR().fit(X, labels)
        np.testing.assert_allclose(full.metric_, full.metric_.T, atol=1e-14)
        assert np.linalg.eigvalsh(full.metric_)[0] >= -1e-12
        np.testing.assert_allclose(full.components_.T @ full.components_, full.metric_, atol=1e-8)
        diagonal = MLR(diagonal=True).fit(X, labels)
        assert diagonal.metric_.shape == (16,)
        assert (diagonal.metric_ >= 0).all()
        np.testing.assert_allclose(
            diagonal.components_.T @ diagonal.components_, np.diag(diagonal.metric_), atol=1e-12
        )

    def test_scale_and_place_of_the_data_change_nothing(self):
        X, labels = planted(n_songs=60)
        plain, moved = MLR().fit(X, labels), MLR().fit(40 * X + 7, labels)
        np.testing.assert_allclose(moved.metric_ * 1600, plain.metric_, rtol=1e-5, atol=1e-7)

    def test_relevance_as_labels_dense_and_sparse(self):
        X, labels = planted(n_songs=60)
        same = labels[:, None] == labels[None]
        by_labels = MLR().fit(X, labels).metric_
        np.testing.assert_array_equal(MLR().fit(X, same).metric_, by_labels)
        np.testing.assert_array_equal(MLR().fit(X, csr_array(same)).metric_, by_labels)

    def test_same_seed_same_metric_for_any_threads(self):
        X, labels = planted()
        fits = [
            MLR(n_queries=50, random_state=seed, n_threads=n, tolerance=0.05).fit(X, labels)
            for seed, n in [(1, 1), (1, 3), (2, 1)]
        ]
        assert fits[0].n_queries_ == 50
        np.testing.assert_array_equal(fits[0].metric_, fits[1].metric_)
        assert not np.array_equal(fits[0].metric_, fits[2].metric_)

    def test_progress_sees_every_plane_and_may_stop(self):
        X, labels = planted(n_songs=60)
        seen = []
        mlr = MLR().fit(X, labels, progress=lambda stage, n, n_planes, figures: seen.append((n, figures)))
        assert [n for n, _ in seen] == list(range(1, len(mlr.history_) + 1))
        assert [figures for _, figures in seen] == mlr.history_

        def cancel(stage, iteration, n_planes, figures):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            MLR().fit(X, labels, progress=cancel)

    @pytest.mark.parametrize(("loss", "expected"), [("auc", 4 / 6), ("map", (1 / 1 + 2 / 4) / 2)])
    def test_score_by_hand(self, loss, expected):
        mlr = euclidean(loss)
        mlr.mean_, mlr.components_ = np.zeros(1), np.eye(1)
        corpus = [[1.0], [2.0], [3.0], [4.0], [5.0]]
        # From 0 the ranking is the corpus as it stands: hits at 1 and 4, two of the six pairs wrong.
        relevance = [[1, 0, 0, 1, 0]]
        assert mlr.score([[0.0]], relevance, corpus) == pytest.approx(expected)
        # All at one distance: a half, or the relevant ones last.
        tied = {"auc": 0.5, "map": (1 / 4 + 2 / 5) / 2}
        assert mlr.score([[0.0]], relevance, np.ones((5, 1))) == pytest.approx(tied[loss])

    def test_save_and_load(self, tmp_path):
        X, labels = planted(n_songs=60)
        mlr = MLR(C=50.0, n_queries=30).fit(X, labels)
        mlr.save(tmp_path)
        again = MLR.load(tmp_path)
        np.testing.assert_array_equal(again.transform(X), mlr.transform(X))
        assert vars(again).keys() == vars(mlr).keys()
        assert (again.C, again.n_queries, again.history_) == (50.0, 30, mlr.history_)
        (tmp_path / "mlr.json").write_text("{")
        with pytest.raises(InputError, match=r"mlr\.json is missing or damaged"):
            MLR.load(tmp_path)
        mlr.save(tmp_path)
        (tmp_path / "mlr.safetensors").write_bytes(b"no tensors")
        with pytest.raises(InputError, match=r"mlr\.safetensors is missing or damaged"):
            MLR.load(tmp_path)

    def test_the_example_runs(self):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            doctest.run_docstring_examples(MLR, {"MLR": MLR})
        assert said.getvalue() == ""

    @pytest.mark.parametrize("diagonal", [False, True])
    def test_warns_of_a_metric_that_is_zero(self, diagonal, rng):
        artist = np.arange(40) % 4
        X = np.hstack([3 * rng.standard_normal((4, 2))[artist], rng.standard_normal((40, 2))])
        with pytest.warns(UserWarning, match=r"zero metric.* C = 0\.02 is too small.* try C = 0\.2"):
            mlr = MLR(C=0.02, diagonal=diagonal).fit(X, artist)
        assert mlr.transform(X).shape == (40, 0)

    @pytest.mark.parametrize(
        ("params", "change", "message"),
        [
            ({"loss": "ndcg"}, {}, "loss must be one of auc, map; got 'ndcg'"),
            ({"C": 0.0}, {}, "C must be above 0 and finite; got 0.0"),
            ({"tolerance": np.nan}, {}, "tolerance must be above 0"),
            ({"max_iterations": 0}, {}, "max_iterations must be at least 1; got 0"),
            ({}, {"X": np.zeros(12)}, r"X must have shape \(n_samples, n_dims\), neither zero; got \(12,\)"),
            ({}, {"X": np.zeros((12, 2))}, "all samples are equal"),
            ({}, {"X": csr_array(np.eye(12))}, "X is sparse; reduce it"),
            ({}, {"X": [["a"]]}, "X must be an array of numbers"),
            ({}, {"X": np.diag([1.0, np.nan] * 6)}, "NaN or infinite values in 6 rows, the first is row 1"),
            ({}, {"relevance": np.zeros((3, 3))}, r"relevance must have shape \(12, 12\); got \(3, 3\)"),
            ({}, {"relevance": np.zeros((12, 12))}, "no sample has both relevant and irrelevant"),
            ({}, {"relevance": np.zeros(12)}, "no sample has both relevant and irrelevant"),
        ],
    )
    def test_bad_input(self, params, change, message, rng):
        given = {"X": rng.standard_normal((12, 2)), "relevance": np.arange(12) % 3, **change}
        with pytest.raises(InputError, match=message):
            MLR(**params).fit(**given)

    def test_is_an_estimator_in_the_sense_of_scikit_learn(self):
        mlr = MLR(C=50.0, loss="map")
        twin = clone(mlr)
        assert twin is not mlr
        assert twin.get_params() == mlr.get_params()
        assert (twin.C, twin.loss) == (50.0, "map")
        assert twin.set_params(C=3.0) is twin
        assert (twin.C, mlr.C) == (3.0, 50.0)
        with pytest.raises(InputError, match="MLR has no parameter 'D'; it has loss, C, diagonal"):
            mlr.set_params(D=1)

    def test_bad_input_after_the_fit(self):
        X, labels = planted(n_songs=60)
        with pytest.raises(InputError, match="has not been fitted"):
            MLR().transform(X)
        with pytest.raises(InputError, match="X has 2 dimensions; the metric was learned on 16"):
            MLR().fit(X, labels).transform(X[:, :2])


class Songs:
    """The songs' vectors, as the host hands them over."""

    kind = "bow_pca"

    def __init__(self, matrix):
        self.matrix = matrix.astype(np.float32)
        self.song_ids = [str(n) for n in range(len(matrix))]
        self.n_dims = matrix.shape[1]
        self.n_frames = np.ones(len(matrix), np.int64)

    def vectors(self):
        return self.matrix


def listened(labels, n_users=150, seed=0):
    """Plays of users who like one class each, and a few songs at random: (n_users, n_songs)."""
    rng = np.random.default_rng(seed)
    tastes = rng.integers(0, labels.max() + 1, n_users)
    likes = np.where(tastes[:, None] == labels[None], 0.4, 0.01)
    return csr_array((rng.random(likes.shape) < likes).astype(np.float32))


def target_of(counts):
    n_users, n_songs = counts.shape
    return FactorTarget(
        song_factors=np.zeros((n_songs, 2), np.float32),
        user_factors=np.zeros((n_users, 2), np.float32),
        surplus=csr_array(counts.T),
        groups=None,
        validation=np.zeros(n_songs, bool),
    )


class TestRegressor:
    def test_relevant_are_those_who_share_listeners(self):
        audiences = csr_array(
            np.array(
                [
                    [1, 1, 1, 0, 0, 0],
                    [1, 1, 1, 0, 0, 0],  # the same three listeners
                    [1, 1, 1, 1, 1, 1],  # the same, and everyone else
                    [0, 0, 1, 1, 0, 0],  # one shared
                    [0, 0, 0, 0, 1, 1],  # none
                ],
                np.float32,
            )
        )
        found = audience_relevance(audiences, np.array([0]), n_relevant=2, min_shared=2).toarray()
        np.testing.assert_array_equal(np.flatnonzero(found[0]), [1, 2])
        assert not found[1:].any()
        found = audience_relevance(audiences, np.array([0]), n_relevant=1, min_shared=1).toarray()
        np.testing.assert_array_equal(np.flatnonzero(found[0]), [1])
        found = audience_relevance(audiences, np.array([0]), n_relevant=9, min_shared=1).toarray()
        np.testing.assert_array_equal(np.flatnonzero(found[0]), [1, 2, 3])

    def test_scores_are_mean_distances_to_what_was_played(self):
        X, labels = planted()
        counts = listened(labels)
        model = MLRRegressor(max_iterations=5).fit(Songs(X), target_of(counts))
        scores = model.user_factors(counts) @ model.predict(Songs(X)).T
        assert scores.dtype == np.float32
        places = model.mlr_.transform(X.astype(np.float32))
        distances = np.square(places[:, None] - places[None]).sum(axis=2)
        for user in range(5):
            played = counts[[user]].indices
            expected = -distances[played].mean(axis=0)
            shifted = scores[user] - scores[user].mean()
            np.testing.assert_allclose(shifted, expected - expected.mean(), rtol=1e-3, atol=1e-2)

    def test_recommends_unheard_songs_to_those_who_like_their_kind(self):
        X, labels = planted(n_songs=300)
        counts = listened(labels)
        model = MLRRegressor(tolerance=0.05).fit(Songs(X[:180]), target_of(counts[:, :180]))
        scores = model.user_factors(counts[:, :180]) @ model.predict(Songs(X[180:])).T
        heard = counts[:, 180:].toarray() > 0
        aucs = [np.mean(s[h][:, None] > s[~h][None]) for s, h in zip(scores, heard, strict=True) if h.any()]
        assert np.mean(aucs) > 0.75

    def test_users_without_plays_get_zeros(self):
        X, labels = planted(n_songs=60)
        model = MLRRegressor().fit(Songs(X), target_of(listened(labels)))
        nobody = model.user_factors(csr_array((1, 60), dtype=np.float32))
        np.testing.assert_array_equal(nobody, np.zeros_like(nobody))
        with pytest.raises(InputError, match="counts has 3 songs; the model was fitted on 60"):
            model.user_factors(csr_array((1, 3), dtype=np.float32))

    def test_save_and_load(self, tmp_path):
        X, labels = planted(n_songs=60)
        counts = listened(labels)
        model = MLRRegressor(diagonal=True, ranking_loss="map", n_relevant=9).fit(Songs(X), target_of(counts))
        model.save(tmp_path)
        again = MLRRegressor.load(tmp_path)
        np.testing.assert_array_equal(again.predict(Songs(X)), model.predict(Songs(X)))
        np.testing.assert_array_equal(again.user_factors(counts), model.user_factors(counts))
        assert (again.diagonal, again.ranking_loss, again.n_relevant) == (True, "map", 9)

    def test_reports_and_cancels(self):
        X, labels = planted(n_songs=60)
        seen = []
        run = FitRun(report=lambda stage, step, n_steps, figures: seen.append((step, n_steps, figures)))
        MLRRegressor(max_iterations=4, tolerance=1e-9).fit(Songs(X), target_of(listened(labels)), run=run)
        assert [(step, n) for step, n, _ in seen] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
        assert {"objective", "bound", "violation"} <= seen[1][2].keys()

    def test_no_shared_listeners(self):
        X, _ = planted(n_songs=60)
        with pytest.raises(InputError, match="no two songs share 2 listeners"):
            MLRRegressor().fit(Songs(X), target_of(csr_array(np.eye(60, dtype=np.float32))))

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"ranking_loss": "ndcg"}, "ranking_loss must be one of auc, map; got 'ndcg'"),
            ({"C": 0.0}, "C must be above 0"),
            ({"n_relevant": 0}, "n_relevant must be at least 1; got 0"),
            ({"n_queries": 0}, "n_queries must be at least 1; got 0"),
            ({"max_iterations": 0}, "max_iterations must be at least 1; got 0"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_wrong_parameters_are_named_before_the_work(self, params, message):
        with pytest.raises(InputError, match=message):
            dcbmr.get_regressor("mlr", **params)
