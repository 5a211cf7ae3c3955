"""Ranks of held-out songs and what is made of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from reference import rank_metrics, ranking
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

import dcbmr
from dcbmr import _core
from dcbmr.ranking import blocks, chance


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


def assert_all_metrics(report, scores, heldout, candidates, k):
    """Every metric of every user, and its parts, as the reference has it among each user's candidates."""
    assert list(report.means()) == list(dcbmr.RANK_METRICS)
    wanted = [
        rank_metrics(scores[u, candidates[u]], heldout[u, candidates[u]], k)
        for u in np.flatnonzero(heldout.any(axis=1))
    ]
    for name, metric in dcbmr.RANK_METRICS.items():
        of_users = report.of_users(name)
        np.testing.assert_allclose(of_users, [figures[name] for figures in wanted], rtol=1e-12, atol=1e-15)
        if metric.additive:
            parts = np.bincount(report.ranks.users, report.of_plays(name))
            np.testing.assert_allclose(parts, of_users, rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    scores=npst.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(1, 130)),
        elements=st.sampled_from([-np.float32(1e30), -1.0, -0.0, 0.0, 1e-38, 1.0, 2.0]),
    ),
    k=st.integers(1, 200),
    data=st.data(),
)
def test_every_metric_agrees_with_the_reference_and_so_does_a_part_of_the_plays(scores, k, data):
    """With ties, and with songs that are no candidates of a user; down to a single candidate."""
    heldout = data.draw(npst.arrays(bool, scores.shape)) | (np.arange(scores.shape[1]) == 0)
    excluded = data.draw(npst.arrays(bool, scores.shape)) & ~heldout
    report = dcbmr.evaluate_ranking(np.eye(3), scores.T, heldout, excluded=excluded, k=k)
    assert report.ranks.n_candidates.tolist() == (~excluded).sum(axis=1).tolist()
    assert_all_metrics(report, scores, heldout, ~excluded, k)
    # Some of the plays: the others are as if they had been in training.
    group = data.draw(npst.arrays(bool, scores.shape[1])) | (np.arange(scores.shape[1]) == 0)
    part = report.only(group[report.ranks.songs])
    assert_all_metrics(part, scores, heldout & group, ~excluded & ~(heldout & ~group), k)
    again = dcbmr.evaluate_ranking(
        np.eye(3), scores.T, heldout & group, excluded=excluded | (heldout & ~group), k=k
    )
    for name in ("indptr", "songs", "above", "level", "n_candidates"):
        np.testing.assert_array_equal(getattr(part.ranks, name), getattr(again.ranks, name))


def test_a_metric_that_is_no_sum_has_no_parts():
    report = dcbmr.evaluate_ranking([[1.0]], [[2.0], [1.0]], [[1, 1]])
    for name in ("hit_rate_at_k", "mrr"):
        with pytest.raises(dcbmr.InputError, match=f"{name} is not a sum"):
            report.of_plays(name)


def test_a_group_leaves_users_without_its_songs_out_and_counts_them():
    heldout = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    report = dcbmr.evaluate_ranking(np.ones((3, 1)), [[3.0], [2.0], [1.0]], heldout)
    part = report.only(report.ranks.songs == 0)
    assert (part.users.tolist(), part.ranks.songs.tolist()) == ([0], [0])
    assert part.left_out["without held-out plays in the group"] == 1
    assert part.n_users_left_out == 2
    with pytest.raises(dcbmr.InputError, match="no held-out plays in this group"):
        report.only(np.zeros(3, bool))


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


