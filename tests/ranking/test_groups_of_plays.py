"""Reports of groups: songs by popularity, users by activity, known and new artists."""

import numpy as np
import pytest
from reference import rank_metrics

import dcbmr
from dcbmr.ranking.groups import deciles


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    users, songs = rng.integers(-3, 4, (60, 4)) + 0.5, rng.integers(-3, 4, (40, 4))
    heldout = rng.random((60, 40)) < np.linspace(0.02, 0.5, 40)
    heldout[5] = False
    return users, songs, heldout, dcbmr.evaluate_ranking(users, songs, heldout, k=6)


def assert_is_the_group(data, report, in_group):
    """The report of a group is the reference's on its plays, the other held-out songs being no candidates."""
    users, songs, heldout, whole = data
    scores = (users @ songs.T).astype(np.float32)
    rows = np.flatnonzero((heldout & in_group).any(axis=1))
    np.testing.assert_array_equal(report.users, rows)
    for name in dcbmr.RANK_METRICS:
        wanted = []
        for u in rows:
            candidates = ~heldout[u] | in_group[u]
            wanted.append(
                rank_metrics(scores[u, candidates], (heldout & in_group)[u, candidates], whole.k)[name]
            )
        np.testing.assert_allclose(report.of_users(name), wanted, rtol=1e-12, atol=1e-15)


def test_by_popularity(data):
    *_, heldout, report = data
    listeners = heldout.sum(axis=0)
    groups = dcbmr.by_popularity(report, listeners)
    played = np.flatnonzero(listeners)
    decile = np.zeros(40, int)
    decile[played] = [1 + int(10 * np.mean(listeners[played] < listeners[s])) for s in played]
    assert list(groups) == sorted(set(decile[played]))
    assert len(groups) > 7
    for number, part in groups.items():
        assert_is_the_group(data, part, np.broadcast_to(decile == number, heldout.shape))
    assert sum(len(part.ranks.songs) for part in groups.values()) == len(report.ranks.songs)
    given = dcbmr.by_popularity(report, -np.arange(40.0))
    assert given[1].ranks.songs.min() > 30
    assert given[10].ranks.songs.max() < 10


def test_by_activity(data):
    *_, heldout, report = data
    activity = np.random.default_rng(1).permutation(60)
    groups = dcbmr.by_activity(report, activity)
    assert list(groups) == list(range(1, 11))
    for number, part in groups.items():
        assert_is_the_group(data, part, heldout & np.isin(np.arange(60), part.users)[:, None])
        assert len(part.users) in (5, 6)
        if number > 1:
            assert activity[part.users].min() > activity[groups[number - 1].users].max()


def test_new_songs_of_known_and_of_new_artists(data):
    *_, heldout, report = data
    song_ids = [f"s{i}" for i in range(40)]
    artists = {f"s{i}": f"a{i // 4}" for i in range(36)} | {"t0": "a0", "t1": "a1", "t2": "not theirs"}
    known = dcbmr.have_known_artist(song_ids, artists, ["t0", "t1", "t2", "t3"])
    assert np.flatnonzero(known).tolist() == list(range(8))
    groups = dcbmr.by_artist(report, known)
    assert list(groups) == ["known artist", "new artist"]
    assert_is_the_group(data, groups["known artist"], np.broadcast_to(known, heldout.shape))
    assert_is_the_group(data, groups["new artist"], np.broadcast_to(~known, heldout.shape))
    assert list(dcbmr.by_artist(report, np.zeros(40))) == ["new artist"]


def test_deciles_keep_equal_values_together():
    assert deciles(np.arange(100)).tolist() == np.repeat(np.arange(1, 11), 10).tolist()
    assert deciles(np.array([1, 1, 1, 1, 1, 1, 2, 3, 3, 9])).tolist() == [1] * 6 + [7, 8, 8, 10]
    assert deciles(np.array([4, 4])).tolist() == [1, 1]


def test_wrong_input(data):
    report = data[-1]
    with pytest.raises(dcbmr.InputError, match=r"popularity has shape \(3,\); wanted shape \(40,\)"):
        dcbmr.by_popularity(report, np.ones(3))
    with pytest.raises(dcbmr.InputError, match="popularity must be finite"):
        dcbmr.by_popularity(report, np.full(40, np.nan))
    with pytest.raises(dcbmr.InputError, match="activity has 4 numbers, but the report has user 59"):
        dcbmr.by_activity(report, np.ones(4))
    with pytest.raises(dcbmr.InputError, match=r"activity has shape \(60, 2\)"):
        dcbmr.by_activity(report, np.ones((60, 2)))
    with pytest.raises(dcbmr.InputError, match="has_known_artist has shape"):
        dcbmr.by_artist(report, [True])
