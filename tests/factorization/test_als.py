"""Weighted ALS against its definition in float64, and what must hold whatever the numbers."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from real_data import LASTFM, needs_data
from reference import als_gradient, als_objective, als_solve
from scipy.sparse import coo_array, csc_matrix, csr_array, lil_array, random_array
from sklearn.base import clone

import dcbmr
from dcbmr import _core
from dcbmr.cli import main
from dcbmr.factorization import half_sweep as sweeps
from dcbmr.plays.confidence import surplus
from dcbmr.plays.split import split_plays


def draw_surplus(rng, n_rows, n_others, longest, scale=30.0):
    """Rows of every length from none to all, so that both shapes of system occur."""
    lengths = rng.integers(0, longest + 1, n_rows)
    lengths[:2] = 0, longest
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([np.sort(rng.permutation(n_others)[:n]) for n in lengths]).astype(np.int32)
    data = rng.gamma(1, scale, len(indices)).astype(np.float32)
    return csr_array((data, indices, indptr), shape=(n_rows, n_others))


def half_sweep(
    plays, others, *, regularization=0.01, weight=1.0, exponent=0.0, steps=0, n_threads=1, out=None
):
    problem = sweeps.Problem(regularization, weight, exponent, steps, n_threads)
    out = np.full((plays.shape[0], others.shape[1]), np.nan, np.float32) if out is None else out
    fixed = sweeps.fixed_factors(others, problem)
    return out, sweeps.half_sweep(sweeps.PlayRows(plays), fixed, problem, out, objective=True)


def draw_counts(rng, n_users=60, n_songs=45, density=0.15):
    counts = random_array((n_users, n_songs), density=density, rng=rng, format="csr", dtype=np.float64)
    counts.data = np.ceil(rng.pareto(1.0, counts.nnz)) + 1
    return csr_array(counts)


@pytest.mark.parametrize("n_factors", [1, 3, 16, 17, 50, 64, 130])
def test_half_sweep_agrees_with_the_normal_equations(isa, n_factors):
    rng = np.random.default_rng(n_factors)
    plays = draw_surplus(rng, 20, 250, 200)
    others = (rng.standard_normal((250, n_factors)) * 0.1).astype(np.float32)
    found, sums = half_sweep(plays, others)
    wanted = als_solve(plays.toarray(), others, 0.01)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_allclose(
        sums[:3], als_objective(plays.toarray(), found, others, 0.01, 0)[:3], rtol=1e-5
    )
    assert sums[3] == 0
    assert not found[0].any(), "a row without plays is zero"


@pytest.mark.parametrize("weight", [0.01, 0.5])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_unobserved_weight_and_frequency_scaled_regularization(isa, weight, exponent):
    rng = np.random.default_rng(3)
    plays = draw_surplus(rng, 30, 100, 80)
    others = (rng.standard_normal((100, 20)) * 0.3).astype(np.float32)
    found, sums = half_sweep(plays, others, weight=weight, exponent=exponent)
    lambdas = 0.01 * (np.diff(plays.indptr) + weight * 100) ** exponent
    wanted = als_solve(plays.toarray(), others, lambdas, weight)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    terms = als_objective(plays.toarray(), found, others, lambdas, 0, weight)
    np.testing.assert_allclose(sums[:3], terms[:3], rtol=1e-5)


@pytest.mark.parametrize("regularization", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("confidence", [1.0, 30.0, 1e4])
def test_gradient_is_zero_at_every_row(isa, regularization, confidence):
    """Bound: 2e-4 of the gradient at zero, in the metric of the system without plays."""
    rng = np.random.default_rng(5)
    plays = draw_surplus(rng, 50, 200, 150)
    plays.data[:] = confidence
    others = rng.standard_normal((200, 40)).astype(np.float32)
    found, _ = half_sweep(plays, others, regularization=regularization)
    assert np.isfinite(found).all()
    gradient = als_gradient(plays.toarray(), found.astype(float), others.astype(float), regularization)
    at_zero = als_gradient(plays.toarray(), 0 * found.astype(float), others.astype(float), regularization)
    metric = np.linalg.inv(others.astype(float).T @ others + regularization * np.eye(40))
    norms = [np.sqrt(np.einsum("uf,fg,ug->u", g, metric, g)) for g in (gradient, at_zero)]
    played = np.diff(plays.indptr) > 0
    assert (norms[0][played] <= 2e-4 * norms[1][played]).all()


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_conjugate_gradients_come_to_the_exact_rows(isa, exponent):
    rng = np.random.default_rng(20)
    plays = draw_surplus(rng, 40, 150, 120)
    others = rng.standard_normal((150, 30)).astype(np.float32)
    exact, _ = half_sweep(plays, others, weight=0.5, exponent=exponent)
    scale = np.abs(exact).max()
    start = (exact + 0.1 * scale * rng.standard_normal(exact.shape)).astype(np.float32)
    errors = []
    for steps in (1, 3, 40):
        found, sums = half_sweep(plays, others, weight=0.5, exponent=exponent, steps=steps, out=start.copy())
        errors.append(np.abs(found - exact).max() / scale)
        lambdas = 0.01 * (np.diff(plays.indptr) + 0.5 * 150) ** exponent
        terms = als_objective(plays.toarray(), found, others, lambdas, 0, 0.5)
        np.testing.assert_allclose(sums[:3], terms[:3], rtol=1e-5)
        assert not found[0].any(), "a row without plays is zero"
    assert errors[2] < 1e-5 < errors[1] < errors[0] < 0.1 * 5
    again, _ = half_sweep(plays, others, weight=0.5, exponent=exponent, steps=40, out=exact.copy())
    np.testing.assert_allclose(again, exact, atol=1e-5 * scale)


def test_conjugate_gradients_share_huge_rows():
    rng = np.random.default_rng(21)
    plays = draw_surplus(rng, 3, 20_000, 20_000)
    others = (rng.standard_normal((20_000, 5)) * 0.1).astype(np.float32)
    exact, _ = half_sweep(plays, others)
    found, _ = half_sweep(plays, others, steps=20, n_threads=2, out=np.zeros_like(exact))
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


def test_more_factors_than_rows(isa):
    """The Gram matrix is singular; lambda alone makes the systems definite."""
    rng = np.random.default_rng(7)
    plays = draw_surplus(rng, 20, 10, 10)
    others = rng.standard_normal((10, 60)).astype(np.float32)
    found, _ = half_sweep(plays, others, regularization=1e-6)
    scores = als_solve(plays.toarray(), others, 1e-6) @ others.T.astype(float)
    np.testing.assert_allclose(found @ others.T, scores, atol=1e-3)


def test_song_of_half_a_million_users_is_the_same_on_any_number_of_threads(isa):
    rng = np.random.default_rng(8)
    plays = draw_surplus(rng, 3, 500_000, 500_000)
    assert np.diff(plays.indptr).max() == 500_000
    others = (rng.standard_normal((500_000, 9)) * 0.1).astype(np.float32)
    found, sums = half_sweep(plays, others, n_threads=1)
    np.testing.assert_allclose(
        found, als_solve(plays.toarray(), others, 0.01), atol=1e-5 * np.abs(found).max()
    )
    for n_threads in (2, 5):
        again, sums_again = half_sweep(plays, others, n_threads=n_threads)
        np.testing.assert_array_equal(again, found)
        np.testing.assert_array_equal(sums_again, sums)


def test_range_of_rows_changes_nothing():
    rng = np.random.default_rng(9)
    plays = draw_surplus(rng, 70, 90, 60)
    others = rng.standard_normal((90, 12)).astype(np.float32)
    whole, _ = half_sweep(plays, others)
    fixed = sweeps.fixed_factors(others, sweeps.Problem(0.01, 1.0, 0.0, 0, 1))
    rows = _core.Plays(plays.indptr.astype(np.int64), plays.indices.astype(np.int32), plays.data, len(others))
    parts = np.zeros_like(whole)
    for some in [(0, 1), (1, 18), (18, 18), (18, 69), (69, 70)]:
        fixed.solve_rows(rows, some, parts, regularization=None, cg_steps=0, with_errors=False, n_threads=2)
    np.testing.assert_array_equal(parts, whole)


def test_range_of_one_huge_row_changes_nothing():
    rng = np.random.default_rng(23)
    plays = draw_surplus(rng, 3, 20_000, 20_000)
    others = (rng.standard_normal((20_000, 5)) * 0.1).astype(np.float32)
    whole, _ = half_sweep(plays, others)
    huge, _ = half_sweep(plays[[1]], others)
    np.testing.assert_array_equal(huge, whole[[1]])


def test_one_row_takes_the_memory_of_one_thread():
    code = """