@pytest.mark.parametrize("k", [1, 5, 300])
def test_agrees_with_scikit_learn_on_ties(k):
    """Where many songs tie: scikit-learn is given the order that our rule makes of ties."""
    rng = np.random.default_rng(15)
    users, songs = whole_numbers(rng, 20, 3) + 0.5, whole_numbers(rng, 300, 3)
    heldout = draw_heldout(rng, 20, 300, 0.03)
    report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout), k=k)
    scores = users @ songs.T
    assert max(len(np.unique(row)) for row in scores) < 100
    order_of_ours = np.argsort(np.lexsort((heldout, -scores), axis=1), axis=1) * -1.0 + 300
    for u in range(20):
        exactly = {"abs": 1e-9, "rel": 0}
        assert report.auc_of_users[u] == pytest.approx(roc_auc_score(heldout[u], scores[u]), **exactly)
        ndcg = ndcg_score(heldout[u : u + 1], order_of_ours[u : u + 1], k=k)
        assert report.of_users("ndcg_at_k")[u] == pytest.approx(ndcg, **exactly)
        if k == 300:
            ap = average_precision_score(heldout[u], order_of_ours[u])
            assert report.ap[u] == pytest.approx(ap, **exactly)


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


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("k", [1, 2, 46, 47, 48, 1000])
def test_ties_at_the_cut_off(k):
    """A level of equal scores that begins above k and ends below it, whatever is held out of it."""
    rng = np.random.default_rng(k)
    scores = np.repeat([[3.0, 2.0, 1.0]], 40, axis=0).repeat([7, 60, 33], axis=1)
    heldout = draw_heldout(rng, 40, 100, 0.3)
    heldout[0] = True  # every candidate
    heldout[1] = scores[1] == 2  # every song of the level
    report = dcbmr.evaluate_ranking(np.eye(40), scores.T, csr_array(heldout), k=k)
    ap, auc = ranking(scores, heldout, k)
    np.testing.assert_allclose(report.ap, ap, rtol=1e-12)
    np.testing.assert_allclose(report.auc_of_users, auc, rtol=1e-12)
    assert report.ap[0] == pytest.approx(1.0)
    assert report.k == k


def test_k_beyond_the_candidates_changes_nothing():
    rng = np.random.default_rng(10)
    users, songs = whole_numbers(rng, 30, 4), whole_numbers(rng, 20, 4)
    users[:, 0] = 1  # nobody is without training plays
    heldout = csr_array(draw_heldout(rng, 30, 20))
    reports = [dcbmr.evaluate_ranking(users, songs, heldout, k=k) for k in (20, 21, 10**9, np.int64(20))]
    for report in reports[1:]:
        np.testing.assert_array_equal(report.ap, reports[0].ap)
    rows = [random_row_of(report) for report in reports]
    assert rows[1:] == rows[:1] * 3


def random_row_of(report):
    row = dcbmr.random_row(report, random_state=3)
    return row.map_at_k, row.auc, row.expected_map_at_k


def rank(scores, heldout_songs, excluded):
    """The kernel's counts for users whose scores are given: each user a factor, each song its scores."""
    n_users, n = heldout_songs.shape
    songs = np.empty(n_users * n, np.int32)
    above, level = np.empty((2, n_users * n), np.int64)
    _core.SongScores(np.ascontiguousarray(scores.T)).rank(
        np.eye(n_users, dtype=np.float32),
        np.arange(n_users + 1) * n,
        heldout_songs.ravel().astype(np.int32),
        np.concatenate([[0], np.cumsum([len(row) for row in excluded])]),
        np.concatenate(excluded).astype(np.int32),
        songs,
        above,
        level,
        np.empty((n_users, 0), np.int64),
        np.empty((n_users, 0), np.float32),
        n_threads=1,
    )
    return songs.reshape(n_users, n), above.reshape(n_users, n), level.reshape(n_users, n)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n", [1, 47, 48, 49, 50, 900])  # scanned up to 48, looked up beyond
def test_kernel_counts_songs_above_and_level(n):
    rng = np.random.default_rng(n)
    scores = rng.integers(0, 40, (6, 900)).astype(np.float32)
    order = rng.permuted(np.tile(np.arange(900), (6, 1)), axis=1)
    # The first user excludes nothing, the last one every song that is not held out.
    heldout, excluded = order[:, :n], [np.sort(row[n:][: u * 200]) for u, row in enumerate(order)]
    songs, above, level = rank(scores, heldout, excluded)
    for u in range(6):
        mine = sorted(heldout[u], key=lambda song: (-scores[u, song], song))
        others = np.delete(scores[u], [*heldout[u], *excluded[u]])
        assert songs[u].tolist() == mine
        assert above[u].tolist() == [(others > s).sum() for s in scores[u, mine]]
        assert level[u].tolist() == [(others == s).sum() for s in scores[u, mine]]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [1, 7, 50, 400])
def test_equal_songs_tie_exactly_and_earn_nothing(n_factors):
    rng = np.random.default_rng(4)
    users = rng.standard_normal((300, n_factors), np.float32)
    songs = np.repeat(rng.standard_normal((1, n_factors), np.float32), 131, axis=0)
    heldout = np.zeros((300, 131), bool)
    heldout[:, 17] = heldout[:, 130] = True
    report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout))
    assert (report.auc_of_users == 0.5).all()
    np.testing.assert_allclose(report.ap, (1 / 130 + 2 / 131) / 2)


