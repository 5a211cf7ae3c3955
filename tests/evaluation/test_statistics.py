"""How sure figures are: resamples by hand, variances in closed form, coverage, and what is said of it."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference import resampled_figure
from scipy import stats
from threadpoolctl import threadpool_limits

from dcbmr import (
    Comparison,
    InputError,
    Interval,
    PlayFigures,
    Uncertainty,
    bootstrap,
    contributions_of_best,
    pool_folds,
    shared_plays,
)
from dcbmr.evaluation import resampling, statistics
from dcbmr.evaluation.statistics import holm

INTERVALS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/intervals.py"))
World = INTERVALS["World"]


@pytest.fixture(scope="module")
def figures():
    """Two folds of 60 users and 12 artists each; three rows, the last of three seeds."""
    drawn = World("small", n_users=60, n_artists=12, n_folds=2, n_rows=3).draw(np.random.default_rng(0))
    last = drawn.rows["row 2"] + np.array([-0.01, 0.0, 0.01])[:, None] * drawn.rows["row 1"]
    return replace(drawn, rows=dict(drawn.rows) | {"row 2": last})


def few(**changes):
    """Four plays of two users."""
    plays = {
        "users": ["u", "u", "v", "v"],
        "songs": ["a", "b", "a", "c"],
        "rows": {"x": np.array([0.1, 0.2, 0.3, 0.4])},
        "artists": ["A", "B", "A", "A"],
    }
    return PlayFigures(**plays | changes)


class TestResamples:
    def test_each_is_the_figure_by_hand(self, figures, monkeypatch):
        drawn = []
        draw = resampling._drawn
        monkeypatch.setattr(resampling, "_drawn", lambda *given: drawn.append(draw(*given)) or drawn[-1])
        cells = resampling.cells_of(figures)
        found = resampling.resample(cells, n_resamples=5, random_state=3)
        v, w = drawn
        assert v.shape == (60, 5)
        assert (v.sum(axis=0) == 60).all()
        assert (w.sum(axis=0) == cells.n_artists).all()
        artists = np.unique(figures.artists, return_inverse=True)[1]
        for row, values in enumerate(figures.rows.values()):
            values = np.atleast_2d(values).mean(axis=0)
            plays = (figures.users, artists, figures.folds, values)
            ones = np.ones(60), np.ones(cells.n_artists)
            contributed, n_lists = resampled_figure(*ones, *plays)
            m = contributed / n_lists
            assert n_lists == pytest.approx(120)
            assert cells.estimates[row] == pytest.approx(m, rel=1e-12)
            for i in range(5):
                for part, weights in (
                    (found.both, (v[:, i], w[:, i])),
                    (found.users, (v[:, i], ones[1])),
                    (found.artists, (ones[0], w[:, i])),
                ):
                    contributed, of_lists = resampled_figure(*weights, *plays)
                    assert part[row, i] == pytest.approx((contributed - m * of_lists) / n_lists, abs=1e-13)

    def test_blocks_and_other_rows_change_nothing(self, figures, monkeypatch):
        cells = resampling.cells_of(figures)
        whole = resampling.resample(cells, n_resamples=70, random_state=3)
        monkeypatch.setattr(
            resampling, "blocks", lambda n, size: iter([slice(0, 1), slice(1, 50), slice(50, n)])
        )
        cut = resampling.resample(cells, n_resamples=70, random_state=3)
        alone = replace(cells, contributions=cells.contributions[1:2])
        one = resampling.resample(alone, n_resamples=70, random_state=3)
        for part in ("both", "users", "artists"):
            np.testing.assert_allclose(getattr(cut, part), getattr(whole, part), rtol=1e-9, atol=1e-15)
            np.testing.assert_array_equal(getattr(one, part)[0], getattr(cut, part)[1])

    def test_it_tells_of_progress_and_stops_when_told(self, figures):
        told = []

        def stop(stage, step, n_steps, figures):
            told.append((stage, step, n_steps))
            if step == 128:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            bootstrap(figures, progress=stop)
        assert told == [("resample", 64, 1000), ("resample", 128, 1000)]


def closed_form(figures, sign):
    """Variance over users, over artists, and of single pairs of both, to first order."""
    cells = resampling.cells_of(figures)
    change = sign @ cells.deviations
    users, artists = np.bincount(cells.user, change), np.bincount(cells.artist, change)
    return (users**2).sum(), (artists**2).sum(), (change**2).sum()


class TestIntervals:
    def test_parts_are_the_two_way_variance_of_cameron_gelbach_and_miller(self):
        # Many of both, so that what few artists are short of is next to nothing.
        world = World("large", n_users=400, n_artists=400, sizes=0, plays=4)
        figures = world.draw(np.random.default_rng(1))
        found = bootstrap(figures, n_resamples=4000)
        for interval, sign in (
            (found.intervals["row 0"], [1, 0]),
            (found.comparisons[0].difference, [1, -1]),
        ):
            users, artists, pairs = closed_form(figures, np.array(sign))
            assert interval.standard_error == pytest.approx(math.sqrt(users + artists - pairs), rel=0.05)
            half = interval.high_of_users - interval.estimate
            assert half == pytest.approx(stats.t.ppf(0.975, 399) * math.sqrt(users), rel=0.05)

    def test_without_artists_it_is_the_t_interval_of_the_mean_over_users(self):
        values = np.random.default_rng(0).exponential(size=500)
        found = bootstrap(PlayFigures(np.arange(500), np.arange(500), {"x": values}), n_resamples=4000)
        interval = found.intervals["x"]
        low, high = stats.t.interval(0.95, 499, values.mean(), stats.sem(values))
        assert interval.estimate == pytest.approx(values.mean())
        assert (interval.low, interval.high) == pytest.approx((low, high), rel=0.01)
        assert (interval.low_of_users, interval.high_of_users) == (interval.low, interval.high)
        assert interval.df == pytest.approx(499)
        assert found.n_artists == 0

    def test_intervals_end_where_metrics_do(self):
        users = np.arange(4)
        rows = {"good": np.array([0.97, 1, 1, 1]), "bad": np.array([0, 0, 0, 0.2])}
        figures = PlayFigures(users, users, rows)
        free, kept = bootstrap(figures), bootstrap(figures, bounds=(0, 1))
        assert free.intervals["good"].high > 1
        assert free.intervals["bad"].low < 0
        assert (kept.intervals["good"].high, kept.intervals["bad"].low) == (1, 0)
        assert kept.intervals["good"].low == free.intervals["good"].low
        assert kept.intervals["bad"].low_of_users == 0
        (before,), (after,) = free.comparisons, kept.comparisons
        assert before.difference.high > 1 == after.difference.high
        assert (after.p, after.difference.standard_error) == (before.p, before.difference.standard_error)

    @pytest.mark.parametrize("rate", [0.02, 0.5])
    def test_the_end_at_a_bound_costs_no_coverage(self, rate):
        """The true figure is within an interval as often, whether or not it ends at 0 and 1."""
        rng = np.random.default_rng(5)
        ids, covered = np.arange(8), {}
        for _ in range(200):
            figures = PlayFigures(ids, ids, {"x": (rng.random(8) < rate).astype(float)})
            for name, bounds in (("free", (-np.inf, np.inf)), ("kept", (0, 1))):
                found = bootstrap(figures, n_resamples=100, bounds=bounds).intervals["x"]
                covered[name] = covered.get(name, 0) + (found.low <= rate <= found.high)
        assert covered["kept"] == covered["free"]

    def test_a_figure_is_the_mean_over_lists_and_seeds(self, figures):
        lists = figures.lists()
        for name, values in figures.rows.items():
            of_lists = np.bincount(lists, np.atleast_2d(values).mean(axis=0))
            assert bootstrap(figures, n_resamples=2).intervals[name].estimate == pytest.approx(
                of_lists.mean()
            )

    def test_seeds_add_the_variance_of_their_mean(self, figures):
        found = bootstrap(figures)
        mean = replace(figures, rows=dict(figures.rows) | {"row 2": figures.rows["row 2"].mean(axis=0)})
        once = bootstrap(mean)
        seeds = np.array([np.bincount(figures.lists(), seed).mean() for seed in figures.rows["row 2"]])
        added = seeds.var(ddof=1) / 3
        for more, less in (
            (found.intervals["row 2"], once.intervals["row 2"]),
            *((a.difference, b.difference) for a, b in zip(found.comparisons, once.comparisons, strict=True)),
        ):
            expected = less.standard_error**2 + (added if more != less else 0)
            assert more.standard_error**2 == pytest.approx(expected)
        assert sum(a != b for a, b in zip(found.comparisons, once.comparisons, strict=True)) == 2

    def test_weights_are_those_of_the_matrix_and_unbiased(self):
        weights = statistics._Weights
        shares = np.random.default_rng(0).lognormal(0, 1.3, 30)
        shares /= shares.sum()
        centred = np.eye(30) - shares
        q = centred.T @ np.diag(shares**2) @ centred
        found = weights(7 * shares)
        assert found.short == pytest.approx(np.trace(q) / (shares**2).sum())
        assert found.df == pytest.approx(np.trace(q) ** 2 / np.trace(q @ q))
        assert (weights(np.ones(7)).short, weights(np.ones(7)).df) == pytest.approx((6 / 7, 6))
        assert weights(np.array([1e9, 1, 1])).df >= 1

    @pytest.mark.parametrize(
        "world",
        [
            World("20 artists of unequal size", n_users=60, n_artists=20, plays=3),
            World("hits", n_users=60, n_artists=40, sizes=0.5, plays=3, best=True),
            World("seeds", n_users=60, n_artists=40, sizes=0.5, plays=3, n_seeds=4, seed_effect=0.2),
        ],
        ids=lambda world: world.name,
    )
    def test_it_covers_and_keeps_its_level(self, world):
        """Benchmarks/intervals.py in small: bounds three standard deviations of 300 from 95 and 5 %."""
        results = [INTERVALS["experiment"](world, 200, False, number) for number in range(300)]
        line = INTERVALS["summary"](world, results)
        assert 91 < line["covers"]["dcbmr"] <= 99.7
        assert line["rejects"]["dcbmr"] < 9
        assert line["covers"]["dcbmr, users alone"] < 90
        assert line["rejects"]["dcbmr, users alone"] > 12


class TestComparisons:
    def test_p_is_the_level_at_which_the_interval_reaches_zero(self, figures):
        for pair in bootstrap(figures).comparisons:
            touching = next(
                c
                for c in bootstrap(figures, confidence=1 - pair.p).comparisons
                if (c.first, c.second) == (pair.first, pair.second)
            )
            assert touching.difference.low == pytest.approx(0, abs=1e-9)
            assert pair.difference.estimate >= 0

    def test_equal_rows_are_not_told_apart(self):
        values = np.arange(4) / 8
        pair = bootstrap(few(rows={"x": values, "y": values.copy()})).comparisons[0]
        assert (pair.p, pair.p_holm, pair.detectable) == (1, 1, 0)
        assert (pair.difference.low, pair.difference.high) == (0, 0)

    def test_detectable_is_2_8_standard_errors_of_many(self):
        world = World("large", n_users=3000, n_artists=3000, sizes=0)
        pair = bootstrap(world.draw(np.random.default_rng(0)), n_resamples=100).comparisons[0]
        assert pair.detectable == pytest.approx((1.960 + 0.842) * pair.difference.standard_error, rel=1e-2)

    def test_what_was_not_found_is_smaller_than_what_would_have_been(self):
        world = World("many rows", n_users=100, n_artists=30, n_rows=6)
        for seed in range(20):
            for pair in bootstrap(world.draw(np.random.default_rng(seed)), n_resamples=100).comparisons:
                assert pair.p_holm < 0.05 or pair.difference.estimate < pair.detectable

    def test_holm_is_that_of_his_paper_by_hand(self):
        np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm([0.6, np.nan, 0.5]), [1, np.nan, 1])
        assert holm([]).shape == (0,)

    def test_the_seed_changes_it_and_the_number_of_threads_does_not(self):
        figures = World("wide", n_users=3000, n_artists=600).draw(np.random.default_rng(0))
        with threadpool_limits(1):
            one = bootstrap(figures, n_resamples=64)
        with threadpool_limits(4):
            four = bootstrap(figures, n_resamples=64)
        assert (one.intervals, one.comparisons) == (four.intervals, four.comparisons)
        assert bootstrap(figures, n_resamples=64, random_state=1).intervals != one.intervals

    def test_in_words(self):
        interval = Interval(0.1, 0.01, 50, 0.08, 0.12, 0.09, 0.11)

        def pair(first, second, p, detectable=0.0281):
            return Comparison(first, second, interval, p, p, detectable)

        pairs = [pair("cnn-mse", "linear", 2e-5), pair("cnn-mse", "mlp", 1e-6), pair("mlp", "linear", 0.31)]
        found = Uncertainty({}, pairs, 0.95, 10, 10, 10, ("one note",))
        assert found.words() == (
            "cnn-mse is better than linear and mlp (p < 0.001)\n"
            "mlp and linear cannot be told apart (a difference of 0.028 would have shown)\none note"
        )
        assert (
            Uncertainty({}, [pair("a", "b", 0.0123)], 0.95, 1, 1, 1).words()
            == "a is better than b (p = 0.012)"
        )
        among = {"cnn-mse": 0, "mlp": 1, "linear": 0}
        assert found.words(among).startswith(
            "cnn-mse is better than linear (p < 0.001)\n"
            "cnn-mse has a higher figure than mlp (p < 0.001), of other candidates: it need not be better\n"
        )
        assert Uncertainty({}, [pair("a", "b", 0.0123)], 0.99, 1, 1, 1).words().startswith("a and b cannot")
        assert (
            Uncertainty({}, [pair("a", "b", 0.3, detectable=1.1)], 0.95, 1, 1, 1).words()
            == "a and b cannot be told apart (there is too little data to show any difference)"
        )


class TestBadInput:
    def test_lists_with_nan_are_left_out_and_told(self, figures):
        rows = {name: values.copy() for name, values in figures.rows.items()}
        rows["row 2"][1, 0] = np.nan
        found = bootstrap(replace(figures, rows=rows))
        lists = figures.lists()
        kept = lists != lists[0]
        less = bootstrap(
            PlayFigures(
                figures.users[kept],
                figures.songs[kept],
                {name: values[..., kept] for name, values in figures.rows.items()},
                figures.artists[kept],
                figures.folds[kept],
            )
        )
        assert found.intervals == less.intervals
        assert found.notes == ("1 of 120 lists of users have no figure and are left out",)
        with pytest.raises(InputError, match=r"no list of a user has a figure in all rows: \['x'\] are NaN"):
            bootstrap(few(rows={"x": np.full(4, np.nan)}))

    def test_one_artist_leaves_users(self):
        found = bootstrap(few(artists=["A"] * 4, rows={"x": [0, 1, 2, 3], "y": [1, 1, 0, 0]}))
        interval, pair = found.intervals["x"], found.comparisons[0]
        assert math.isnan(interval.low)
        assert interval.low_of_users < interval.estimate == 3 < interval.high_of_users
        assert math.isnan(pair.p_holm)
        assert found.words() == "all held-out songs are of one artist: nothing can be said of songs of others"

    def test_one_user(self):
        found = bootstrap(few(users=["u"] * 4, songs=list("abcd")))
        assert math.isnan(found.intervals["x"].low_of_users)
        assert found.words() == "all plays are of one user: nothing can be said of others"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rows": {"x": [1, 2, 3]}}, r"contributions of 'x' have shape \(3,\); wanted \(4,\)"),
            ({"rows": {"x": [1, 2, 3, np.inf]}}, "1 contributions of 'x' are infinite"),
            ({"rows": {}}, "there is no row"),
            ({"artists": ["A"]}, r"artists must hold one entry for each of the 4 plays; got \(1,\)"),
            ({"users": [], "songs": [], "artists": []}, "no held-out plays"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, changes, message):
        with pytest.raises(InputError, match=message):
            few(**changes)

    @pytest.mark.parametrize("option", [{"n_resamples": 1}, {"confidence": 1.0}, {"power": 0}], ids=str)
    def test_options_out_of_range(self, option):
        with pytest.raises(InputError, match=next(iter(option))):
            bootstrap(few(), **option)


class TestBestSong:
    def test_a_list_without_an_artist_keeps_the_best_of_the_others(self):
        rng = np.random.default_rng(0)
        users, folds = np.repeat(np.arange(100), 5), rng.integers(2, size=500)
        artists = rng.integers(4, size=500)
        values = rng.integers(3, size=500) / 2
        found = contributions_of_best(values, users, artists, folds=folds)
        for user, fold in set(zip(users.tolist(), folds.tolist(), strict=True)):
            mine = np.flatnonzero((users == user) & (folds == fold))
            best = values[mine].max()
            assert found[mine].sum() == pytest.approx(best)
            # Where one artist alone has the best, the others have the best of theirs, by their share.
            owners = {artists[j] for j in mine if values[j] == best}
            if len(owners) == 1:
                others = mine[artists[mine] != owners.pop()]
                left = values[others].max() if len(others) else 0
                assert found[others].sum() == pytest.approx(left * len(others) / len(mine))

    def test_a_list_of_one_artist_is_the_best_songs(self):
        found = contributions_of_best([0.2, 0.5, 0.25], ["u", "u", "v"], ["A", "A", "B"])
        np.testing.assert_array_equal(found, [0, 0.5, 0.25])

    def test_what_is_no_value_is_refused(self):
        for values in ([-1, 0], [np.nan, 1], [[1, 2]]):
            with pytest.raises(InputError, match="values must be one number from 0 up"):
                contributions_of_best(values, [0, 1], [0, 1])


class TestSharedPlays:
    def test_the_same_plays_in_another_order(self, figures):
        order = np.random.default_rng(0).permutation(figures.n_plays)
        other = PlayFigures(
            figures.users[order],
            figures.songs[order],
            {"other": figures.rows["row 1"][order]},
            None,
            figures.folds[order],
        )
        both = shared_plays([figures, other])
        assert both.notes == ()
        assert list(both.rows) == ["row 0", "row 1", "row 2", "other"]
        np.testing.assert_array_equal(both.rows["other"], both.rows["row 1"])
        assert both.rows["row 2"].shape == (3, figures.n_plays)
        before, after = bootstrap(figures).intervals, bootstrap(both).intervals
        for name, interval in before.items():
            assert after[name].low == pytest.approx(interval.low, rel=1e-9)

    def test_what_is_left_of_a_list_stands_for_it(self):
        # u's list loses one of three songs, v's one of two, w's all.
        one = PlayFigures(list("uuuvvw"), list("abcabz"), {"x": [0.3, 0.1, 0.2, 0.4, 0.6, 1]}, list("AAABBC"))
        two = PlayFigures(list("vuu"), list("bba"), {"y": [0.5, 0.25, 0.75]})
        both = shared_plays([two, one])
        assert both.notes == ("of 3 and 6 held-out plays 3 are shared; only those are compared",)
        found = dict(zip(zip(both.users, both.songs, strict=True), both.rows["x"], strict=True))
        assert found == pytest.approx({("u", "a"): 0.3 * 3 / 2, ("u", "b"): 0.1 * 3 / 2, ("v", "b"): 0.6 * 2})
        artists = dict(zip(zip(both.users, both.songs, strict=True), both.artists, strict=True))
        assert artists == {("u", "a"): "A", ("u", "b"): "A", ("v", "b"): "B"}
        assert bootstrap(both).notes == both.notes
        as_they_are = shared_plays([two, one], sums=False)
        assert sorted(as_they_are.rows["x"]) == [0.1, 0.3, 0.6]

    def test_what_cannot_be_compared_is_refused(self):
        with pytest.raises(InputError, match="share no held-out play"):
            shared_plays([few(), few(users=["w", "w", "z", "z"], rows={"y": np.ones(4)})])
        with pytest.raises(InputError, match="two rows are called 'x'"):
            shared_plays([few(), few()])
        with pytest.raises(
            InputError, match="1 plays are there more than once, as that of user u and song a"
        ):
            shared_plays([few(songs=["a", "a", "b", "c"])])


class TestFolds:
    def test_pooled_folds_are_one_resampling(self):
        one, two = few(), few(artists=["C", "C", "D", "E"], rows={"x": np.array([0.5, 0.5, 0, 0])})
        pooled = pool_folds({"first": one, "second": two})
        assert bootstrap(pooled).intervals["x"].estimate == pytest.approx((0.3 + 0.7 + 1 + 0) / 4)
        assert bootstrap(pooled).n_users == 2
        assert bootstrap(pooled).n_artists == 5

    def test_a_fold_without_users_is_told(self):
        pooled = pool_folds({"first": few(), "second": None})
        assert pooled.notes == ("fold 'second' has no users and is left out",)
        assert bootstrap(pooled).intervals["x"] == bootstrap(few()).intervals["x"]
        with pytest.raises(InputError, match="none of the 2 folds has held-out plays"):
            pool_folds({"first": None, "second": None})

    def test_folds_that_differ_are_refused(self):
        with pytest.raises(InputError, match=r"fold 'b' has the rows \['y'\]"):
            pool_folds({"a": few(), "b": few(rows={"y": np.ones(4)})})
        with pytest.raises(InputError, match="knows artists"):
            pool_folds({"a": few(), "b": few(artists=None)})
        with pytest.raises(InputError, match="other seeds"):
            pool_folds({"a": few(), "b": few(rows={"x": np.ones((2, 4))})})
