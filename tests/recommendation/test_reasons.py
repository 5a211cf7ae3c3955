"""Why a song is recommended: beside the explicit inverse, and in the score that users are folded in to."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

from dcbmr import InputError
from dcbmr.cli import main
from dcbmr.factorization.als import WeightedALS
from dcbmr.factorization.factors import Factors
from dcbmr.plays.counts import PlayCounts
from dcbmr.recommendation.reasons import contributions, reasons
from dcbmr.recommendation.recommender import Recommender


def some_factors(**settings):
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((30, 20)) < 0.3, rng.integers(1, 9, (30, 20)), 0).astype(np.float32)
    plays = PlayCounts.from_matrix(csr_array(counts))
    return WeightedALS(n_factors=4, n_iterations=3, **settings).fit(plays).factors_


@pytest.mark.parametrize(
    "settings",
    [{"regularization": 0.1}, {"regularization": 0.1, "unobserved_weight": 0.2, "frequency_exponent": 1.0}],
)
def test_contributions_are_those_of_the_explicit_inverse_and_sum_to_the_score(settings):
    factors = some_factors(**settings)
    Y = factors.song_factors.astype(float)
    for user in (0, 7):
        plays = csr_array(factors.counts[[user]])
        c = np.full(len(Y), factors.unobserved_weight)
        c[plays.indices] = 1 + factors.alpha * np.log1p(plays.data / factors.epsilon)
        n = len(plays.indices)
        scale = (n + factors.unobserved_weight * len(Y)) ** factors.frequency_exponent
        W = np.linalg.inv(Y.T @ np.diag(c) @ Y + factors.regularization * scale * np.eye(4))
        wanted = np.array([[c[i] * Y[j] @ W @ Y[i] for i in plays.indices] for j in range(len(Y))])
        got = contributions(factors, plays, factors.song_factors)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
        score = factors.fold_in_users(plays)[0] @ factors.song_factors.T
        np.testing.assert_allclose(got.sum(axis=1), score, rtol=1e-3, atol=1e-4)


def test_songs_with_plays_have_the_largest_contributions_and_cold_ones_the_nearest():
    factors = some_factors(regularization=0.1)
    cold = np.random.default_rng(1).standard_normal((1, 4)).astype(np.float32)
    recommender = Recommender.from_factors(factors).with_songs(["cold"], cold)
    user = str(factors.user_ids[3])
    plays = recommender.fold_in_plays([user])
    warm = recommender.song_ids[0]
    of_warm, of_cold = reasons(recommender, plays, [warm, "cold"], k=100)
    assert {reason.song for reason in of_warm} == set(factors.song_ids[plays.indices])
    parts = [reason.contribution for reason in of_warm]
    assert parts == sorted(parts, reverse=True)
    alike = [reason.similarity for reason in of_cold]
    assert alike == sorted(alike, reverse=True)
    X = factors.user_factors.astype(float)
    near = of_cold[0].song
    first, second = X @ cold[0], X @ factors.song_factors[recommender.playable[near]]
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert alike[0] == pytest.approx(cosine, abs=1e-5)
    assert [len(few) for few in reasons(recommender, plays, [warm], k=2)] == [2]


def test_users_of_a_model_of_its_own_have_no_reasons():
    factors = some_factors(regularization=0.1)
    other = Recommender(factors, ["a"], np.ones((1, 7), np.float32))
    with pytest.raises(InputError, match="users of its own"):
        reasons(other, csr_array(factors.counts[[0]]), ["a"])


def test_recommend_says_why(small_world, capsys):
    factors = Factors.load(small_world / "factors")
    user, (first, second) = str(factors.user_ids[0]), map(str, factors.song_ids[:2])
    for who in (["--user", user], ["--played", first, "--played", f"{second}=4"]):
        words = ["recommend", str(small_world / "factors"), *who, "-k", "2", "--why", "--json"]
        with pytest.raises(SystemExit) as done:
            main([*words, "--songs", str(small_world / "songs.tsv")])
        assert not done.value.code
        rows = json.loads(capsys.readouterr().out)
        assert {row["rank"] for row in rows} == {1, 2}
        if who[0] == "--played":  # two songs, and nothing else, make this score
            for rank in (1, 2):
                mine = [row for row in rows if row["rank"] == rank]
                assert len(mine) == 2
                assert sum(row["part"] for row in mine) == pytest.approx(mine[0]["score"], abs=1e-3)
            assert {"because", "called", "alike"} <= rows[0].keys()