import numpy as np, resource
from scipy.sparse import csr_array
from dcbmr.factorization import half_sweep as sweeps
problem = sweeps.Problem(0.01, 1.0, 0.0, 0, 64)
fixed = sweeps.fixed_factors(np.ones((500, 400), np.float32), problem)
plays, out = csr_array(np.ones((1, 500), np.float32)), np.zeros((1, 400), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sweeps.half_sweep(sweeps.PlayRows(plays), fixed, problem, out, objective=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 30_000, "KiB; 64 workspaces take more than 80 MiB"


def test_row_ranges_cover_all_rows(monkeypatch):
    rng = np.random.default_rng(10)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 100, 1000))])
    monkeypatch.setattr(sweeps, "_FLOPS_A_CALL", 1e6)
    ranges = list(sweeps._row_ranges(indptr, 20))
    assert len(ranges) > 10
    assert [b for b, _ in ranges] == [0, *(e for _, e in ranges[:-1])]
    assert ranges[-1][1] == 1000
    assert list(sweeps._row_ranges(np.zeros(1, np.int64), 20)) == []


def test_float64_takes_over_where_float32_fails(isa):
    # Songs that are alike, at a confidence whose last digit in float32 is worth hundreds.
    rng = np.random.default_rng(19)
    plays = csr_array(np.where(rng.random((30, 40)) < 0.5, 1e10, 0).astype(np.float32))
    for n_factors in (12, 30):  # more plays than factors, and fewer
        others = np.ones((40, n_factors), np.float32)
        found, sums = half_sweep(plays, others)
        assert 0 < sums[3] <= 30
        np.testing.assert_allclose((found @ others.T)[plays.toarray() > 0], 1, rtol=1e-3)


