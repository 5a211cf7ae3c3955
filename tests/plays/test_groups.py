"""Choosing songs by whole groups: nearness to the wanted share, chance, and what cannot be had."""

import hashlib
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcbmr.datasets.world import World, WorldSettings
from dcbmr.errors import InputError
from dcbmr.plays.groups import artist_groups, choose_groups
from dcbmr.plays.split import split_plays


def choose(sizes, fraction, random_state=0):
    """Return the groups chosen, and the share of the songs that they have."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose_groups(groups, fraction, random_state=random_state)
    assert chosen.dtype == bool
    assert set(groups[chosen]).isdisjoint(groups[~chosen])
    return set(groups[chosen].tolist()), chosen.mean()


def test_songs_without_an_artist_are_groups_of_their_own():
    artists = {"a": "x", "b": "x", "d": "c"}
    groups = artist_groups(["a", "b", "c", "d", "e"], artists)
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4
    assert artist_groups(["e"], artists) is None


@pytest.mark.parametrize("random_state", range(20))
def test_a_prolific_artist_neither_empties_the_choice_nor_fills_it(random_state):
    assert choose([400] + [10] * 60, 0.1, random_state)[1] == pytest.approx(0.1)
    assert choose([400] + [10] * 60, 0.4, random_state)[1] == pytest.approx(0.4, abs=0.1)


def test_larger_groups_than_wanted_are_chosen_one_at_a_time():
    with pytest.warns(
        UserWarning, match=r"20.0% of 100 songs are held out, where 10.0% were wanted.*5 artists"
    ):
        chosen = [choose([20] * 5, 0.1, seed)[0] for seed in range(30)]
    assert {len(groups) for groups in chosen} == {1}
    assert len(set(map(tuple, chosen))) == 5, "any of them, by chance"


def test_what_cannot_be_met_is_said():
    with pytest.warns(UserWarning, match=r"the one with most 90.0%") as record:
        _, share = choose([90, 5, 5], 0.3)
    assert share == pytest.approx(0.1)
    assert len(record) == 1
    with pytest.raises(InputError, match="3 songs cannot be split: one song, or of one artist"):
        choose([3], 0.1)
    for fraction in (-0.1, 1, float("nan")):
        with pytest.raises(InputError, match="fraction must lie between 0 and 1; got"):
            choose([1, 1], fraction)


def test_a_fraction_of_zero_chooses_nothing():
    assert choose([1, 2, 3], 0) == (set(), 0)
    assert choose([3], 0) == (set(), 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=40),
    st.floats(0.001, 0.999),
    st.integers(0, 2**32 - 1),
)
def test_a_choice_is_near_and_neither_empty_nor_full(sizes, fraction, random_state):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        groups, share = choose(sizes, fraction, random_state)
    assert 0 < len(groups) < len(sizes)
    n_songs = sum(sizes)
    miss = abs(share - fraction) * n_songs
    most = max(fraction * n_songs / 2, 1)
    assert bool(said) == (miss > most) or miss == pytest.approx(most)  # the share has been rounded
    if not said and fraction <= 0.5:
        # No group can be added that brings the choice nearer without passing the share by half of it.
        for group in set(range(len(sizes))) - groups:
            more = share * n_songs + sizes[group] - fraction * n_songs
            assert more >= miss - 1e-6 or more > fraction * n_songs / 2 - 1e-6
    if max(sizes) <= min(fraction, 1 - fraction) * n_songs:
        assert miss <= min(fraction, 1 - fraction) * n_songs / 2 + 1e-6, "small groups always meet it"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 60), st.integers(1, 6), st.floats(0.01, 0.99), st.integers(0, 9))
def test_equal_groups_are_a_prefix_of_a_shuffle(n_groups, size, fraction, random_state):
    """So a split of single songs, or of equal artists, is what it was before groups could be skipped."""
    order = np.random.default_rng(random_state).permutation(n_groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen, share = choose([size] * n_groups, fraction, random_state)
    assert chosen == set(order[: len(chosen)].tolist())
    assert abs(share - fraction) * n_groups <= 0.5 + 1e-9 or len(chosen) in (1, n_groups - 1)


@pytest.mark.parametrize(
    ("random_state", "digest"),
    [(0, "205ffa9b477ac580"), (1, "2380c58ce9e22062"), (2, "94a65ec8fd62c63a")],
)
def test_the_split_of_the_demo_is_the_published_one(random_state, digest):
    world = World(WorldSettings())
    artists = dict(zip(world.song_ids, map(str, world.artist), strict=True))
    split = split_plays(world.plays(), by="artist", artists=artists, random_state=random_state)
    assert len(split.heldout_songs) == 600
    assert hashlib.sha256("\n".join(split.heldout_songs).encode()).hexdigest()[:16] == digest
