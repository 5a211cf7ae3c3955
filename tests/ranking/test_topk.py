"""The best songs of each query, against a full sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.sparse import csr_array

import dcbmr
from dcbmr import top_songs


def best_by_sorting(scores, k, excluded):
    """Song and score of the best k of each row, padded with -1 and NaN."""
    songs = np.full((len(scores), k), -1)
    found = np.full((len(scores), k), np.nan, np.float32)
    for u, row in enumerate(scores):
        order = [s for s in np.lexsort((np.arange(len(row)), -row)) if not excluded[u, s]][:k]
        songs[u, : len(order)], found[u, : len(order)] = order, row[order]
    return songs, found


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("k", [1, 10, 64, 65, 2000])
@pytest.mark.parametrize("n_songs", [1, 31, 600, 1500])
def test_agrees_with_a_full_sort(n_songs, k):
    rng = np.random.default_rng(n_songs)
    queries = rng.integers(-3, 4, (200, 5)).astype(np.float32)
    songs = rng.integers(-3, 4, (n_songs, 5)).astype(np.float32)
    excluded = rng.random((200, n_songs)) < 0.1
    top = top_songs(queries, songs, k=k, excluded=csr_array(excluded.astype(np.float32)))
    # No more columns than there are songs, however many are asked for.
    wanted_songs, wanted_scores = best_by_sorting(queries @ songs.T, min(k, n_songs), excluded)
    np.testing.assert_array_equal(top.songs, wanted_songs)
    np.testing.assert_array_equal(top.scores, wanted_scores)


@settings(max_examples=150, deadline=None)
@given(
    scores=npst.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(1, 130)),
        elements=st.sampled_from([-np.float32(1e30), -1.0, -0.0, 0.0, 1e-38, 1.0, 2.0]),
    ),
    k=st.integers(1, 200),
    data=st.data(),
)
def test_ties_at_the_last_place(scores, k, data):
    """Scores as they are, each query a factor: whole levels of equal scores, and songs left out of them."""
    excluded = data.draw(npst.arrays(bool, scores.shape))
    top = top_songs(np.eye(3), scores.T, k=k, excluded=excluded)
    songs, found = best_by_sorting(scores, min(k, scores.shape[1]), excluded)
    np.testing.assert_array_equal(top.songs, songs)
    np.testing.assert_array_equal(top.scores, found)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("k", [1, 10, 64, 65])
def test_any_order_of_scores_and_songs_left_out_from_the_front(k):
    """The best come first, last or in the middle; a user has few songs to choose from, or none."""
    rise = np.arange(1300, dtype=np.float32)
    scores = np.stack([rise, -rise, np.abs(rise - 700), rise % 3, rise, rise % 2, -rise])
    excluded = np.zeros(scores.shape, bool)
    for u, out in enumerate((0, 0, 500, 600, 1295, 1300, 64)):
        excluded[u, :out] = True
    top = top_songs(np.eye(7), scores.T, k=k, excluded=excluded)
    songs, found = best_by_sorting(scores, k, excluded)
    np.testing.assert_array_equal(top.songs, songs)
    np.testing.assert_array_equal(top.scores, found)


def test_a_stored_zero_excludes_nothing_and_the_matrix_is_left_alone():
    excluded = csr_array(
        (np.array([1.0, 0.0, 0.0, 1.0]), np.array([2, 0, 1, 2]), np.array([0, 4])), shape=(1, 3)
    )
    assert top_songs([[1.0]], [[1.0], [2.0], [3.0]], k=3, excluded=excluded).songs.tolist() == [[1, 0, -1]]
    assert excluded.nnz == 4, "with what is there twice"


def test_songs_are_read_off_with_their_scores():
    top = top_songs([[1.0], [-1.0]], [[1.0], [3.0]], k=5, excluded=[[0, 0], [1, 0]])
    assert list(top) == [[("1", 3.0), ("0", 1.0)], [("1", -3.0)]]
    assert top[-1] == [("1", -3.0)]
    assert len(top) == 2
    assert repr(top) == "TopSongs(n_queries=2, k=2)"


def test_equal_songs_come_in_the_order_of_their_rows():
    rng = np.random.default_rng(1)
    top = top_songs(rng.standard_normal((30, 50)), np.repeat(rng.standard_normal((1, 50)), 700, axis=0), k=5)
    assert (top.songs == np.arange(5)).all()


def test_the_result_depends_on_neither_threads_nor_company():
    rng = np.random.default_rng(2)
    queries, songs = rng.standard_normal((900, 20)), rng.standard_normal((800, 20))
    one = top_songs(queries, songs, k=7, n_threads=1)
    other = top_songs(queries, songs, k=7, n_threads=5)
    alone = top_songs(queries[450:453], songs, k=7)
    assert (one.songs == other.songs).all()
    assert (one.scores == other.scores).all()
    assert (one.scores[450:453] == alone.scores).all()


def test_progress_may_stop():
    def stop(stage, done, n, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_songs(np.ones((5, 2)), np.ones((3, 2)), progress=stop)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": [[np.nan, 0]]}, "queries must be finite"),
        ({"song_factors": [[1, 2, 3]]}, "queries has 2 columns and song_factors 3"),
        ({"song_factors": np.zeros((0, 2))}, "song_factors must be a matrix that is not empty"),
        ({"k": 0}, "k must be a whole number of at least 1; got 0"),
        ({"k": 1.5}, r"k must be a whole number of at least 1; got 1\.5"),
        ({"excluded": csr_array((2, 1))}, r"excluded has shape \(2, 1\); wanted \(1, 2\)"),
    ],
)
def test_wrong_input(change, message):
    right = {"queries": [[1, 2]], "song_factors": [[1, 2], [3, 4]]}
    with pytest.raises(dcbmr.InputError, match=message):
        top_songs(**(right | change))
