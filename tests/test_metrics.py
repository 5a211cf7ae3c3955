"""Ranks of held-out songs and what is made of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from reference import ranking
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, roc_auc_score

import dcbmr
from dcbmr import _ranking, metrics


def whole_numbers(rng, *shape):
    """Factors whose products are exact in float32, with many ties."""
    return rng.integers(-3, 4, shape).astype(np.float32)


def draw_heldout(rng, n_users, n_songs, share=0.2):
    heldout = rng.random((n_users, n_songs)) < share
    heldout[np.arange(n_users), rng.integers(0, n_songs, n_users)] = True
    return heldout


@pytest.mark.parametrize("k", [1, 3, 500])
@pytest.mark.parametrize(("n_songs", "share"), [(2, 0.3), (63, 0.1), (64, 0.9), (65, 0.05), (700, 0.2)])
def test_agrees_with_the_reference(k, n_songs, share):
    # 700 songs of which a fifth is held out: more than the scans take, so that songs are looked up.
    rng = np.random.default_rng(n_songs)
    users, songs = whole_numbers(rng, 50, 4) + 0.5, whole_numbers(rng, n_songs, 4)
    heldout = draw_heldout(rng, 50, n_songs, share)
    report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout * 3.0), k=k)
    ap, auc = ranking(users @ songs.T, heldout, k)
    np.testing.assert_allclose(report.ap, ap, rtol=1e-12)
    np.testing.assert_allclose(report.auc_of_users, auc, rtol=1e-12)
    assert report.map_at_k == pytest.approx(ap.mean())
    assert report.auc == pytest.approx(np.nanmean(auc), nan_ok=True)
    assert (report.n_users, report.n_songs, report.n_users_left_out) == (50, n_songs, 0)


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    users, songs = rng.standard_normal((20, 8), np.float32), rng.standard_normal((300, 8), np.float32)
    heldout = draw_heldout(rng, 20, 300, 0.03)
    report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout), k=300)
    scores = users @ songs.T
    for u in range(20):
        assert report.auc_of_users[u] == pytest.approx(roc_auc_score(heldout[u], scores[u]))
        # Without ties and without a cut-off the two definitions of average precision are one.
        assert report.ap[u] == pytest.approx(average_precision_score(heldout[u], scores[u]))


@settings(max_examples=200, deadline=None)
@given(
    scores=npst.arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(1, 130)),
        elements=st.sampled_from([-np.float32(1e30), -1.0, -0.0, 0.0, 1e-38, 1.0, 2.0]),
    ),
    k=st.integers(1, 200),
    data=st.data(),
)
def test_kernel_agrees_with_the_reference_on_ties(scores, k, data):
    heldout = data.draw(npst.arrays(bool, scores.shape)) | (np.arange(scores.shape[1]) == 0)
    report = dcbmr.evaluate_ranking(np.eye(2), scores.T, csr_array(heldout), k=k)
    ap, auc = ranking(scores, heldout, k)
    np.testing.assert_allclose(report.ap, ap, rtol=1e-12)
    np.testing.assert_allclose(report.auc_of_users, auc, rtol=1e-12)


def test_both_ways_of_counting_agree(monkeypatch):
    rng = np.random.default_rng(3)
    scores = np.ascontiguousarray(rng.integers(0, 40, (6, 900)).astype(np.float32))
    counts = []
    for n in (48, 49):  # SCAN and one more
        columns = np.sort(
            rng.permuted(np.tile(np.arange(900, dtype=np.int32), (6, 1)), axis=1)[:, :n], axis=1
        )
        above, level = np.empty((2, 6 * n), np.int64)
        _ranking.count_above(scores, 900, np.arange(7) * n, columns.ravel(), above, level)
        for u in range(6):
            mine = np.sort(scores[u, columns[u]])[::-1]
            others = np.delete(scores[u], columns[u])
            assert above[u * n : (u + 1) * n].tolist() == [(others > s).sum() for s in mine]
            assert level[u * n : (u + 1) * n].tolist() == [(others == s).sum() for s in mine]
        counts.append(n)


def test_the_result_depends_on_neither_threads_nor_blocks(monkeypatch):
    rng = np.random.default_rng(5)
    users, songs = rng.standard_normal((1500, 20), np.float32), rng.standard_normal((150, 20), np.float32)
    heldout = csr_array(draw_heldout(rng, 1500, 150, 0.05))
    one = dcbmr.evaluate_ranking(users, songs, heldout, n_threads=1)
    for n_threads, block_bytes in ((2, 32 << 20), (7, 1), (3, 200_000)):
        monkeypatch.setattr(metrics, "BLOCK_BYTES", block_bytes)
        other = dcbmr.evaluate_ranking(users, songs, heldout, n_threads=n_threads)
        assert (other.ap == one.ap).all()
        assert (other.auc_of_users == one.auc_of_users).all()


def test_scaling_a_user_and_permuting_songs_change_nothing():
    rng = np.random.default_rng(6)
    users, songs = whole_numbers(rng, 40, 5) + 0.5, whole_numbers(rng, 90, 5)
    heldout = draw_heldout(rng, 40, 90)
    report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout), k=10)
    order = rng.permutation(90)
    other = dcbmr.evaluate_ranking(
        users * 2.0 ** rng.integers(-5, 5, (40, 1)), songs[order], csr_array(heldout[:, order]), k=10
    )
    np.testing.assert_allclose(other.ap, report.ap)
    np.testing.assert_allclose(other.auc_of_users, report.auc_of_users)


def test_users_without_plays_are_left_out_and_counted():
    users = np.array([[1, 0], [0, 0], [1, 1], [0, 0], [2, 0]], np.float32)
    heldout = csr_array(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]], np.float32))
    report = dcbmr.evaluate_ranking(users, [[1, 0], [2, 0], [3, 0]], heldout)
    assert report.users.tolist() == [0, 4]
    assert report.left_out == {"without held-out plays": 2, "without training plays": 1}
    assert report.n_users_left_out == 3
    np.testing.assert_allclose(report.ap, [1 / 3, 1 / 2])
    np.testing.assert_allclose(report.auc_of_users, [0, 0.5])


def test_explicit_zeros_and_duplicates_are_no_plays_of_their_own():
    heldout = csr_array((np.array([1.0, 1.0, 0.0]), np.array([2, 2, 0]), np.array([0, 3])), shape=(1, 3))
    report = dcbmr.evaluate_ranking([[1.0]], [[1.0], [3.0], [2.0]], heldout)
    assert report.n_heldout.tolist() == [1]
    assert report.ap.tolist() == [0.5]


def test_a_user_who_holds_out_every_candidate_has_no_auc():
    heldout = csr_array(np.array([[1, 1], [1, 0]], np.float32))
    report = dcbmr.evaluate_ranking([[1.0], [1.0]], [[1.0], [2.0]], heldout)
    assert report.ap.tolist() == [1.0, 0.5]
    assert np.isnan(report.auc_of_users[0])
    assert report.auc == 0.0


def test_callback_sees_every_user_and_may_stop():
    rng = np.random.default_rng(7)
    users, songs = rng.standard_normal((3000, 4)), rng.standard_normal((10, 4))
    heldout = csr_array(draw_heldout(rng, 3000, 10))
    seen = []
    dcbmr.evaluate_ranking(users, songs, heldout, callback=lambda done, n: seen.append((done, n)))
    assert seen == [(1024, 3000), (2048, 3000), (3000, 3000)]

    def stop(done, n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcbmr.evaluate_ranking(users, songs, heldout, callback=stop)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_factors": np.full((2, 3), np.nan)}, "user_factors must be finite; 2 of 2 rows"),
        ({"song_factors": [[0, 0, 0], [0, np.inf, 0]]}, "song_factors must be finite; 1 of 2 rows.*row 1"),
        ({"user_factors": np.full((2, 3), 1e25), "song_factors": np.full((2, 3), 1e25)}, "overflow"),
        ({"user_factors": np.ones((2, 4))}, "4 columns and song_factors 3"),
        ({"user_factors": np.ones(3)}, r"user_factors must be a matrix.*\(3,\)"),
        ({"song_factors": np.ones((0, 3))}, "song_factors must be a matrix"),
        ({"heldout": csr_array((3, 2))}, r"heldout has shape \(3, 2\)"),
        ({"heldout": csr_array((2, 2))}, "no user is left to evaluate: of 2 users, 2 have no held-out"),
        ({"k": 0}, "k must be at least 1"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
    ],
)
def test_wrong_input(change, message):
    right = {
        "user_factors": np.ones((2, 3)),
        "song_factors": np.ones((2, 3)),
        "heldout": csr_array(np.eye(2)),
    }
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.evaluate_ranking(**(right | change))


def test_kernel_refuses_what_would_read_or_write_outside():
    scores, out = np.zeros((1, 4), np.float32), np.zeros(1, np.int64)
    right = (scores, 4, np.array([0, 1]), np.array([3], np.int32), out, out.copy())
    _ranking.count_above(*right)
    for place, wrong in (
        (1, 5),
        (2, np.array([0, 2])),
        (2, np.array([-1, 1])),
        (2, np.array([1, 0])),
        (2, np.array([0, 0, 1])),
        (3, np.array([4], np.int32)),
        (3, np.array([-1], np.int32)),
        (4, np.zeros(2, np.int64)),
    ):
        arguments = [*right[:place], wrong, *right[place + 1 :]]
        with pytest.raises((ValueError, IndexError)):
            _ranking.count_above(*arguments)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
@pytest.mark.parametrize("n_songs", [1, 2, 6])
def test_expected_random_ap_by_enumeration(n_songs, k):
    scores = np.arange(n_songs, 0, -1.0)
    for n in range(1, n_songs + 1):
        aps = []
        for chosen in itertools.combinations(range(n_songs), n):
            heldout = np.isin(np.arange(n_songs), chosen)
            aps.append(ranking(scores[None], heldout[None], k)[0, 0])
        assert metrics.expected_random_ap([n], n_songs, k)[0] == pytest.approx(np.mean(aps))


def test_expected_random_ap_is_the_papers():
    # 46,728 songs at k = 500: 0.000146 for any usual number of held-out songs.
    expected = metrics.expected_random_ap([1, 3, 6, 12], 46_728, 500)
    np.testing.assert_allclose(expected, 0.000146, atol=0.000002)


def test_random_row_is_what_random_scores_reach():
    rng = np.random.default_rng(8)
    heldout = csr_array(draw_heldout(rng, 4000, 300, 0.02))
    # Independent scores for each user and song: each user a factor, each song its scores.
    aps, aucs = [], []
    for start in range(0, 4000, 500):
        scores = rng.random((500, 300), np.float32)
        report = dcbmr.evaluate_ranking(np.eye(500), scores.T, heldout[start : start + 500], k=50)
        aps.append(report.ap)
        aucs.append(report.auc_of_users)
    report = dcbmr.evaluate_ranking(np.ones((4000, 1)), np.ones((300, 1)), heldout, k=50)
    row = metrics.random_row(report, random_state=1)
    assert row.expected_auc == 0.5
    for measured, values in ((row.map_at_k, np.concatenate(aps)), (row.auc, np.concatenate(aucs))):
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - measured) < 4 * np.sqrt(2) * error
    ap = np.concatenate(aps)
    assert abs(ap.mean() - row.expected_map_at_k) < 4 * ap.std() / np.sqrt(len(ap))


def test_random_row_is_seeded():
    report = dcbmr.evaluate_ranking(np.ones((5, 1)), np.ones((9, 1)), csr_array(np.eye(5, 9)))
    assert metrics.random_row(report) == metrics.random_row(report)
    assert metrics.random_row(report) != metrics.random_row(report, random_state=1)
