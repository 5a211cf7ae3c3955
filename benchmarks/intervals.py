"""Do 95 % intervals hold the truth 95 times in 100, and do equal models differ 5 times in 100?

    python benchmarks/intervals.py [--experiments N] [--only WORLD ...] [--peers] [--json FILE]
    python benchmarks/intervals.py --time [--json FILE]

Each experiment draws new users and artists, and asks dcbmr.bootstrap about two rows that are equal. --peers
puts the intervals of textbooks beside it. --time is the time of
1,000 resamples of 20,000 users.

The generator (:class:`World`): additive random effects. A play of a song by artist a in the list of user u
is worth ``x = 1 + s_u U_u + s_a A_a + s_ua I_ua + s_e E`` to it, and the contribution is x over the length
of the list, which is geometric. All effects are independent, of mean 0 and variance 1: normal, or
exponential less its mean where "skewed". Each effect is half shared by the rows (in variance) and half a
row's own, so that a row's figure has them all and the difference of two rows has the second half. Which
artist a play is of is drawn by the artists' sizes, log-normal with the deviation "sizes". The truth is a
figure of 1 and a difference of 0.
"""

import argparse
import json
import statistics
import time
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from scipy import stats
from scipy.sparse import csr_array

from dcbmr import PlayFigures, bootstrap, contributions_of_best, pool_folds
from dcbmr.evaluation.resampling import cells_of

OURS, OURS_USERS = "dcbmr", "dcbmr, users alone"


@dataclass(frozen=True)
class World:
    """Where the experiments of a line of the table come from; see the head of this file."""

    name: str
    n_users: int = 300
    n_artists: int = 50
    plays: float = 5.0
    sizes: float = 1.0
    effects: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # users, artists, both, plays
    skewed: bool = False
    # Larger artists have larger figures, by so much for each unit of log(size).
    by_size: float = 0.0
    n_folds: int = 1
    # Each row is trained so often, with an effect of the seed of this deviation.
    n_seeds: int = 1
    seed_effect: float = 0.0
    n_rows: int = 2
    # The figure of a list is that of its best play, 1 / (1 + exp(9 - 3 x)), as for MRR, not the mean of x.
    best: bool = False

    @cached_property
    def truth(self):
        """The figure that experiments have in the mean: of a best play, by that of many."""
        if not self.best:
            return 1.0
        large = replace(self, n_users=3000, n_artists=max(1000, self.n_artists), n_rows=20)
        drawn = [large.draw(np.random.default_rng([7, i])) for i in range(10)]
        return np.mean([row.sum() / large.n_users for figures in drawn for row in figures.rows.values()])

    def draw(self, rng):
        """The contributions of one experiment."""
        users = self._effects(rng, self.n_users)
        folds = {str(fold): self._fold(rng, fold, users) for fold in range(self.n_folds)}
        return pool_folds(folds) if self.n_folds > 1 else folds["0"]

    def _effects(self, rng, n):
        """Effects of n users, say, in each row: half their own, half shared."""
        draw = (lambda size: rng.exponential(1, size) - 1) if self.skewed else rng.standard_normal
        return np.sqrt(0.5) * (draw(n) + draw((self.n_rows, n)))

    def _fold(self, rng, fold, of_users):
        log_size = self.sizes * rng.standard_normal(self.n_artists)
        size = np.exp(log_size)
        n = rng.geometric(1 / self.plays, self.n_users)
        user = np.repeat(np.arange(self.n_users), n)
        artist = rng.choice(self.n_artists, len(user), p=size / size.sum())
        pair, of_pair = np.unique(user * self.n_artists + artist, return_inverse=True)
        s_user, s_artist, s_both, s_play = self.effects
        x = 1 + s_user * of_users[:, user] + s_artist * self._effects(rng, self.n_artists)[:, artist]
        x += s_both * self._effects(rng, len(pair))[:, of_pair] + s_play * self._effects(rng, len(user))
        # A play meets an artist as often as the artist is large, whose mean of log(size) is sizes squared.
        x += self.by_size * (log_size - self.sizes**2)[artist]
        if self.best:
            values = 1 / (1 + np.exp(9 - 3 * x))
            rows = np.array([contributions_of_best(row, user, artist) for row in values])
        else:
            rows = x / n[user]
        if self.n_seeds > 1:
            luck = self.seed_effect * rng.standard_normal((self.n_rows, self.n_seeds, 1))
            noise = rng.standard_normal((self.n_rows, self.n_seeds, len(user)))
            rows = rows[:, None] + (luck + noise) / n[user]
        songs = np.arange(len(user))
        named = {f"row {number}": row for number, row in enumerate(rows)}
        return PlayFigures(user, songs, named, artist + fold * self.n_artists)


