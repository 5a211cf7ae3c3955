"""What the host lends a plugin is as the contract says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from dcbmr import FactorTarget, FitRun, InputError


def parts():
    rng = np.random.default_rng(0)
    return {
        "song_factors": rng.standard_normal((4, 2)).astype(np.float32),
        "user_factors": rng.standard_normal((3, 2)).astype(np.float32),
        "surplus": csr_array((rng.random((4, 3)) < 0.5).astype(np.float32)),
        "groups": np.arange(4),
        "validation": np.arange(4) == 0,
    }


def test_a_target_is_read_only_throughout():
    target = FactorTarget(**parts())
    surplus = target.surplus
    arrays = [target.song_factors, target.user_factors, target.groups, target.validation]
    for array in (*arrays, surplus.data, surplus.indices, surplus.indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_the_arrays_it_was_made_of_stay_writable_and_are_not_copied():
    given = parts()
    target = FactorTarget(**given)
    for name in ("song_factors", "user_factors", "groups", "validation"):
        given[name][0] = 1
        assert np.shares_memory(getattr(target, name), given[name])
    for name in ("data", "indices", "indptr"):
        part = getattr(given["surplus"], name)
        part[0] = part[0]
        assert np.shares_memory(getattr(target.surplus, name), part)


def test_unsorted_surplus_is_sorted_in_a_copy():
    unsorted = csr_array((np.float32([1, 2]), np.array([2, 0]), np.array([0, 2, 2, 2, 2])), shape=(4, 3))
    target = FactorTarget(**{**parts(), "surplus": unsorted})
    assert target.surplus.indices.tolist() == [0, 2]
    assert target.surplus.data.tolist() == [2, 1]
    assert unsorted.indices.tolist() == [2, 0]
    target.surplus.sort_indices()  # nothing left to do, and so no write
    assert (target.surplus[[1, 0]].toarray() == unsorted.toarray()[[1, 0]]).all()


def test_a_target_without_artists():
    target = FactorTarget(**{**parts(), "groups": None})
    assert target.groups is None
    assert repr(target) == "<FactorTarget: 4 songs x 2 factors, 3 users, 1 set aside>"


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("user_factors", np.ones((3, 5), np.float32), r"user_factors has shape \(3, 5\).*want \(3, 2\)"),
        ("surplus", csr_array((3, 4)), r"surplus has shape \(3, 4\).*want \(4, 3\)"),
        ("groups", np.arange(3), r"groups has shape \(3,\)"),
        ("validation", np.zeros(5, bool), r"validation has shape \(5,\)"),
    ],
)
def test_parts_that_do_not_fit_are_named(name, wrong, message):
    with pytest.raises(InputError, match=message):
        replace(FactorTarget(**parts()), **{name: wrong})


def test_a_fit_is_alone_unless_it_has_peers():
    assert FitRun().peers is None