@pytest.mark.parametrize(("n_factors", "n_plays"), [(50, 40), (120, 110)])  # several at a time, and alone
def test_equal_songs_of_large_confidence_are_not_what_rounding_left(isa, n_factors, n_plays):
    rng = np.random.default_rng(20)
    others = np.repeat((rng.standard_normal((150, n_factors)) * 0.1).astype(np.float32), 2, axis=0)
    dense = np.zeros((20, 300), np.float32)
    for row in dense:
        row[rng.choice(300, n_plays, replace=False)] = 10 ** rng.uniform(5, 9, n_plays)
    found, sums = half_sweep(csr_array(dense), others, regularization=1)
    assert sums[3] > 0
    wanted = als_solve(dense, others, 1)
    np.testing.assert_allclose(found, wanted, atol=0.01 * np.abs(wanted).max())


def test_overflow_is_an_error_and_never_nan(isa):
    plays = csr_array(np.full((1, 9), 3e38, np.float32))
    found, sums = half_sweep(plays, np.ones((9, 2), np.float32))
    assert sums[3] == 1
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_conjugate_gradients_that_fail_are_solved_in_float64(isa):
    rng = np.random.default_rng(22)
    plays = draw_surplus(rng, 20, 90, 60)
    others = rng.standard_normal((90, 12)).astype(np.float32)
    exact, _ = half_sweep(plays, others)
    start = np.zeros_like(exact)
    start[5] = np.nan
    start[7] = 1e30  # whose residual is beyond float32
    found, sums = half_sweep(plays, others, steps=30, out=start)
    assert sums[3] == 2
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())

    plays = csr_array(np.full((1, 9), 3e38, np.float32))
    found, sums = half_sweep(plays, np.ones((9, 2), np.float32), steps=3, out=np.zeros((1, 2), np.float32))
    assert sums[3] == 1
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_gramian(isa):
    rng = np.random.default_rng(11)
    for n_rows, n_factors in [(0, 3), (1, 1), (300, 17), (9000, 33)]:
        rows = rng.standard_normal((n_rows, n_factors)).astype(np.float32)
        wanted = rows.T.astype(float) @ rows
        found = _core.gramian(rows, 1)
        np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1, n_rows))
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_array_equal(found, _core.gramian(rows, 3))


