"""What plays have that factors were not fitted on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr.recommendation.newer import NewerPlays

USERS, SONGS = [f"user{i}" for i in range(9)], [f"song{i}" for i in range(12)]


@pytest.fixture(scope="module")
def counts():
    """Plays in which user 7 and song 9 have none."""
    rng = np.random.default_rng(3)
    made = rng.integers(1, 20, (len(USERS), len(SONGS))) * (rng.random((len(USERS), len(SONGS))) < 0.5)
    made[7] = made[:, 9] = 0
    return made


@pytest.fixture(scope="module")
def factors(counts):
    return dcbmr.WeightedALS(n_factors=3, n_iterations=2).fit(plays_of(counts)).factors_


def plays_of(counts, users=USERS, songs=SONGS):
    return dcbmr.PlayCounts(users, songs, csr_array(counts, dtype=np.float32))


def test_the_same_plays_are_not_newer(factors, counts):
    there = np.flatnonzero(counts.any(axis=1))[::-1]
    of_some = plays_of(counts[there[:4], ::-1], [USERS[row] for row in there[:4]], SONGS[::-1])
    for plays in (plays_of(counts), of_some):
        newer = NewerPlays.of(factors, plays)
        assert newer == NewerPlays(0, 0, 0, 0)
        assert not newer
        assert newer.words() == ""


def test_more_plays_of_known_users_and_songs_are_counted_and_fewer_are_not(factors, counts):
    now = counts.copy()
    now[1] += 2 * (counts[1] > 0)
    unplayed = next(song for song in range(len(SONGS)) if not counts[4, song] and song != 9)
    now[4, unplayed] = 5
    now[5] = counts[5] // 2
    n_plays = 2 * np.count_nonzero(counts[1]) + 5
    order = np.random.default_rng(0).permutation(len(SONGS))
    newer = NewerPlays.of(factors, plays_of(now[:, order], songs=[SONGS[song] for song in order]))
    assert newer == NewerPlays(0, 0, 2, n_plays)
    assert f"lack {n_plays} plays by 2 of the users they know" in newer.words()
    assert "do not know" not in newer.words()
    assert "dcbmr factorize PLAYS --warm-start FACTORS" in newer.words()


def test_users_and_songs_without_plays_then_are_new_and_those_without_plays_now_are_not(factors, counts):
    more = np.zeros((len(USERS) + 2, len(SONGS) + 2))
    more[: len(USERS), : len(SONGS)] = counts
    more[7, 1] = more[3, 9] = 1  # had none
    more[len(USERS), 2] = more[2, len(SONGS)] = 1  # unknown; the last of each have no plays
    newer = NewerPlays.of(factors, plays_of(more, [*USERS, "new", "idle"], [*SONGS, "new", "idle"]))
    assert newer == NewerPlays(2, 2, 0, 0)
    assert "do not know 2 of the users and 2 of the songs" in newer.words()
    assert "lack" not in newer.words()


def test_factors_that_were_brought_know_the_plays_that_they_hold(factors, counts):
    brought = replace(factors, counts=csr_array(np.maximum(counts - 1, 0), dtype=np.float32))
    assert NewerPlays.of(brought, plays_of(counts)).n_plays == np.count_nonzero(counts)