NOISE, USERS, ARTISTS = (0.1, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.1), (0.0, 1.0, 0.0, 0.1)
WORLDS = [
    World("10 artists of one size", n_artists=10, sizes=0),
    World("10 artists", n_artists=10),
    World("10 artists, sizes 1.5", n_artists=10, sizes=1.5),
    World("20 artists", n_artists=20),
    World("20 artists, skewed", n_artists=20, skewed=True),
    World("50 artists", n_artists=50),
    World("50 artists, sizes 1.5", n_artists=50, sizes=1.5),
    World("200 artists", n_artists=200),
    World("200 artists, sizes 1.5, skewed", n_artists=200, sizes=1.5, skewed=True),
    World("50 artists, users vary most", effects=(1, 0.1, 0.1, 0.3)),
    World("50 artists, artists vary most", effects=(0.1, 1, 0.1, 0.3)),
    World("50 artists, pairs vary most", effects=(0.3, 0.3, 1, 0.3)),
    World("50 artists, one play a list", plays=1),
    World("50 artists, 20 users", n_users=20),
    World("three folds of 20 artists", n_artists=20, n_folds=3),
    World("50 artists, 3 seeds", n_seeds=3, seed_effect=0.2),
    World("50 artists, 5 seeds", n_seeds=5, seed_effect=0.2),
    World("200 artists, 3 seeds that differ most", n_artists=200, n_seeds=3, seed_effect=0.5),
    World("50 artists, 5 rows", n_rows=5),
    World("20 artists, best song", n_artists=20, best=True),
    World("50 artists, best song", best=True),
    World("200 artists, best song, none differs", n_artists=200, effects=(1, 0, 0, 1), best=True),
    # Outside of what is promised: where it is too wide, and where too narrow.
    World("10 artists, none differs", n_artists=10, effects=NOISE),
    World("200 artists, none differs", n_artists=200, effects=NOISE),
    World("5 artists", n_artists=5),
    World("30 artists, the larger the better", n_artists=30, by_size=0.5),
    World("200 artists, the larger the better, skewed", n_artists=200, by_size=0.5, skewed=True),
    World("200 artists, best song, artists vary most", n_artists=200, effects=(0.3, 1, 0.3, 0.3), best=True),
    World("20 artists, much the better, skewed, sizes 1.5", n_artists=20, sizes=1.5, by_size=1, skewed=True),
    World("10 artists, 10 users, skewed", n_users=10, n_artists=10, skewed=True),
]


def experiment(world, n_resamples, peers, number):
    """Which intervals of one experiment hold the truth, how wide they are, which tests reject."""
    rng = np.random.default_rng([zlib.crc32(world.name.encode()), number])
    figures = world.draw(rng)
    found = bootstrap(figures, n_resamples=n_resamples, random_state=number)
    first = found.intervals["row 0"]
    of_first = {OURS: (first.low, first.high), OURS_USERS: (first.low_of_users, first.high_of_users)}
    pair = next(c for c in found.comparisons if {c.first, c.second} == {"row 0", "row 1"})
    off = pair.difference
    of_pair = {OURS: (off.low, off.high), OURS_USERS: (off.low_of_users, off.high_of_users)}
    assert (pair.p < 0.05) == (not off.low <= 0 <= off.high)
    if peers:
        of_first |= textbook(replace(figures, rows={"row 0": figures.rows["row 0"]}), n_resamples, number)
        difference = figures.rows["row 0"] - figures.rows["row 1"]
        of_pair |= textbook(replace(figures, rows={"off": difference}), n_resamples, number)
    holds = {name: low <= world.truth <= high for name, (low, high) in of_first.items()}
    widths = {name: high - low for name, (low, high) in of_first.items()}
    rejects = {name: not low <= 0 <= high for name, (low, high) in of_pair.items()}
    any_rejected = any(c.p_holm < 0.05 for c in found.comparisons)
    # The same experiment with a row that is better by what the data should have shown: is it seen?
    signed = off.estimate if pair.first == "row 0" else -off.estimate
    p = 2 * stats.t.sf(abs(signed + pair.detectable) / off.standard_error, off.df)
    seen = p < 0.05 / len(found.comparisons)
    return holds, widths, rejects, any_rejected, seen