@pytest.mark.usefixtures("isa")
def test_agrees_with_the_reference_in_float64():
    # Scores so far apart that no rounding swaps two: what is compared is every path of the tiles.
    rng = np.random.default_rng(9)
    for n_users, n_songs, n_factors in ((1, 1000, 3), (193, 33, 17), (400, 1100, 130)):
        users, songs = rng.standard_normal((n_users, n_factors)), rng.standard_normal((n_songs, n_factors))
        heldout = draw_heldout(rng, n_users, n_songs, 0.02)
        users, songs = users.astype(np.float32), songs.astype(np.float32)
        report = dcbmr.evaluate_ranking(users, songs, csr_array(heldout), k=100)
        ap, auc = ranking(users.astype(float) @ songs.T.astype(float), heldout, 100)
        np.testing.assert_allclose(report.map_at_k, ap.mean(), rtol=1e-3)
        np.testing.assert_allclose(report.auc_of_users, auc, atol=2e-4)


def test_the_result_depends_on_neither_threads_nor_company():
    rng = np.random.default_rng(5)
    users, songs = rng.standard_normal((1500, 20), np.float32), rng.standard_normal((150, 20), np.float32)
    heldout = csr_array(draw_heldout(rng, 1500, 150, 0.05))
    one = dcbmr.evaluate_ranking(users, songs, heldout, n_threads=1)
    for n_threads in (2, 7):
        other = dcbmr.evaluate_ranking(users, songs, heldout, n_threads=n_threads)
        assert (other.ap == one.ap).all()
        assert (other.auc_of_users == one.auc_of_users).all()
    alone = dcbmr.evaluate_ranking(users[700:705], songs, heldout[700:705])
    assert (alone.ap == one.ap[700:705]).all()
    assert (alone.auc_of_users == one.auc_of_users[700:705]).all()


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


def test_sparse_users_are_ranked_as_dense_ones(monkeypatch):
    monkeypatch.setattr(blocks, "_DENSE", 300)  # 20 users a block
    rng = np.random.default_rng(14)
    users, songs = whole_numbers(rng, 90, 15) * (rng.random((90, 15)) < 0.2), whole_numbers(rng, 30, 15)
    heldout = draw_heldout(rng, 90, 30)
    stored = csr_array(users)
    stored.data[:5] = 0
    reports = [
        dcbmr.evaluate_ranking(m, songs, heldout, k=5) for m in (stored, stored.tocsc(), stored.toarray())
    ]
    assert stored.nnz == np.count_nonzero(users), "the caller's is left alone"
    assert reports[0].left_out["without training plays"] > 0
    for report in reports[1:]:
        np.testing.assert_array_equal(report.users, reports[0].users)
        np.testing.assert_array_equal(report.ranks.ranks, reports[0].ranks.ranks)
    tops = [dcbmr.top_songs(m, songs, k=3) for m in (stored, stored.toarray())]
    np.testing.assert_array_equal(tops[0].songs, tops[1].songs)


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