def test_fit_agrees_with_alternating_normal_equations():
    counts = draw_counts(np.random.default_rng(12))
    model = dcbmr.WeightedALS(n_factors=8, regularization=0.1, n_iterations=4).fit(counts)
    s = surplus(counts).toarray().astype(float)
    rng = np.random.default_rng(0)
    songs = rng.standard_normal((45, 8), dtype=np.float32).astype(float) * 0.1 / np.sqrt(8)
    songs[~s.any(axis=0)] = 0
    for entry in model.objective_:
        users = als_solve(s, songs, 0.1)
        songs = als_solve(s.T, users, 0.1)
        terms = als_objective(s, users, songs, 0.1, 0.1)
        names = ("observed", "unobserved", "regularization", "total")
        np.testing.assert_allclose([entry[name] for name in names], terms, rtol=1e-4)
    np.testing.assert_allclose(model.user_factors_ @ model.song_factors_.T, users @ songs.T, atol=1e-3)


@pytest.mark.parametrize(
    "settings", [{}, {"solver": "cg"}, {"unobserved_weight": 0.2, "frequency_exponent": 0.7}]
)
def test_objective_never_rises(settings):
    counts = draw_counts(np.random.default_rng(13), 200, 150, 0.05)
    model = dcbmr.WeightedALS(n_factors=10, regularization=1e-3, n_iterations=20, **settings).fit(counts)
    totals = np.array([entry["total"] for entry in model.objective_])
    assert (np.diff(totals) <= 1e-6 * totals[1:]).all()


def test_objective_never_rises_over_half_sweeps():
    rng = np.random.default_rng(14)
    plays = draw_surplus(rng, 80, 60, 30)
    both = plays, csr_array(plays.T.tocsr())
    factors = [np.zeros((80, 6), np.float32), rng.standard_normal((60, 6)).astype(np.float32)]
    before = np.inf
    for step in range(12):
        side = step % 2
        half_sweep(both[side], factors[1 - side], out=factors[side])
        total = als_objective(plays.toarray(), *factors, 0.01, 0.01)[3]
        assert total <= before * (1 + 1e-6)
        before = total


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_same_bits_on_any_number_of_threads(solver):
    counts = draw_counts(np.random.default_rng(15), 300, 200)
    settings = {"n_iterations": 3, "solver": solver}
    models = [dcbmr.WeightedALS(n_factors=20, n_threads=n, **settings).fit(counts) for n in (1, 2, 7)]
    for model in models[1:]:
        np.testing.assert_array_equal(model.user_factors_, models[0].user_factors_)
        np.testing.assert_array_equal(model.song_factors_, models[0].song_factors_)
        for ours, first in zip(model.objective_, models[0].objective_, strict=True):
            assert {**ours, "seconds": 0} == {**first, "seconds": 0}


def test_users_and_songs_without_plays_are_zero():
    counts = csr_array(np.array([[1, 0, 2], [0, 0, 0], [3, 0, 1]]))  # whole numbers, as lambda is
    model = dcbmr.WeightedALS(n_factors=2, regularization=1).fit(counts)
    assert not model.user_factors_[1].any()
    assert not model.song_factors_[1].any()
    assert model.user_factors_[[0, 2]].all()


