"""Recommend and similar over factors alone: against full sorts of the same scores."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr.factorization.factors import Factors
from dcbmr.recommendation.recommender import Recommender

USERS, SONGS = 30, 40


@pytest.fixture(scope="module")
def factors():
    """Real factors of plays in which user 7 and song 9 have none."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 20, (USERS, SONGS)) * (rng.random((USERS, SONGS)) < 0.2)
    counts[7] = counts[:, 9] = 0
    plays = dcbmr.PlayCounts(
        [f"user{i}" for i in range(USERS)],
        [f"song{i}" for i in range(SONGS)],
        csr_array(counts, dtype=np.float32),
    )
    return dcbmr.WeightedALS(n_factors=5, n_iterations=4).fit(plays).factors_


@pytest.fixture(scope="module")
def recommender(factors):
    return Recommender.from_factors(factors)


def named(recommender, top):
    return [[recommender.song_ids[row] for row in rows if row >= 0] for rows in top.songs]


@pytest.mark.parametrize("candidates", ["unplayed", "all"])
def test_recommends_the_highest_scores(factors, recommender, candidates):
    users = ["user3", "user0", "user3"]
    rows = [3, 0, 3]
    scores = factors.user_factors[rows].astype(float) @ factors.song_factors.T.astype(float)
    scores[:, 9] = -np.inf
    if candidates == "unplayed":
        scores[factors.counts[rows].toarray() > 0] = -np.inf
    top = recommender.recommend(users, k=5, candidates=candidates)
    wanted = np.argsort(-scores, axis=1)[:, :5]
    assert named(recommender, top) == [[f"song{i}" for i in row] for row in wanted]
    np.testing.assert_allclose(top.scores, np.take_along_axis(scores, wanted, axis=1), rtol=1e-5)


def test_songs_without_plays_are_no_candidates_of_factors(recommender):
    assert "song9" not in recommender.song_ids
    assert len(recommender.song_ids) == SONGS - 1
    with pytest.raises(dcbmr.InputError, match="no song to choose from"):
        recommender.recommend(["user0"], candidates="new")


def test_a_user_without_plays_gets_no_songs(recommender):
    top = recommender.recommend(["user7", "user8"], k=3)
    assert (top.songs[0] == -1).all()
    assert np.isnan(top.scores[0]).all()
    assert (top.songs[1] >= 0).all()


def test_few_candidates_are_padded(recommender):
    top = recommender.recommend(["user0"], k=100, candidates="all")
    assert (top.songs[0] >= 0).sum() == SONGS - 1


def test_fold_in_of_the_same_plays_recommends_the_same(factors, recommender):
    row = factors.counts[[3]].tocoo()
    plays = {f"song{column}": float(count) for column, count in zip(row.coords[1], row.data, strict=True)}
    # One more half-sweep for this user: the last one of the fit was of the songs.
    users = factors.fold_in_users(factors.counts[[3]])
    scores = (users.astype(float) @ factors.song_factors.T.astype(float))[0]
    scores[9] = -np.inf
    scores[row.coords[1]] = -np.inf
    top = recommender.recommend_for(plays, k=6)
    assert named(recommender, top) == [[f"song{i}" for i in np.argsort(-scores)[:6]]]
    assert not set(named(recommender, top)[0]) & set(plays)


def test_fold_in_of_ids_counts_each_once(recommender):
    as_list = recommender.recommend_for(["song1", "song2"], k=4)
    as_counts = recommender.recommend_for({"song1": 1, "song2": 1.0}, k=4)
    assert (as_list.songs == as_counts.songs).all()


def test_similar_by_usage_is_the_cosine_of_usage_patterns(factors, recommender):
    usage = factors.user_factors.astype(float) @ recommender.song_factors.T.astype(float)
    usage /= np.linalg.norm(usage, axis=0)
    cosines = usage.T @ usage
    np.fill_diagonal(cosines, -np.inf)
    songs = recommender.song_ids
    top = recommender.similar(songs, k=SONGS)
    for row, (found, scores) in enumerate(zip(top.songs, top.scores, strict=True)):
        there = found >= 0
        assert sorted(found[there]) == [other for other in range(len(songs)) if other != row]
        np.testing.assert_allclose(scores[there], np.sort(cosines[row])[::-1][: there.sum()], atol=1e-5)