def textbook(figures, n_resamples, number):
    """The intervals of textbooks for one row, all on the same resamples of users and artists."""
    rng = np.random.default_rng(number)
    cells = cells_of(figures)
    m, shape = cells.estimates[0], (cells.n_users, cells.n_artists)
    c, n = (
        csr_array((x, (cells.user, cells.artist)), shape=shape) for x in (cells.contributions[0], cells.lists)
    )
    v, w = (rng.multinomial(k, np.full(k, 1 / k), n_resamples).T.astype(float) for k in shape)
    c_of_user, n_of_user = c @ w, n @ w
    total = (v * n_of_user).sum(axis=0)
    both = (v * c_of_user).sum(axis=0) / total
    users = (c.sum(axis=1) @ v) / (n.sum(axis=1) @ v)
    low, high = np.quantile(both, [0.025, 0.975])
    spread = 1.96 * both.std(ddof=1)
    # Of t: the two-way variance of Cameron, Gelbach and Miller, in each resample and as measured.
    cc, cn, nn = ((v * (a.multiply(b).tocsr() @ w)).sum(axis=0) for a, b in ((c, c), (c, n), (n, n)))
    change = cells.deviations[0]
    by_user, by_artist = np.bincount(cells.user, change), np.bincount(cells.artist, change)
    error = np.sqrt(two_way((by_user**2).sum(), (by_artist**2).sum(), (change**2).sum()))
    drawn = two_way(
        (v * (c_of_user - both * n_of_user) ** 2).sum(axis=0),
        (w * (c.T @ v - both * (n.T @ v)) ** 2).sum(axis=0),
        cc - 2 * both * cn + both**2 * nn,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nanquantile((both - m) * total / np.sqrt(drawn), [0.025, 0.975])
    return {
        "percentile": (low, high),
        "basic": (2 * m - high, 2 * m - low),
        "BCa": bca(m, both, np.concatenate([by_user, by_artist])),
        "normal": (m - spread, m + spread),
        "bootstrap-t": (m - t[1] * error, m - t[0] * error),
        "percentile, users alone": tuple(np.quantile(users, [0.025, 0.975])),
        "percentile, lists whole": lists_whole(figures, v, w),
    }


def two_way(users, artists, pairs):
    return np.maximum(users + artists - pairs, np.maximum(users, artists))


def bca(m, both, change):
    """Efron's (1987), with the acceleration of the jackknife over users and over artists."""
    a = (change**3).sum() / (6 * (change**2).sum() ** 1.5)
    z0 = stats.norm.ppf(np.clip((both < m).mean(), 1e-3, 1 - 1e-3))
    z = z0 + stats.norm.ppf([0.025, 0.975])
    return tuple(np.quantile(both, stats.norm.cdf(z0 + z / (1 - a * z))))


def lists_whole(figures, v, w):
    """Percentiles where each list with a play left counts as a whole one."""
    of_play = figures.lists()
    user, artist = (np.unique(x, return_inverse=True)[1] for x in (figures.users, figures.artists))
    n = np.bincount(of_play)
    user_of_list = np.zeros(len(n), int)
    user_of_list[of_play] = user
    values = np.atleast_2d(next(iter(figures.rows.values()))).mean(axis=0)
    left, sums = (
        csr_array((x, (of_play, artist)), shape=(len(n), len(w))) @ w for x in (np.ones(len(user)), values)
    )
    with np.errstate(invalid="ignore"):
        of_lists = np.where(left > 0, n[:, None] * sums / left, 0)
    weights = v[user_of_list] * (left > 0)
    return tuple(np.quantile((weights * of_lists).sum(axis=0) / weights.sum(axis=0), [0.025, 0.975]))


def seconds_of_20000_users(n_rows):
    """1,000 resamples of 20,000 users with 120,000 held-out plays of 1,881 songs by 600 artists."""
    world = World("", n_users=20_000, n_artists=600, plays=6, n_rows=n_rows)
    figures = world.draw(np.random.default_rng(0))
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        bootstrap(figures, n_resamples=1000)
        taken.append(time.perf_counter() - began)
    return {
        "rows": n_rows,
        "plays": figures.n_plays,
        "seconds": statistics.median(taken),
        "least": min(taken),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first experiment")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="WORLD", choices=[world.name for world in WORLDS])
    parser.add_argument("--peers", action="store_true", help="the intervals of textbooks, too")
    parser.add_argument("--time", action="store_true", help="the time of 20,000 users instead")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    lines = []
    if options.time:
        for n_rows in (1, 2, 6, 10):
            lines.append(seconds_of_20000_users(n_rows))
            print("{rows:3} rows, {plays:,} plays: {seconds:.2f} s (least {least:.2f})".format(**lines[-1]))
    else:
        with ProcessPoolExecutor(options.processes) as pool:
            for world in WORLDS:
                if not options.only or world.name in options.only:
                    _ = world.truth  # found once, and sent along
                    ask = partial(experiment, world, options.resamples, options.peers)
                    seeds = range(options.first, options.first + options.experiments)
                    lines.append(summary(world, list(pool.map(ask, seeds, chunksize=10))))
                    show(lines[-1])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(lines, file, indent=2)


def summary(world, results):
    n = len(results)
    holds, rejects = Counter(), Counter()
    for one, _, other, *_ in results:
        holds.update({name: int(yes) for name, yes in one.items()})
        rejects.update({name: int(yes) for name, yes in other.items()})
    return {
        "world": world.name,
        "experiments": n,
        "covers": {name: 100 * held / n for name, held in holds.items()},
        "width": {name: statistics.median(widths[name] for _, widths, *_ in results) for name in holds},
        "rejects": {name: 100 * rejected / n for name, rejected in rejects.items()},
        "any_rejected_by_holm": 100 * sum(row[3] for row in results) / n,
        "detectable_seen": 100 * sum(row[4] for row in results) / n,
    }


def show(line):
    print(
        f"{line['world']:<44} any of Holm {line['any_rejected_by_holm']:4.1f} %  "
        f"detectable seen {line['detectable_seen']:4.1f} %"
    )
    for name in line["covers"]:
        print(
            f"    {name:<26} covers {line['covers'][name]:5.1f} %  width {line['width'][name]:.3f}  "
            f"rejects {line['rejects'][name]:4.1f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