def test_communities_are_told_apart():
    """Two groups of users that share no song: a song of one's own group always scores higher."""
    rng = np.random.default_rng(16)
    counts = np.zeros((40, 30))
    counts[:20, :15] = rng.random((20, 15)) < 0.6
    counts[20:, 15:] = rng.random((20, 15)) < 0.6
    model = dcbmr.WeightedALS(n_factors=2, regularization=0.1).fit(csr_array(counts))
    scores = model.user_factors_ @ model.song_factors_.T
    assert scores[:20, :15].min() > scores[:20, 15:].max()
    assert scores[20:, 15:].min() > scores[20:, :15].max()


def test_progress_sees_each_sweep_and_may_stop():
    seen = []

    def progress(stage, sweep, n_sweeps, terms):
        seen.append((sweep, terms["total"]))
        if sweep == 2:
            raise Stop

    model = dcbmr.WeightedALS(n_factors=2)
    with pytest.raises(Stop):
        model.fit(draw_counts(np.random.default_rng(17)), progress=progress)
    assert [sweep for sweep, _ in seen] == [1, 2]


def test_conjugate_gradients_come_to_the_exact_objective():
    counts = draw_counts(np.random.default_rng(22), 200, 150, 0.05)
    exact, approximate = (
        dcbmr.WeightedALS(n_factors=10, regularization=0.1, n_iterations=30, solver=solver).fit(counts)
        for solver in ("cholesky", "cg")
    )
    assert approximate.objective_[-1]["total"] == pytest.approx(exact.objective_[-1]["total"], rel=5e-3)


@pytest.mark.parametrize("resumed_after", [0, 1])
def test_progress_sees_how_far_a_sweep_of_large_plays_is(tmp_path, monkeypatch, resumed_after):
    monkeypatch.setattr(sweeps, "_FLOPS_A_CALL", 2e4)
    counts = draw_counts(np.random.default_rng(17))
    seen = []

    def progress(stage, step, n_steps, figures):
        seen.append((stage, step, n_steps))

    where = {"checkpoint": tmp_path / "c", "resume": True}
    dcbmr.WeightedALS(n_factors=4, n_iterations=1).fit(counts, **where) if resumed_after else None
    dcbmr.WeightedALS(n_factors=4, n_iterations=2).fit(counts, progress=progress, **where)
    within = [step for stage, step, n in seen if stage == "solve" and n == 200]
    assert len(within) == (6, 3)[resumed_after]  # two of users, one of songs
    assert within == sorted(within)
    assert 100 * resumed_after < within[0] < 100 * resumed_after + 50 < within[-1] < 200
    assert [step for stage, step, n in seen if stage == "factorize" and n == 2] == [1, 2][resumed_after:]


def test_tolerance_stops():
    counts = draw_counts(np.random.default_rng(23))
    model = dcbmr.WeightedALS(n_factors=3, n_iterations=100, tolerance=1e-3).fit(counts)
    totals = [entry["total"] for entry in model.objective_]
    changes = np.abs(np.diff(totals)) / totals[1:]
    assert 2 < len(totals) < 100
    assert changes[-1] < 1e-3 <= changes[:-1].min()


