"""A factorization that starts from yesterday's factors, on planted tastes that grow by a few plays."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array

import dcbmr
from dcbmr import Factors, InputError, PlayCounts, WeightedALS
from dcbmr.cli import cli
from dcbmr.factorization.warm_start import PlaysChange, starting_factors
from dcbmr.plays.split import split_plays

N_USERS, N_SONGS = 400, 250
ALS = {"n_factors": 4, "regularization": 10.0, "n_iterations": 100, "tolerance": 1e-4}


def kept(plays, mask):
    """The pairs of a mask, without users and songs that then have none."""
    matrix = plays.counts.tocoo()
    counts = csr_array((matrix.data[mask], (matrix.row[mask], matrix.col[mask])), shape=matrix.shape)
    users = np.diff(counts.indptr) > 0
    songs = np.bincount(counts.indices, minlength=counts.shape[1]) > 0
    counts = counts[np.flatnonzero(users)][:, np.flatnonzero(songs)]
    return PlayCounts(plays.user_ids[users], plays.song_ids[songs], counts)


@pytest.fixture(scope="module")
def today():
    rng = np.random.default_rng(0)
    tastes, sounds = rng.standard_normal((N_USERS, 4)), rng.standard_normal((N_SONGS, 4))
    likes = tastes @ sounds.T + rng.gumbel(size=(N_USERS, N_SONGS))
    counts = np.where(likes > np.quantile(likes, 0.9), rng.geometric(0.3, likes.shape), 0)
    return PlayCounts.from_matrix(
        counts, [f"user{i}" for i in range(N_USERS)], [f"song{i}" for i in range(N_SONGS)]
    )


@pytest.fixture(scope="module")
def yesterday(today):
    """Today without a twentieth of the plays, without ten users and five songs, and with two who left."""
    rng = np.random.default_rng(1)
    row, column = today.counts.nonzero()
    before = kept(today, (rng.random(len(row)) > 0.05) & (row >= 10) & (column >= 5))
    users = before.user_ids.copy()
    users[-1] = "left"
    return replace(before, user_ids=users)


@pytest.fixture(scope="module")
def before(yesterday):
    return WeightedALS(**ALS).fit(yesterday).factors_


def test_reaches_the_objective_of_a_cold_run_in_a_third_of_its_sweeps(today, before):
    cold = WeightedALS(**ALS).fit(today)
    assert len(cold.objective_) < ALS["n_iterations"]
    third = len(cold.objective_) // 3
    warm = WeightedALS(**{**ALS, "n_iterations": third}).fit(today, warm_start=before)
    assert warm.objective_[-1]["total"] < 1.001 * cold.objective_[-1]["total"]
    assert cold.objective_[third - 1]["total"] > 1.001 * cold.objective_[-1]["total"]


def test_known_rows_start_where_they_were_and_new_songs_from_their_listeners(today, before):
    drawn = np.full((N_SONGS, 4), 0.5, np.float32)
    drawn[7] = 0  # as of a song without plays
    users, songs = starting_factors(before, today, drawn, n_threads=1)
    of_user = dict(zip(before.user_ids, before.user_factors, strict=True))
    of_song = dict(zip(before.song_ids, before.song_factors, strict=True))
    for row, user in enumerate(today.user_ids):
        np.testing.assert_array_equal(users[row], of_user.get(user, np.zeros(4)))
    assert not songs[7].any()
    listeners = [row for row, user in enumerate(today.user_ids) if user in of_user]
    columns = [list(before.user_ids).index(today.user_ids[row]) for row in listeners]
    for row, song in enumerate(today.song_ids):
        if song in of_song and row != 7:
            np.testing.assert_array_equal(songs[row], of_song[song])
        elif row != 7:
            counts = np.zeros((1, len(before.user_ids)), np.float32)
            counts[0, columns] = today.counts[listeners].toarray()[:, row]
            np.testing.assert_array_equal(songs[row], before.fold_in_songs(csr_array(counts))[0])
            assert songs[row].any()


def test_songs_that_only_new_users_play_start_at_random(before):
    # Zeros on both sides would stay zeros.
    plays = PlayCounts(["nobody", "knows"], ["these", "songs"], csr_array(np.ones((2, 2), np.float32)))
    drawn = np.full((2, 4), 0.5, np.float32)
    users, songs = starting_factors(before, plays, drawn, n_threads=1)
    np.testing.assert_array_equal(songs, drawn)
    assert not users.any()


def test_says_what_is_new_and_what_vanished(today, before):
    change = PlaysChange.of(before, today)
    assert change.words() == (
        "users: 389 known, 11 new, 1 vanished (left); songs: 245 known, 5 new, 0 vanished"
    )
    change.check()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda p: kept(p, np.arange(p.counts.nnz) % 5 < 2),
            r"pairs with plays.*are left\. Look at the plays",
        ),
        (
            lambda p: replace(p, user_ids=[f"U:{u}" for u in p.user_ids]),
            "0 of 390 users are left; likely cause",
        ),
        (lambda p: replace(p, song_ids=[s.upper() for s in p.song_ids]), "upper and lower case"),
    ],
)
def test_plays_that_shrank_or_are_spelt_otherwise_are_asked_back(today, before, damage, said):
    with pytest.raises(InputError, match=said):
        PlaysChange.of(before, damage(today)).check()


def test_refuses_what_it_cannot_start_from(today, before):
    with pytest.raises(
        InputError, match=r"made with other settings: n_factors is 4 \(wanted 5\); give their"
    ):
        WeightedALS(**{**ALS, "n_factors": 5}).fit(today, warm_start=before)
    with pytest.raises(InputError, match=r"regularization is 10.0 \(wanted 1.0\)"):
        WeightedALS(**{**ALS, "regularization": 1.0}).fit(today, warm_start=before)
    with pytest.raises(InputError, match="have seen plays of 49 of the 50 songs"):
        WeightedALS(**ALS).fit(split_plays(today, fraction=0.2), warm_start=before)


def test_a_run_that_was_stopped_goes_on_as_if_it_were_not(today, before, tmp_path):
    def stop(stage, sweep, n_sweeps, terms):
        if sweep == 2:
            raise KeyboardInterrupt

    whole = WeightedALS(**ALS).fit(today, warm_start=before)
    with pytest.raises(KeyboardInterrupt):
        WeightedALS(**ALS).fit(today, warm_start=before, checkpoint=tmp_path / "c", progress=stop)
    with pytest.raises(InputError, match="crc32_of_warm_start is .* give the same"):
        WeightedALS(**ALS).fit(today, checkpoint=tmp_path / "c", resume=True)
    again = WeightedALS(**ALS).fit(today, warm_start=before, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(again.song_factors_, whole.song_factors_)


def test_on_the_command_line(today, yesterday, tmp_path):
    for name, plays in (
        ("yesterday", yesterday),
        ("today", today),
        ("cut", kept(today, today.counts.data > 3)),
    ):
        plays.write_parquet(tmp_path / f"{name}.parquet")

    def run(plays, output, *words):
        settings = ["--factors", "4", "--regularization", "10", "--iterations", "50", "--tolerance", "1e-4"]
        command = ["factorize", str(tmp_path / plays), "-o", str(tmp_path / output), *settings]
        return CliRunner().invoke(cli, [*command, *words])

    start = ["--warm-start", str(tmp_path / "one")]
    assert run("yesterday.parquet", "one").exit_code == 0
    result = run("today.parquet", "two", *start)
    assert "5 new, 0 vanished" in result.output
    one, two = (Factors.load(tmp_path / name).config["objective"] for name in ("one", "two"))
    assert two[0]["total"] < one[2]["total"]
    refused = run("cut.parquet", "three", *start)
    assert isinstance(refused.exception, dcbmr.InputError)
    assert "--force goes on with them" in str(refused.exception)
    assert not (tmp_path / "three").exists()
    assert run("cut.parquet", "three", *start, "--force").exit_code == 0
