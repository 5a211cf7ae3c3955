"""Close names among many: as close as difflib's, in a bounded time."""

import random
import time
from difflib import SequenceMatcher, get_close_matches

import pytest

from dcbmr.base.spelling import close_names

N = 5000


def hexadecimal(rng, n, length):
    return ["".join(rng.choices("0123456789abcdef", k=length)) for _ in range(n)]


KINDS = {
    "numbered": lambda rng, n: [f"song{i:06d}" for i in range(n)],
    "of any length": lambda rng, n: [f"user-{i}" for i in range(n)],
    "digests": lambda rng, n: hexadecimal(rng, n, 40),
    "of one ending": lambda rng, n: [f"{name}.wav" for name in hexadecimal(rng, n, 10)],
    "short": lambda rng, n: sorted({*hexadecimal(rng, n, 3)}),
}


def misspelt(name, rng):
    letters = list(name)
    at = rng.randrange(len(letters))
    slip = rng.choice(["other", "less", "more", "swapped"])
    letters[at : at + (slip != "more")] = {"less": "", "swapped": letters[at : at + 2][::-1]}.get(slip, "x")
    return "".join(letters)


@pytest.mark.parametrize("kind", KINDS)
def test_the_closest_is_as_close_as_the_closest_of_all(kind):
    rng = random.Random(0)
    names = dict.fromkeys(KINDS[kind](rng, N))
    for name in rng.sample(list(names), 8):
        wrong = misspelt(name, rng)
        found, of_all = close_names(wrong, names), get_close_matches(wrong, names, 1)
        assert set(found) <= names.keys()
        assert found[:1] == sorted(found, key=lambda name: -likeness(name, wrong))[:1]
        assert [likeness(name, wrong) for name in found[:1]] == [likeness(name, wrong) for name in of_all]


def likeness(name, other):
    return SequenceMatcher(None, name, other).ratio()


@pytest.mark.parametrize("name", ["", "?", "song000001" * 50, "\n", "song"])
def test_any_name_may_be_asked_about(name):
    names = dict.fromkeys(KINDS["numbered"](None, N))
    assert set(close_names(name, names, n=2)) <= names.keys()
    assert close_names(name, {}) == []


def test_few_names_are_all_compared():
    assert close_names("usr05", ["user05", "user06", "other"], n=1) == ["user05"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_time_is_bounded(kind):
    rng = random.Random(1)
    names = dict.fromkeys(KINDS[kind](rng, 400_000))
    seconds = []
    for name in rng.sample(list(names), 5):
        began = time.process_time()
        close_names(misspelt(name, rng), names)
        seconds.append(time.process_time() - began)
    # About 0.05 on an idle machine; to compare them all takes 2 to 16.
    assert min(seconds) < 0.3