class Stop(Exception):
    pass


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_resumed_run_has_the_bits_of_an_unbroken_one(tmp_path, solver):
    counts = draw_counts(np.random.default_rng(24))

    def model(n_iterations=7, **changes):
        return dcbmr.WeightedALS(n_factors=5, n_iterations=n_iterations, solver=solver, **changes)

    def stop(stage, sweep, n_sweeps, terms):
        if sweep == 3:
            raise Stop

    whole = model().fit(counts)
    with pytest.raises(Stop):
        model().fit(counts, progress=stop, checkpoint=tmp_path / "c")
    resumed = model(n_threads=2).fit(counts, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(resumed.user_factors_, whole.user_factors_)
    np.testing.assert_array_equal(resumed.song_factors_, whole.song_factors_)
    assert [e["total"] for e in resumed.objective_] == [e["total"] for e in whole.objective_]
    with pytest.raises(dcbmr.InputError, match=r"regularization is 1e-05 \(wanted 1.0\)"):
        model(regularization=1.0).fit(counts, checkpoint=tmp_path / "c", resume=True)
    counts.data[0] += 1
    with pytest.raises(dcbmr.InputError, match="with other settings: crc32_of_plays is"):
        model().fit(counts, checkpoint=tmp_path / "c", resume=True)
    fresh = model(2).fit(counts, checkpoint=tmp_path / "d", resume=True)
    assert len(fresh.objective_) == 2, "nothing to resume: from the beginning"
    (tmp_path / "d/factors.safetensors").write_bytes(b"no")
    with pytest.raises(dcbmr.InputError, match="is damaged"):
        model(3).fit(counts, checkpoint=tmp_path / "d", resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_factors": 0}, "n_factors must be a whole number of at least 1; got 0"),
        ({"n_iterations": 1.5}, "n_iterations must be a whole number"),
        ({"alpha": 0.0}, "alpha must be a positive number; got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be a positive number; got nan"),
        ({"regularization": -1.0}, "regularization must be a positive number; got -1.0"),
        ({"unobserved_weight": 0.0}, "unobserved_weight must lie in"),
        ({"frequency_exponent": -1.0}, "frequency_exponent must be at least 0"),
        ({"solver": "svd"}, "solver must be 'cholesky' or 'cg'; got 'svd'"),
        ({"cg_steps": 0}, "cg_steps must be a whole number of at least 1; got 0"),
        ({"tolerance": -1.0}, "tolerance must be at least 0; got -1.0"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"random_state": -1}, "random_state must be a whole number of at least 0; got -1"),
        ({"init_scale": 0}, "init_scale must be a positive number; got 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.WeightedALS(**{"n_factors": 2, **settings}).fit(csr_array(np.eye(3)))


def test_settings_are_those_of_an_estimator(tmp_path):
    als = dcbmr.WeightedALS(n_factors=3, alpha=4.0, n_threads=2)
    assert repr(als) == "WeightedALS(n_factors=3, alpha=4.0, n_threads=2)"
    copy = clone(als).set_params(n_iterations=np.int32(2), regularization=np.float32(0.5))
    fitted = copy.fit(csr_array(np.eye(3)))
    assert fitted.song_factors_.shape == (3, 3)
    assert len(fitted.objective_) == 2
    fitted.factors_.save(tmp_path / "f")  # numbers of NumPy, as a search over parameters gives them
    config = json.loads((tmp_path / "f/config.json").read_text())
    assert (config["n_iterations"], config["regularization"], config["alpha"]) == (2, 0.5, 4.0)
    with pytest.raises(dcbmr.InputError, match="WeightedALS has no parameter 'lambda'; it has n_factors, "):
        als.set_params(**{"lambda": 1.0})


def test_a_matrix_may_have_any_form():
    counts = draw_counts(np.random.default_rng(26), 12, 9, 0.4)
    wanted = dcbmr.WeightedALS(n_factors=2, n_iterations=2).fit(counts)
    for given in (
        counts.toarray(),
        counts.toarray().tolist(),
        counts.toarray().astype(int),
        coo_array(counts),
        csc_matrix(counts),
        lil_array(counts),
    ):
        found = dcbmr.WeightedALS(n_factors=2, n_iterations=2).fit(given)
        np.testing.assert_array_equal(found.song_factors_, wanted.song_factors_)
        assert found.factors_.user_ids.tolist() == [str(u) for u in range(12)]
        assert found.factors_.song_ids.tolist() == [str(i) for i in range(9)]


def test_a_data_frame_names_its_users_and_songs():
    pandas = pytest.importorskip("pandas")
    counts = draw_counts(np.random.default_rng(27), 4, 3, 0.9).toarray()
    frame = pandas.DataFrame(counts, index=["ann", "bob", "cy", "dee"], columns=["x", "y", "z"])
    factors = dcbmr.WeightedALS(n_factors=2).fit(frame).factors_
    assert factors.user_ids.tolist() == ["ann", "bob", "cy", "dee"]
    assert factors.song_ids.tolist() == ["x", "y", "z"]
    np.testing.assert_array_equal(factors.counts.toarray(), counts)
    triplets = pandas.DataFrame({"user": ["a"], "song": ["x"], "count": [1]})
    with pytest.raises(dcbmr.InputError, match="columns user, song, count holds triplets.*from_triplets"):
        dcbmr.WeightedALS().fit(triplets)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(3), r"plays must be .*; got ndarray of shape \(3,\) and dtype float64"),
        ("plays.tsv", r"got str of shape \(\) and dtype <U9"),
        ([["a", "b"]], r"got list of shape \(1, 2\) and dtype <U1"),
        ([[1, -1]], r"counts\[0, 1\] is -1.*negative counts are not plays"),
    ],
)
def test_what_is_no_matrix_of_plays_is_refused(given, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.WeightedALS(n_factors=2).fit(given)


def test_a_split_is_fitted_without_its_heldout_songs():
    rng = np.random.default_rng(28)
    plays = dcbmr.PlayCounts(
        [f"u{i}" for i in range(20)], [f"s{i}" for i in range(30)], draw_counts(rng, 20, 30, 0.4)
    )
    artists = {f"s{i}": f"artist{i % 10}" for i in range(30)}
    split = split_plays(plays, by="artist", artists=artists)
    factors = dcbmr.WeightedALS(n_factors=3).fit(split).factors_
    assert factors.heldout_songs == tuple(split.heldout_songs)
    assert factors.artists == split.artists
    assert factors.song_ids.tolist() == split.train.song_ids.tolist()
    of_train = dcbmr.WeightedALS(n_factors=3).fit(split.train).factors_
    np.testing.assert_array_equal(factors.song_factors, of_train.song_factors)
    assert (of_train.heldout_songs, of_train.artists) == ((), None)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (-1.0, "negative")]
)
def test_wrong_counts(value, message):
    counts = csr_array(np.array([[0, 1], [2, value]]))
    with pytest.raises(dcbmr.InputError, match=rf"counts\[1, 1\] is .*: {message}"):
        dcbmr.WeightedALS(n_factors=2).fit(counts)


