"""Factors: made by hand or by a fit, saved and loaded, folded in."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from reference import als_solve
from scipy.sparse import csr_array, random_array

import dcbmr
from dcbmr import Recommender
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.models.training import train


def draw_counts(rng, n_users=60, n_songs=45, density=0.15):
    counts = random_array((n_users, n_songs), density=density, rng=rng, format="csr", dtype=np.float64)
    counts.data = np.ceil(rng.pareto(1.0, counts.nnz)) + 1
    return csr_array(counts)


@pytest.fixture
def factors():
    counts = draw_counts(np.random.default_rng(18))
    return dcbmr.WeightedALS(n_factors=6, regularization=0.05, n_iterations=60).fit(counts).factors_


def test_fold_in_of_the_fitted_plays_gives_the_fitted_factors(factors):
    songs = factors.fold_in_songs(csr_array(factors.counts.T.tocsr()))
    np.testing.assert_allclose(songs, factors.song_factors, atol=1e-6)
    users = factors.fold_in_users(factors.counts)
    s = factors.surplus.toarray()
    np.testing.assert_allclose(users, als_solve(s, factors.song_factors, 0.05), atol=1e-4)
    np.testing.assert_array_equal(factors.fold_in_users(factors.counts[[3]]), users[[3]])


def test_fold_in_wants_the_right_columns(factors):
    with pytest.raises(dcbmr.InputError, match="counts must have 45 columns, as the factors have; got 44"):
        factors.fold_in_users(csr_array((2, 44)))


def test_factors_survive_saving(factors, tmp_path):
    factors.save(tmp_path / "f")
    again = dcbmr.Factors.load(tmp_path / "f")
    for name in ("user_factors", "song_factors", "user_ids", "song_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(factors, name))
    np.testing.assert_array_equal(again.counts.toarray(), factors.counts.toarray())
    np.testing.assert_array_equal(again.surplus.toarray(), factors.surplus.toarray())
    assert (again.alpha, again.epsilon, again.regularization) == (2.0, 1e-6, 0.05)
    assert (again.artists, again.heldout_songs) == (None, ())
    assert again.config["objective"][-1]["total"] == factors.config["objective"][-1]["total"]
    with pytest.raises(dcbmr.InputError, match="exists"):
        factors.save(tmp_path / "f")
    factors.save(tmp_path / "f", overwrite=True)


def test_damaged_factors_are_refused(factors, tmp_path):
    factors.save(tmp_path / "f")
    (tmp_path / "f/user_ids.txt").write_text("only\n")
    with pytest.raises(dcbmr.InputError, match="is damaged"):
        dcbmr.Factors.load(tmp_path / "f")
    (tmp_path / "f/factors.safetensors").write_bytes(b"no")
    with pytest.raises(dcbmr.InputError, match="is damaged"):
        dcbmr.Factors.load(tmp_path / "f")


@pytest.fixture
def by_hand():
    """What another factorization may have found: no ids, float64, no settings."""
    rng = np.random.default_rng(4)
    return dcbmr.Factors(
        user_factors=rng.standard_normal((8, 3)),
        song_factors=rng.standard_normal((6, 3)),
        counts=np.add.outer(np.arange(8), np.arange(6)) % 3,
    )


def test_made_by_hand_they_have_ids_and_settings(by_hand):
    assert by_hand.user_ids.tolist() == [str(i) for i in range(8)]
    assert by_hand.song_ids.tolist() == [str(i) for i in range(6)]
    assert by_hand.user_factors.dtype == by_hand.song_factors.dtype == by_hand.counts.dtype == np.float32
    np.testing.assert_allclose(by_hand.surplus.toarray()[0, 2], 2 * np.log1p(2e6), rtol=1e-6)
    assert repr(by_hand) == "Factors(n_users=8, n_songs=6, n_factors=3, n_pairs=32, n_heldout_songs=0)"
    assert by_hand != dcbmr.Factors(
        user_factors=by_hand.user_factors, song_factors=by_hand.song_factors, counts=by_hand.counts
    ), "arrays are compared by identity"


def test_made_by_hand_they_fold_in_save_and_recommend(by_hand, tmp_path):
    users = by_hand.fold_in_users(by_hand.counts)
    wanted = als_solve(by_hand.surplus.toarray(), by_hand.song_factors, 1e-5)
    np.testing.assert_allclose(users, wanted, atol=1e-3)
    by_hand.save(str(tmp_path / "f"))
    again = dcbmr.Factors.load(str(tmp_path / "f"))
    np.testing.assert_array_equal(again.song_factors, by_hand.song_factors)
    np.testing.assert_array_equal(
        again.fold_in_songs(by_hand.counts.T), by_hand.fold_in_songs(by_hand.counts.T)
    )
    top = Recommender.from_factors(again).recommend(["3"], k=2)
    scores = by_hand.user_factors[3] @ by_hand.song_factors.T
    scores[by_hand.counts[[3]].toarray()[0] > 0] = -np.inf
    assert top.songs[0].tolist() == np.argsort(-scores)[:2].tolist()


def test_made_by_hand_they_train_a_model(small_world):
    fitted = dcbmr.Factors.load(small_world / "factors")
    by_hand = dcbmr.Factors(
        user_factors=fitted.user_factors,
        song_factors=fitted.song_factors,
        counts=fitted.counts,
        song_ids=fitted.song_ids,
        artists=fitted.artists,
    )
    features = dcbmr.FeatureStore.open(small_world / "features")
    predicted = [
        train(
            factors, features, regressor="linear", pipeline=FeaturePipeline("bow_pca", n_words=16)
        ).predict_store(features, ["song00", "song01"])
        for factors in (fitted, by_hand)
    ]
    np.testing.assert_array_equal(*predicted)


def test_they_know_what_they_were_fitted_without(tmp_path):
    factors = dcbmr.Factors(
        user_factors=np.ones((1, 2)),
        song_factors=np.ones((2, 2)),
        counts=[[1, 0]],
        song_ids=["a", "b"],
        heldout_songs=["b", "c"],
        artists={"a": "Ann\tLee", "c": "Cy"},
    )
    factors.save(tmp_path / "f")
    again = dcbmr.Factors.load(tmp_path / "f")
    assert again.heldout_songs == ("b", "c")
    assert again.artists == {"a": "Ann\tLee", "c": "Cy"}, "a model asks for those of songs held out"
    for name in ("other_song_ids.txt", "other_artists.txt"):  # which older ones lack
        (tmp_path / "f" / name).unlink()
    assert dcbmr.Factors.load(tmp_path / "f").artists == {"a": "Ann\tLee"}


def test_factors_remember_what_songs_are_called(tmp_path):
    plain = {"user_factors": np.ones((1, 2)), "song_factors": np.ones((2, 2)), "counts": [[1, 0]]}
    table = dcbmr.SongTable(["0", "new"], ["A", ""], ["Line\nbreak", "New"])
    factors = dcbmr.Factors(**plain).named_by(table)
    factors.save(tmp_path / "f")
    again = dcbmr.Factors.load(tmp_path / "f")
    assert (again.artists, again.titles) == ({"0": "A"}, {"0": "Line break", "new": "New"})
    assert again.songs.called("0") == "A - Line break"
    for file in ("titles.txt", "other_titles.txt"):  # which older ones lack
        (tmp_path / "f" / file).unlink()
    older = dcbmr.Factors.load(tmp_path / "f")
    assert (older.artists, older.titles) == ({"0": "A"}, None)
    without = dcbmr.Factors(**plain)
    assert (without.titles, without.songs.song_ids) == (None, [])


def test_factors_of_a_split_have_its_names():
    plays = dcbmr.PlayCounts.from_matrix(np.ones((4, 6)))
    split = dcbmr.split_plays(plays, fraction=0.3).named_by(dcbmr.SongTable(["0"], ["A"], ["T"]))
    factors = dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(split).factors_
    assert (factors.artists, factors.titles) == ({"0": "A"}, {"0": "T"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_factors": np.ones(4)}, r"user_factors must be a matrix of numbers.*got shape \(4,\)"),
        ({"user_factors": np.ones((4, 3))}, "user_factors has 3 columns and song_factors 2"),
        ({"song_factors": np.ones((3, 0))}, "song_factors must be a matrix of numbers"),
        ({"song_factors": [["a", "b"]] * 3}, "got shape .* and dtype <U1"),
        ({"song_factors": [[1, 1], [np.nan, 1], [1, 1]]}, "song_factors must be finite.*1 of 3.*is row 1"),
        ({"user_factors": np.full((4, 2), 1e300)}, "user_factors must be finite in float32; 4 of 4 rows"),
        ({"counts": np.ones((3, 4))}, r"counts has shape \(3, 4\); wanted \(n_users, n_songs\) = \(4, 3\)"),
        ({"counts": -np.ones((4, 3))}, "negative counts are not plays"),
        ({"user_ids": ["a"]}, "user_ids has 1 ids for 4 rows"),
        ({"song_ids": ["a", "b", "a"]}, "song_ids holds an id twice"),
        ({"heldout_songs": ["2", "9"]}, "1 of heldout_songs have plays in counts, as '2'"),
        ({"alpha": 0}, "alpha must be a positive number; got 0"),
        ({"regularization": float("nan")}, "regularization must be a positive number; got nan"),
        ({"unobserved_weight": 2}, r"unobserved_weight must lie in \(0, 1\]; got 2"),
        ({"frequency_exponent": -1}, "frequency_exponent must be at least 0; got -1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    right = {"user_factors": np.ones((4, 2)), "song_factors": np.ones((3, 2)), "counts": np.ones((4, 3))}
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.Factors(**(right | change))


def test_factors_that_were_saved_by_an_earlier_version_are_read(factors, tmp_path):
    """Without a list of artists, and with every setting side by side in config.json."""
    factors.save(tmp_path / "f")
    config = json.loads((tmp_path / "f/config.json").read_text())
    assert config["n_factors"] == 6
    assert config["regularization"] == 0.05
    assert config["n_iterations"] == 60
    assert not (tmp_path / "f/artists.txt").exists()
    (tmp_path / "f/config.json").write_text(json.dumps(config | {"dcbmr_version": "0.0.1"}))
    again = dcbmr.Factors.load(tmp_path / "f")
    again.save(tmp_path / "g")
    assert json.loads((tmp_path / "g/config.json").read_text())["dcbmr_version"] == dcbmr.__version__
    shutil.copy(tmp_path / "f/song_ids.txt", tmp_path / "f/artists.txt")
    with (tmp_path / "f/artists.txt").open("a") as file:
        file.write("one too many\n")
    with pytest.raises(dcbmr.InputError, match="is damaged"):
        dcbmr.Factors.load(tmp_path / "f")


@pytest.mark.parametrize("n_threads", [1, 2])
def test_fold_in_uses_no_more_threads_than_it_may(n_threads):
    """For the basis of the other side too, and when a recommender asks: in a process that has none yet."""
    code = f"""if True:
        import os
        import numpy as np
        from scipy.sparse import random_array
        import dcbmr
        from dcbmr.recommendation.recommender import Recommender

        rng = np.random.default_rng(0)
        factors = dcbmr.Factors(
            user_factors=rng.standard_normal((40_000, 8)),
            song_factors=rng.standard_normal((50_000, 8)),
            counts=random_array((40_000, 50_000), density=1e-4, rng=rng, format="csr"),
        )
        before = len(os.listdir("/proc/self/task"))
        song = str(np.flatnonzero(factors.has_plays)[0])
        Recommender.from_factors(factors, n_threads={n_threads}).recommend_for([song])
        factors.fold_in_songs(factors.counts.T, n_threads={n_threads})
        print(len(os.listdir("/proc/self/task")) - before)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= n_threads - 1
