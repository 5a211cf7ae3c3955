"""Metrics out of the lists of all users."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from reference import list_metrics

import dcbmr


@settings(max_examples=100, deadline=None)
@given(
    scores=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 30)),
        elements=st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    ),
    k=st.integers(1, 12),
    data=st.data(),
)
def test_agrees_with_the_reference(scores, k, data):
    n_users, n_songs = scores.shape
    excluded = data.draw(npst.arrays(bool, scores.shape)) & (np.arange(n_songs) > 0)
    excluded[1:2] = True  # has nothing to choose from
    if excluded.all():
        return
    popularity = data.draw(npst.arrays(np.int64, n_songs, elements=st.integers(0, 50)))
    top = dcbmr.top_songs(np.eye(n_users), scores.T, k=k, excluded=excluded)
    report = dcbmr.evaluate_lists(top, popularity)
    wanted = list_metrics(scores, excluded, popularity, k)
    for name, value in wanted.items():
        assert getattr(report, name) == pytest.approx(value, rel=1e-12, abs=1e-14), name
    assert report.exposure.sum() == (top.songs >= 0).sum()
    assert (report.n_users, report.n_songs) == ((~excluded).any(axis=1).sum(), n_songs)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_listed", [1, 10, 700])
def test_lists_made_with_the_ranks_are_those_of_top_songs(n_listed):
    rng = np.random.default_rng(n_listed)
    users = rng.integers(-3, 4, (250, 4)).astype(np.float32)
    songs = rng.integers(-3, 4, (650, 4)).astype(np.float32)
    heldout = rng.random((250, 650)) < rng.choice([0.0, 0.01, 0.2], (250, 1))
    excluded = (rng.random(heldout.shape) < 0.1) & ~heldout
    report = dcbmr.evaluate_ranking(users, songs, heldout, excluded=excluded, n_listed=n_listed, n_threads=3)
    alone = dcbmr.evaluate_ranking(users, songs, heldout, excluded=excluded)
    top = dcbmr.top_songs(users[report.users], songs, k=n_listed, excluded=excluded[report.users])
    np.testing.assert_array_equal(report.top.songs, top.songs)
    np.testing.assert_array_equal(report.top.scores, top.scores)
    np.testing.assert_array_equal(report.ranks.ranks, alone.ranks.ranks)
    assert alone.top is None
    assert report.only(report.ranks.songs < 300).top is None, "lists of all, not of a group of plays"


def test_lists_all_alike_and_lists_that_share_all_songs():
    alike = dcbmr.evaluate_lists(dcbmr.top_songs(np.ones((8, 1)), np.arange(8.0)[:, None], k=1), range(8))
    assert (alike.coverage, alike.gini, alike.mean_popularity) == (1 / 8, 1 - 1 / 8, 7)
    shared = dcbmr.evaluate_lists(dcbmr.top_songs(np.eye(8), np.eye(8), k=1), range(8))
    assert (shared.coverage, shared.gini, shared.mean_popularity) == (1, 0, 3.5)
    one = dcbmr.evaluate_lists(dcbmr.top_songs(np.ones((3, 1)), np.ones((1, 1)), k=10), [5])
    assert (one.k, one.coverage, one.gini, one.mean_popularity) == (1, 1, 0, 5)


def test_wrong_input():
    top = dcbmr.top_songs(np.ones((2, 1)), np.arange(4.0)[:, None], k=2)
    for popularity in (np.ones((4, 1)), [1, np.nan, 1, 1], [1, 2]):
        with pytest.raises(dcbmr.InputError, match="popularity must be a finite number for each"):
            dcbmr.evaluate_lists(top, popularity)
    nothing = dcbmr.top_songs(np.ones((2, 1)), np.ones((4, 1)), excluded=np.ones((2, 4)))
    with pytest.raises(dcbmr.InputError, match="no user has a list"):
        dcbmr.evaluate_lists(nothing, np.ones(4))
    with pytest.raises(dcbmr.InputError, match="n_listed must be a whole number of at least 1; got 0"):
        dcbmr.evaluate_ranking([[1.0]], [[1.0]], [[1]], n_listed=0)
