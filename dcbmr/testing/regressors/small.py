"""The least that there can be: somebody will try it, and must get an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dcbmr.testing.regressors.subject import Subject
from dcbmr.testing.world import made_of, parts_of, subset, subset_of_target


def check_one_song(subject: Subject) -> None:
    """Who tries dcbmr begins with a song or two, and wants to be told how many it takes."""
    features, target = subject.world()
    first = np.array([1])
    subject.assert_works(
        subset(features, first),
        subset_of_target(target, first),
        "one song",
        'let it work, or raise dcbmr.InputError("wanted at least ... songs to learn from, got 1")',
        may_refuse=True,
    )


def check_one_frame(subject: Subject) -> None:
    """A file may be shorter than any window."""
    features, target = subject.world()
    frames = parts_of(features)
    frames[0], frames[1] = frames[0][:1], frames[1][:1]
    subject.assert_works(
        made_of(features, frames),
        target,
        "songs of one frame",
        "songs.windows(...) repeats a song that is too short; or raise dcbmr.InputError that names the song",
        may_refuse=True,
    )


def check_one_user(subject: Subject) -> None:
    """One listener's plays are few, and most of the songs nobody has played."""
    features, target = subject.world()
    alone = replace(target, user_factors=target.user_factors[:1], surplus=target.surplus[:, [0]])
    subject.assert_works(
        features,
        alone,
        "the plays of one user",
        "mind songs without plays; or raise dcbmr.InputError that says how many users it takes",
        may_refuse=True,
    )