def test_kernel_refuses_what_would_be_unsafe():
    fixed = sweeps.fixed_factors(np.ones((3, 2), np.float32), sweeps.Problem(1.0, 1.0, 0.0, 0, 1))
    out = np.zeros((2, 2), np.float32)

    def solve(indptr=(0, 1, 2), indices=(0, 2), rows=(0, 2), out=out, n_data=2, n_others=3, n_lambdas=2):
        plays = _core.Plays(
            np.array(indptr, np.int64), np.array(indices, np.int32), np.ones(n_data, np.float32), n_others
        )
        fixed.solve_rows(
            plays, rows, out, regularization=np.ones(n_lambdas), cg_steps=0, with_errors=False, n_threads=1
        )

    solve()
    for wrong, message in [
        ({"indptr": (0, 2, 1)}, "indptr must rise"),
        ({"indptr": (0, 1, 9)}, "indptr must rise"),
        ({"indices": (0, 3)}, "indices must be"),
        ({"indices": (-1, 1)}, "indices must be"),
        ({"n_others": 9}, "as many others"),
        ({"n_data": 3}, "as long as indices"),
        ({"rows": (2, 3)}, "range must lie"),
        ({"rows": (-1, 1)}, "range must lie"),
        ({"out": np.zeros((3, 2), np.float32)}, "out must be of shape"),
        ({"n_lambdas": 3}, "regularization must have"),
    ]:
        with pytest.raises(ValueError, match=message):
            solve(**wrong)
    for wrong_out in (np.zeros((2, 2)), np.zeros((2, 2), np.float32, order="F")):
        if not (wrong_out.dtype == np.float32 and wrong_out.flags.c_contiguous):
            with pytest.raises(TypeError):
                solve(out=wrong_out)
    for values, vectors in [(np.ones(3), np.eye(2)), (np.ones(2), np.eye(3))]:
        with pytest.raises(ValueError, match="must be \\(n_factors"):
            _core.FixedFactors(
                np.ones((3, 2), np.float32),
                values,
                vectors,
                regularization=1,
                unobserved_weight=1,
                n_threads=1,
            )


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


