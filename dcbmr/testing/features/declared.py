"""The constructor, the spec and the config of an extractor agree with each other and with the host."""

from __future__ import annotations

import inspect
import json

import numpy as np

from dcbmr.contract import registry
from dcbmr.errors import InputError
from dcbmr.testing.checks import assert_annotated_keywords
from dcbmr.testing.features.subject import Subject


def check_constructor_takes_annotated_keywords(subject: Subject) -> None:
    """``--set NAME=VALUE`` finds a parameter by its name and reads it by its type."""
    assert_annotated_keywords(inspect.signature(subject.factory).parameters.values())


def check_declares_sources_where_it_is_made_of_others(subject: Subject) -> None:
    """The host tells by this argument what the frames are that it hands over."""
    declared = "sources" in registry.parameters(subject.factory)
    assert declared == bool(subject.parts), (
        "a kind that is made of others declares `sources`, and no other kind does; make spec.made_of and the "
        "constructor agree"
    )


def check_has_what_its_spec_declares(subject: Subject) -> None:
    """The host relies on what the spec says that an extractor can do."""
    method = "stream" if subject.spec.is_streaming else "extract"
    assert callable(getattr(subject.factory, method, None)), (
        f"the spec says is_streaming={subject.spec.is_streaming}, and there is no method {method}; "
        "write it, or change the spec"
    )
    assert not subject.spec.has_check or callable(getattr(subject.factory, "check", None)), (
        "the spec says has_check, and there is no check; write it, or take has_check=True out"
    )


def check_states_its_dimensions(subject: Subject) -> None:
    """A store is laid out by them before the first song."""
    n_dims = subject.make().n_dims
    assert isinstance(n_dims, int), f"n_dims is {n_dims!r}; wanted a whole number"
    assert n_dims > 0, f"n_dims is {n_dims}; wanted a whole number above 0"


def check_states_its_rate(subject: Subject) -> None:
    """The host resamples each file to it."""
    sr = subject.make().sr
    assert np.isfinite(sr), f"sr is {sr!r}; wanted a number of Hz"
    assert sr > 0, f"sr is {sr!r}; wanted a number of Hz above 0"


def check_config_survives_json(subject: Subject) -> None:
    """It is kept as JSON beside the features."""
    config = subject.make().config
    try:
        kept = json.loads(json.dumps(config))
    except TypeError as error:
        raise AssertionError(
            f"config is {config}, and {error}; use int(...), float(...), str(...)"
        ) from error
    assert kept == config, (
        f"config is {config}: it comes back from JSON as something else (use lists, not tuples)"
    )


def check_config_is_the_same_for_the_same_parameters(subject: Subject) -> None:
    """Features are used together where their configs are the same."""
    assert subject.make().config == subject.make().config, (
        "two extractors of the same parameters have another config; put nothing into it that changes by "
        "itself, as a time or a path"
    )


def check_config_has_the_parameters_that_change_the_numbers(subject: Subject) -> None:
    """Features of one config are taken for alike: each number is tried at its double and at its half."""
    made = subject.make()
    song = subject.sound()
    for name, parameter in registry.parameters(subject.factory).items():
        value = subject.params.get(name, parameter.default)
        if isinstance(value, bool) or not isinstance(value, int | float) or name == "sr":
            continue
        for other in (type(value)(2 * value), type(value)(value / 2)):
            try:
                changed = subject.make(**{name: other})
                rows = subject.rows(song, extractor=changed)
            except (InputError, ValueError):  # out of its range, or the song is too short for it
                continue
            if changed.config == made.config:
                whole = subject.rows(song, extractor=made)
                assert np.array_equal(rows, whole), (
                    f"{name} of {value} and of {other} give other numbers and the same config; put {name} "
                    "into config"
                )
