"""The best songs of each query, against a full sort."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr.ranking.topk import top_songs


def best_by_sorting(scores, k, excluded):
    """Song and score of the best k of each row, padded with -1 and NaN."""
    songs = np.full((len(scores), k), -1)
    found = np.full((len(scores), k), np.nan, np.float32)
    for u, row in enumerate(scores):
        order = [s for s in np.lexsort((np.arange(len(row)), -row)) if not excluded[u, s]][:k]
        songs[u, : len(order)], found[u, : len(order)] = order, row[order]
    return songs, found


@pytest.mark.parametrize("k", [1, 10, 2000])
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