def test_similar_by_factors_is_the_cosine_of_factors(recommender):
    unit = recommender.song_factors / np.linalg.norm(recommender.song_factors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    top = recommender.similar(recommender.song_ids, k=1, by="factors")
    np.testing.assert_allclose(top.scores[:, 0], cosines.max(axis=1), atol=1e-6)
    assert (top.songs[:, 0] == cosines.argmax(axis=1)).all()


def test_more_users_than_factors_are_not_needed():
    # A singular gramian has no Cholesky factor; usage is compared all the same.
    factors = Factors(
        user_factors=[[1, 0, 0]],
        song_factors=[[1, 5, 0], [2, 0, 7], [-1, 0, 0], [0, 1, 0]],
        counts=np.ones((1, 4)),
        song_ids=list("abcd"),
    )
    recommender = Recommender.from_factors(factors)
    top = recommender.similar(["a"], k=3)
    assert named(recommender, top) == [["b", "c"]]
    np.testing.assert_allclose(top.scores[0, :2], [1, -1], atol=1e-6)
    with pytest.raises(dcbmr.InputError, match="'d' has all-zero"):
        recommender.similar(["d"])


def test_added_songs_replace_those_of_the_same_id(recommender):
    width = recommender.song_factors.shape[1]
    more = recommender.with_songs(["new", "song1"], np.ones((2, width), np.float32))
    assert more.song_ids[-2:] == ["new", "song1"]
    assert len(more.song_ids) == len(recommender.song_ids) + 1
    assert more.is_new.tolist() == [song == "new" for song in more.song_ids]
    assert named(more, more.recommend(["user0"], candidates="new")) == [["new"]]
    with pytest.raises(dcbmr.InputError, match="song 'new' has no training plays"):
        more.recommend_for(["new"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend(["usr3"]), r"unknown user 'usr3' \(there are 30\); did you mean 'user3'"),
        (lambda r: r.similar(["sing1"]), "unknown song 'sing1'.*did you mean 'song1'"),
        (
            lambda r: r.recommend_for(["xyzzy"]),
            r"unknown song with plays 'xyzzy' \(there are 40\); an id looks like 'song0'$",
        ),
        (lambda r: r.recommend_for([]), "at least one song"),
        (lambda r: r.recommend_for({"song1": -1}), "positive numbers"),
        (lambda r: r.recommend(["user1"], k=0), "k must be at least 1"),
    ],
)
def test_wrong_input(recommender, call, message):
    with pytest.raises(dcbmr.InputError, match=message):
        call(recommender)


def test_many_questions_to_one_recommender_have_the_answers_of_fresh_ones(factors):
    """What is kept from one question must not colour the next."""
    songs = [*[f"song{i}" for i in range(SONGS) if i != 9], "fresh"]
    rng = np.random.default_rng(0)
    song_factors = np.concatenate([np.delete(factors.song_factors, 9, 0), rng.random((1, 5), np.float32)])
    kept = Recommender(factors, songs, song_factors)
    questions = [
        lambda r: r.recommend(["user3"], 4, "new"),
        lambda r: r.recommend(["user3"], 4, "all"),
        lambda r: r.similar(["song1"], 4),
        lambda r: r.recommend(["user3"], 4),
        lambda r: r.similar(["song1"], 4, "factors"),
        lambda r: r.recommend_for(["song1", "song2"], 4),
    ]
    for ask in [*questions, *questions[::-1]]:
        found, wanted = ask(kept), ask(Recommender(factors, songs, song_factors))
        np.testing.assert_array_equal(found.songs, wanted.songs)
        np.testing.assert_array_equal(found.scores, wanted.scores)
    assert kept.recommend(["user3"], 4, "new").songs.tolist() == [[len(songs) - 1]]
