"""The constructor and the spec of a regressor agree with each other and with the command line."""

from __future__ import annotations

import inspect
import math
from typing import cast

from dcbmr.contract import registry
from dcbmr.contract.contract import HasMemory, Regressor
from dcbmr.errors import InputError
from dcbmr.testing.checks import assert_annotated_keywords
from dcbmr.testing.regressors.subject import Subject
from dcbmr.tuning.regressor import Given


def check_constructor_takes_annotated_keywords(subject: Subject) -> None:
    """``--set NAME=VALUE`` finds a parameter by its name and reads it by its type; none must be given."""
    parameters = inspect.signature(subject.factory).parameters.values()
    assert_annotated_keywords(parameters)
    for parameter in parameters:
        assert parameter.default is not inspect.Parameter.empty, (
            f"{parameter.name} has no default; give it the one that serves most users"
        )


def check_has_the_methods_of_a_regressor(subject: Subject) -> None:
    """The host calls these four and no others."""
    missing = [name for name in ("fit", "predict", "save", "load") if not hasattr(subject.factory, name)]
    assert issubclass(subject.factory, Regressor), (
        f"{subject.factory.__name__} lacks {', '.join(missing)}; a regressor is a class with fit, predict, "
        "save and the classmethod load"
    )


def check_constructor_stores_its_arguments(subject: Subject) -> None:
    """Who looks at a model sees what it was made with; all work waits for ``fit``."""
    made = subject.make()
    for name in registry.parameters(subject.factory):
        assert hasattr(made, name), f"{name} is not kept; write self.{name} = {name} in the constructor"
    for name, value in subject.params.items():
        kept = getattr(made, name)
        assert kept == value, f"{name} was given as {value!r} and kept as {kept!r}; keep it as it is given"


def check_declares_the_reserved_names_where_it_has_a_choice(subject: Subject) -> None:
    """``--loss`` and ``--device`` reach the constructor by these names, and offer what the spec lists."""
    declared = registry.parameters(subject.factory)
    losses, devices = registry.losses_of(subject.spec), subject.spec.devices
    assert ("loss" in declared) == bool(losses), (
        "spec.losses and the argument `loss` disagree; declare both, or leave losses=() and `loss` out"
    )
    if losses:
        default = declared["loss"].default
        assert default in losses, f"the default loss {default!r} is none of {', '.join(losses)}; take one"
    if subject.spec.losses is None:
        assert "loss_params" in declared, (
            "what takes any registered loss takes its `loss_params`, too: declare the argument (a mapping, "
            "empty by default) and pass it on, dcbmr.get_loss(self.loss, target, **self.loss_params)"
        )
    if "loss_params" in declared:
        assert losses, "there are `loss_params`, and no loss to choose; leave the argument out"
        assert not subject.factory().loss_params, "`loss_params` are not empty by default; make them so"
    assert ("device" in declared) == (devices != ("cpu",)), (
        'spec.devices and `device` disagree; declare both, or leave devices=("cpu",) and `device` out'
    )
    if "device" in declared:
        default = declared["device"].default
        assert default in devices, f"the default device {default!r} is none of {', '.join(devices)}; take one"


def check_says_where_to_look_for_its_parameters(subject: Subject) -> None:
    """`dcbmr tune` looks in ``spec.space`` where nobody says where, and tries both ends of each range."""
    space = subject.spec.space
    if not space:
        return
    try:
        Given(subject.spec.name, None, {}, {}).space(space)
    except InputError as error:
        raise AssertionError(
            f"space: {error}; name parameters, with ends that check() lets through"
        ) from None


def check_has_what_its_spec_declares(subject: Subject) -> None:
    """The host relies on what the spec says that a regressor can do."""
    for capability, method in (
        ("has_check", "check"),
        ("has_memory", "memory"),
        ("has_users", "user_factors"),
        ("has_activations", "activations"),
    ):
        if getattr(subject.spec, capability):
            assert callable(getattr(subject.factory, method, None)), (
                f"the spec says {capability}, and there is no method {method}; write it, or take "
                f"{capability}=True out"
            )


def check_tells_its_memory(subject: Subject) -> None:
    """`dcbmr train` refuses what will not fit, by what the regressor says of so many songs and plays."""
    few = {"n_songs": 1000, "n_dims": 40, "n_users": 5000, "n_pairs": 100_000, "n_factors": 50}
    made = cast(HasMemory, subject.make())
    told = made.memory(**few)
    is_number = isinstance(told, int | float) and 0 <= told < math.inf
    assert is_number, f"memory returned {told!r}; return a number of bytes"
    more = made.memory(**{**few, "n_songs": 100_000, "n_pairs": 10_000_000})
    assert more >= told, (
        f"memory says {told:.0f} bytes of 1,000 songs and {more:.0f} of 100,000; more songs take no less"
    )