def test_progress_sees_every_user_and_may_stop():
    rng = np.random.default_rng(7)
    users, songs = rng.standard_normal((3000, 4)), rng.standard_normal((10, 4))
    heldout = csr_array(draw_heldout(rng, 3000, 10))
    seen = []
    dcbmr.evaluate_ranking(users, songs, heldout, progress=lambda stage, done, n, _: seen.append((done, n)))
    assert seen[-1] == (3000, 3000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def stop(stage, done, n, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcbmr.evaluate_ranking(users, songs, heldout, progress=stop)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_factors": np.full((2, 3), np.nan)}, "user_factors must be finite; 2 of 2 rows"),
        ({"user_factors": csr_array([[0, 1, np.nan], [0, 0, 0]])}, "must be finite; 1 of 2 rows.*row 0"),
        ({"song_factors": [[0, 0, 0], [0, np.inf, 0]]}, "song_factors must be finite; 1 of 2 rows.*row 1"),
        ({"user_factors": np.full((2, 3), 1e25), "song_factors": np.full((2, 3), 1e25)}, "overflow"),
        ({"user_factors": np.ones((2, 4))}, "4 columns and song_factors 3"),
        ({"user_factors": np.ones(3)}, r"user_factors must be a matrix.*\(3,\)"),
        ({"song_factors": np.ones((0, 3))}, "song_factors must be a matrix"),
        ({"heldout": csr_array((3, 2))}, r"heldout has shape \(3, 2\)"),
        ({"heldout": csr_array((2, 2))}, "no user is left to evaluate: of 2 users, 2 have no held-out"),
        ({"excluded": np.ones((2, 3))}, r"excluded has shape \(2, 3\)"),
        ({"excluded": np.ones((2, 2))}, "2 plays are held out and excluded"),
        ({"k": 0}, "k must be a whole number of at least 1; got 0"),
        ({"k": 1.5}, r"k must be a whole number of at least 1; got 1\.5"),
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
    scores = _core.SongScores(np.zeros((4, 1), np.float32))
    right = {
        "users": np.zeros((1, 1), np.float32),
        "indptr": np.array([0, 1]),
        "indices": np.array([3], np.int32),
    }
    counts = {
        "excluded_indptr": np.array([0, 1]),
        "excluded_indices": np.array([0], np.int32),
        "songs": np.zeros(1, np.int32),
        "above": np.zeros(1, np.int64),
        "level": np.zeros(1, np.int64),
        "top_songs": np.zeros((1, 2), np.int64),
        "top_scores": np.zeros((1, 2), np.float32),
    }
    best = {"songs": np.zeros((1, 2), np.int64), "scores": np.zeros((1, 2), np.float32)}
    scores.rank(**right, **counts, n_threads=1)
    scores.top(**right, **best, n_threads=1)
    for wrong in (
        {"users": np.zeros((1, 2), np.float32)},
        {"users": np.zeros((2, 1), np.float32)},
        {"users": np.zeros((1, 1))},
        {"indptr": np.array([0, 2])},
        {"indptr": np.array([-1, 1])},
        {"indptr": np.array([0])},
        {"indices": np.array([4], np.int32)},
        {"indices": np.array([-1], np.int32)},
    ):
        with pytest.raises((ValueError, TypeError)):
            scores.rank(**(right | wrong), **counts, n_threads=1)
        with pytest.raises((ValueError, TypeError)):
            scores.top(**(right | wrong), **best, n_threads=1)
    for wrong in (
        {"excluded_indptr": np.array([0, 2])},
        {"excluded_indptr": np.array([0, 0, 1])},
        {"excluded_indices": np.array([4], np.int32)},
        {"songs": np.zeros(2, np.int32)},
        {"songs": np.zeros(1, np.int64)},
        {"above": np.zeros(2, np.int64)},
        {"level": np.zeros(1, np.int32)},
        {"top_songs": np.zeros((2, 2), np.int64)},
        {"top_songs": np.zeros(2, np.int64)},
        {"top_scores": np.zeros((1, 1), np.float32)},
    ):
        with pytest.raises((ValueError, TypeError)):
            scores.rank(**right, **(counts | wrong), n_threads=1)
    for wrong in (
        {"songs": np.zeros((2, 2), np.int64)},
        {"songs": np.zeros((1, 0), np.int64), "scores": np.zeros((1, 0), np.float32)},
        {"scores": np.zeros((1, 1), np.float32)},
    ):
        with pytest.raises((ValueError, TypeError)):
            scores.top(**right, **(best | wrong), n_threads=1)
    two = np.array([0, 2, 1])
    with pytest.raises(ValueError, match="descend"):
        scores.rank(np.zeros((2, 1), np.float32), two, np.array([3], np.int32), **counts, n_threads=1)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
@pytest.mark.parametrize("n_songs", [1, 2, 6])
def test_expected_random_ap_by_enumeration(n_songs, k):
    scores = np.arange(n_songs, 0, -1.0)
    for n in range(1, n_songs + 1):
        aps = []
        for chosen in itertools.combinations(range(n_songs), n):
            heldout = np.isin(np.arange(n_songs), chosen)
            aps.append(ranking(scores[None], heldout[None], k)[0, 0])
        assert chance.expected_random_ap([n], n_songs, k)[0] == pytest.approx(np.mean(aps))


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_expectations_of_all_metrics_by_enumeration(k):
    assert list(chance.EXPECTED) == list(dcbmr.RANK_METRICS)
    sizes = [(n, n_songs) for n_songs in (1, 2, 6) for n in range(1, n_songs + 1)]
    found = {name: expected(*np.array(sizes).T, k) for name, expected in chance.EXPECTED.items()}
    for i, (n, n_songs) in enumerate(sizes):
        every = [
            rank_metrics(-np.arange(n_songs), np.isin(np.arange(n_songs), chosen), k)
            for chosen in itertools.combinations(range(n_songs), n)
        ]
        for name, of_users in found.items():
            mean = np.mean([figures[name] for figures in every])
            assert of_users[i] == pytest.approx(mean, rel=1e-12, nan_ok=True), (name, n, n_songs)


def test_random_ranks_reach_the_expectations_whatever_the_candidates():
    rng = np.random.default_rng(13)
    heldout, excluded = draw_heldout(rng, 20_000, 40, 0.1), rng.random((20_000, 40)) < 0.4
    report = dcbmr.evaluate_ranking(
        np.ones((20_000, 1)), np.ones((40, 1)), heldout, excluded=excluded & ~heldout, k=7
    )
    row = dcbmr.random_row(report, random_state=4)
    for name, mean in row.means.items():
        assert abs(mean - row.expected[name]) < 4 * 0.5 / np.sqrt(20_000), name
    drawn = chance.random_ranks(report.ranks)
    assert (drawn.ranks <= drawn.n_candidates[drawn.users]).all()
    assert (drawn.ranks >= 1).all()
    # A user's songs are the same, in an order that knows nothing of the model's.
    np.testing.assert_array_equal(
        np.sort(drawn.songs + 40 * drawn.users), np.sort(report.ranks.songs + 40 * report.ranks.users)
    )
    assert (drawn.songs != report.ranks.songs).mean() > 0.5


def test_expected_random_ap_is_the_papers():
    # 46,728 songs at k = 500: 0.000146 for any usual number of held-out songs.
    expected = chance.expected_random_ap([1, 3, 6, 12], 46_728, 500)
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
    row = dcbmr.random_row(report, random_state=1)
    assert row.expected_auc == 0.5
    for measured, values in ((row.map_at_k, np.concatenate(aps)), (row.auc, np.concatenate(aucs))):
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - measured) < 4 * np.sqrt(2) * error
    ap = np.concatenate(aps)
    assert abs(ap.mean() - row.expected_map_at_k) < 4 * ap.std() / np.sqrt(len(ap))


@pytest.mark.parametrize("k", [1, 7, 60])
def test_random_row_agrees_with_its_expectation_at_any_k(k):
    heldout = csr_array(draw_heldout(np.random.default_rng(12), 20_000, 60, 0.1))
    row = dcbmr.random_row(
        dcbmr.evaluate_ranking(np.ones((20_000, 1)), np.ones((60, 1)), heldout, k=k), random_state=2
    )
    # A precision lies between 0 and 1: its mean over n users has a standard deviation below 0.5 / sqrt(n).
    assert abs(row.map_at_k - row.expected_map_at_k) < 4 * 0.5 / np.sqrt(20_000)


def test_a_dense_matrix_of_heldout_plays_will_do():
    heldout = np.array([[1, 0, 0], [0, 0, 2]])
    report = dcbmr.evaluate_ranking(np.eye(2), np.eye(3, 2), heldout, k=2)
    again = dcbmr.evaluate_ranking(np.eye(2), np.eye(3, 2), csr_array(heldout), k=2)
    np.testing.assert_array_equal(report.ap, again.ap)
    assert report != again, "arrays are compared by identity"
    assert "n_users=2, n_songs=3" in repr(report)


def test_random_row_is_seeded():
    report = dcbmr.evaluate_ranking(np.ones((5, 1)), np.ones((9, 1)), csr_array(np.eye(5, 9)))
    assert dcbmr.random_row(report) == dcbmr.random_row(report)
    assert dcbmr.random_row(report) != dcbmr.random_row(report, random_state=1)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_every_set_of_ranks_is_as_likely(n):
    n_users, sets = 20_000, list(itertools.combinations(range(1, 6), n))
    of_others = [3, 5, 1]  # users beside them with more and with fewer
    counts = np.array([*of_others, *[n] * n_users])
    ranks = chance._distinct_ranks(counts, np.full_like(counts, 5), np.random.default_rng(n))
    assert [len(set(user)) for user in np.split(ranks, np.cumsum(counts)[:-1])] == counts.tolist()
    drawn = ranks[sum(of_others) :].reshape(n_users, n)
    assert (np.diff(drawn, axis=1) > 0).all()
    times = np.array([(drawn == one).all(axis=1).sum() for one in sets])
    assert times.sum() == n_users
    expected = n_users / len(sets)
    assert (np.abs(times - expected) < 4 * np.sqrt(expected) + 1).all()
