"""Recommend and similar over factors alone: against full sorts of the same scores."""

from dataclasses import replace

import numpy as np
import pytest
from reference import als_solve
from scipy.sparse import csr_array

import dcbmr
from dcbmr import Recommender
from dcbmr.factorization.factors import Factors
from dcbmr.plays.confidence import surplus
from dcbmr.recommendation.per_artist import PerArtist

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


def named(top):
    return [[song for song, _ in found] for found in top]


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
    assert named(top) == [[f"song{i}" for i in row] for row in wanted]
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


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_at_most_some_songs_of_an_artist(recommender, n, k):
    # Half of the songs are by one artist, who leads the lists; song 0 is by nobody who is known.
    artists = {f"song{i}": "prolific" if i % 2 else f"artist{i % 5}" for i in range(1, SONGS)}
    users = [f"user{i}" for i in range(USERS)]
    found = named(recommender.limited_to(per_artist=PerArtist(n, artists)).recommend(users, k=k))
    wanted = []
    for songs in named(recommender.recommend(users, k=SONGS)):
        kept = []
        for song in songs:
            others = [artists.get(other, other) for other in kept]
            if others.count(artists.get(song, song)) < n:
                kept.append(song)
        wanted.append(kept[:k])
    assert found == wanted
    with pytest.raises(dcbmr.InputError, match="at most 0 songs of an artist are none at all"):
        PerArtist(0, artists)


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
    assert named(top) == [[f"song{i}" for i in np.argsort(-scores)[:6]]]
    assert not set(named(top)[0]) & set(plays)


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
    assert named(top) == [["b", "c"]]
    np.testing.assert_allclose(top.scores[0, :2], [1, -1], atol=1e-6)
    with pytest.raises(dcbmr.InputError, match="'d' has all-zero"):
        recommender.similar(["d"])


def test_added_songs_replace_those_of_the_same_id(recommender):
    width = recommender.song_factors.shape[1]
    more = recommender.with_songs(["new", "song1"], np.ones((2, width), np.float32))
    assert more.song_ids[-2:] == ["new", "song1"]
    assert len(more.song_ids) == len(recommender.song_ids) + 1
    assert more.is_new.tolist() == [song == "new" for song in more.song_ids]
    assert named(more.recommend(["user0"], candidates="new")) == [["new"]]
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
        (lambda r: r.recommend("user1"), r"a sequence of ids, as \['user1'\]"),
        (lambda r: r.recommend(["user1"], candidates="newest"), "one of unplayed, all, new; got 'newest'"),
        (lambda r: r.similar(["song1"], by="sound"), "by must be one of usage, factors; got 'sound'"),
        (lambda r: r.recommend(["user1"], k=0), "k must be a whole number of at least 1"),
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
        lambda r: r.recommend(["user3"], k=4, candidates="new"),
        lambda r: r.recommend(["user3"], k=4, candidates="all"),
        lambda r: r.similar(["song1"], k=4),
        lambda r: r.recommend(["user3"], k=4),
        lambda r: r.similar(["song1"], k=4, by="factors"),
        lambda r: r.recommend_for(["song1", "song2"], k=4),
    ]
    for ask in [*questions, *questions[::-1]]:
        found, wanted = ask(kept), ask(Recommender(factors, songs, song_factors))
        np.testing.assert_array_equal(found.songs, wanted.songs)
        np.testing.assert_array_equal(found.scores, wanted.scores)
    assert kept.recommend(["user3"], k=4, candidates="new").songs.tolist() == [[len(songs) - 1]]


def test_ids_and_scores_are_read_off(recommender):
    top = recommender.recommend(["user0", "user7"], k=3)
    assert top[0] == list(zip(named(top)[0], top.scores[0].tolist(), strict=True))
    assert top[1] == []
    assert [len(found) for found in top] == [3, 0]
    assert (repr(top), repr(recommender)) == (
        "TopSongs(n_queries=2, k=3)",
        "Recommender(n_users=30, n_songs=39, width=5)",
    )


# Newer plays: in another order, with users and songs that the factors do not know.
NEWER = [
    *[("user3", song, count) for song, count in (("song20", 5), ("later", 1), ("song2", 2))],
    *[("late", song, count) for song, count in (("song5", 1), ("song2", 9), ("song30", 1))],
    ("user4", "later", 3),
    ("user7", "song1", 4),
    ("nobody", "later", 1),
]


@pytest.fixture(scope="module")
def plays():
    users, songs = (list(dict.fromkeys(column)) for column in list(zip(*NEWER, strict=True))[:2])
    counts = np.zeros((len(users), len(songs)))
    for user, song, count in NEWER:
        counts[users.index(user), songs.index(song)] = count
    return dcbmr.PlayCounts(users, songs, csr_array(counts))