def test_command_line(tmp_path, capsys):
    plays = tmp_path / "plays.tsv"
    plays.write_text("".join(f"u{u}\ts{(u * k) % 7}\t{k}\n" for u in range(9) for k in range(1, 5)))
    assert run("factorize", plays, "-o", tmp_path / "f", "--factors", 3, "--iterations", 2) == 0
    shown = capsys.readouterr().err
    assert "9 users, 7 songs" in shown
    assert "confidence quantiles: 0%: 28.6 (1 plays)" in shown
    assert "sweep 2: objective" in shown
    assert dcbmr.Factors.load(tmp_path / "f").song_factors.shape == (7, 3)
    assert json.loads((tmp_path / "f/config.json").read_text())["n_iterations"] == 2
    assert run("factorize", plays, "-o", tmp_path / "f") == 2
    assert "--overwrite" in capsys.readouterr().err

    assert run("split", plays, "-o", tmp_path / "split", "--fraction", "0.3") == 0
    assert run("factorize", tmp_path / "split", "-o", tmp_path / "g", "--factors", 2) == 0
    fitted = dcbmr.Factors.load(tmp_path / "g")
    assert len(fitted.heldout_songs) == 2
    assert set(fitted.heldout_songs).isdisjoint(fitted.song_ids)


def test_interrupted_command_resumes(tmp_path, capsys):
    plays = tmp_path / "plays.tsv"
    rng = np.random.default_rng(25)
    pairs = rng.integers(0, [30_000, 3_000], (1_000_000, 2))
    plays.write_text("".join(f"u{u}\ts{s}\t1\n" for u, s in pairs))
    words = [plays, "-o", tmp_path / "f", "--iterations", 3000, "--factors", 64]
    code = f"from dcbmr.cli import main; main({['factorize', *map(str, words)]!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if line.startswith("sweep 2"):
                break
        process.send_signal(signal.SIGINT)
        asked = time.perf_counter()
        rest = process.communicate()[1]
        assert time.perf_counter() - asked < 10  # a second, and what a loaded machine adds
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in rest
    assert not (tmp_path / "f").exists()
    assert run("factorize", *words) == 2
    assert "f was not finished; --resume continues it, --overwrite starts anew" in capsys.readouterr().err
    done = len(json.loads((tmp_path / ".f.checkpoint/config.json").read_text())["objective"])
    words[4] = done + 1
    assert run("factorize", *words, "--resume") == 0
    assert len(dcbmr.Factors.load(tmp_path / "f").config["objective"]) == done + 1
    assert not (tmp_path / ".f.checkpoint").exists()


@needs_data
def test_similar_artists_of_lastfm():
    plays = dcbmr.PlayCounts.read(LASTFM / "user_artists.dat")
    factors = dcbmr.WeightedALS(n_factors=50, n_iterations=8).fit(plays).factors_
    names = {}
    for line in (LASTFM / "artists.dat").read_text("utf-8").splitlines()[1:]:
        number, name, *_ = line.split("\t")
        names[number] = name
    songs = factors.song_factors @ np.linalg.cholesky(
        factors.user_factors.T.astype(float) @ factors.user_factors
    )
    popular = np.flatnonzero(np.diff(factors.counts.T.tocsr().indptr) >= 30)
    unit = songs[popular] / np.linalg.norm(songs[popular], axis=1, keepdims=True)
    of = {names[factors.song_ids[song]]: row for row, song in enumerate(popular)}

    def nearest(name, n=10):
        return {names[factors.song_ids[popular[i]]] for i in np.argsort(-(unit @ unit[of[name]]))[1 : n + 1]}

    assert {"Iron Maiden", "Megadeth"} & nearest("Metallica")
    assert {"Britney Spears", "Rihanna"} & nearest("Lady Gaga")