@pytest.fixture(scope="module")
def newer(factors, plays):
    """A recommender that knows newer plays, and two songs by their audio, of which one has plays by now."""
    songs = np.random.default_rng(5).standard_normal((2, 5)).astype(np.float32)
    return Recommender.from_factors(factors, plays=plays).with_songs(["later", "unheard"], songs)


def newest_scores(factors, recommender, user):
    """The scores of a user of the newer plays, by the definition of fold-in, and who played what."""
    counts = np.zeros((1, SONGS), np.float32)
    played = {song: count for name, song, count in NEWER if name == user}
    for song, count in played.items():
        if song != "later":
            counts[0, int(song.removeprefix("song"))] = count
    vector = als_solve(surplus(csr_array(counts)).toarray(), factors.song_factors, 1e-5)[0]
    return dict(zip(recommender.song_ids, recommender.song_factors @ vector, strict=True)), played


@pytest.mark.parametrize("user", ["user3", "late", "user7"])
def test_users_of_newer_plays_are_folded_in_from_them(factors, newer, user):
    scores, played = newest_scores(factors, newer, user)
    for candidates, choice in (
        ("all", scores),
        ("unplayed", set(scores) - set(played)),
        ("new", {"unheard"}),
    ):
        found = newer.recommend(["user0", user], k=8, candidates=candidates)[1]
        wanted = sorted(choice, key=lambda song: -scores[song])[:8]
        assert [song for song, _ in found] == wanted
        np.testing.assert_allclose([s for _, s in found], [scores[song] for song in wanted], atol=1e-4)


def test_users_without_newer_plays_stay_as_they_were(factors, recommender, newer):
    for candidates in ("all", "unplayed"):
        before = recommender.recommend(["user0", "user29"], k=SONGS, candidates=candidates)
        after = newer.recommend(["user0", "user29"], k=SONGS + 2, candidates=candidates)
        for old, now in zip(before, after, strict=True):
            assert [pair for pair in now if pair[0] not in ("later", "unheard")] == old


def test_newer_plays_of_unknown_songs_alone_say_nothing_about_taste(recommender, newer):
    # user4 keeps the learned factors; to who has none, no song is better than another.
    before = dict(recommender.recommend(["user4"], k=99, candidates="all")[0])
    after = newer.recommend(["user4"], k=99)[0]
    assert {song: score for song, score in after if song != "unheard"} == before, "and may hear them again"
    assert "later" not in [song for song, _ in after]
    assert newer.recommend(["nobody"])[0] == []


def test_what_was_played_by_now_is_not_new(newer):
    assert [song for song, new in zip(newer.song_ids, newer.is_new, strict=True) if new] == ["unheard"]
    assert named(newer.recommend_for(["song1"], candidates="new")) == [["unheard"]]
    assert newer.user_ids.tolist() == [f"user{i}" for i in range(USERS)] + ["late", "nobody"]


def test_similar_songs_do_not_depend_on_newer_plays(recommender, newer):
    before = dict(recommender.similar(["song3"], k=SONGS)[0])
    after = dict(newer.similar(["song3"], k=SONGS + 2)[0])
    assert before == {song: score for song, score in after.items() if song not in ("later", "unheard")}


def test_plays_of_other_songs_are_refused(factors):
    plays = dcbmr.PlayCounts(["user1"], ["S1"], csr_array([[1.0]]))
    with pytest.raises(dcbmr.InputError, match=r"plays are of other songs .*'song0'.*; got \['S1'\]"):
        Recommender.from_factors(factors, plays=plays).recommend(["user1"])


def test_songs_held_out_are_told_of_once(factors, plays):
    split = replace(factors, heldout_songs=("gone", "held", "song9"))

    def make(**options):
        known = Recommender.from_factors(split, **options)
        return known.with_songs(["held", "song9", "fresh"], np.ones((3, 5), np.float32))

    recommender = make()
    recommender.recommend(["user0"], candidates="all")
    recommender.similar(["song0"])
    with pytest.warns(UserWarning, match="2 of the 3 candidates were held out by the split") as warned:
        recommender.recommend(["user0"], candidates="new")
    assert warned[0].filename == __file__
    recommender.recommend(["user0"], candidates="new")
    recommender.recommend(["user0"])
    with pytest.warns(UserWarning, match="2 of the 42 candidates were held out.*--plays FILE"):
        make().recommend_for(["song0"])
    make(plays=plays).recommend(["user0"], candidates="new")
    Recommender.from_factors(split).recommend(["user0"])
