"""What a regressor writes, and that to read it executes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcbmr.contract.contract import Regressor
from dcbmr.testing.checks import no_error
from dcbmr.testing.inert import assert_inert, assert_not_obeyed
from dcbmr.testing.regressors.subject import Subject, assert_close


@contextmanager
def _saved(model: Regressor) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "model")
        directory.mkdir()
        with no_error("save", "it is given an empty directory that exists, as a Path"):
            model.save(directory)
        yield directory


def check_save_and_load(subject: Subject) -> None:
    """A model is trained once and used for months, in other places than where it was made."""
    model, features, target = subject.fitted()
    with _saved(model) as directory:
        moved = directory.rename(directory.with_name("elsewhere"))
        assert any(path.is_file() for path in moved.rglob("*")), (
            "save wrote nothing; write what predict needs"
        )
        with no_error("load", "read what save wrote, in the directory that is given: it may have moved"):
            loaded = subject.factory.load(moved)
    cure = "save all that predict uses, and as it is (float32 is not rounded in safetensors)"
    with no_error("predict after save and load", cure):
        found = loaded.predict(features)
    assert_close(found, model.predict(features), "predictions after save and load", cure, exact=True)
    if subject.spec.has_users:
        users = subject.users(loaded, target), subject.users(model, target)
        assert_close(*users, "users after save and load", cure, exact=True)


def check_what_is_saved_is_inert(subject: Subject) -> None:
    """A model may come from a stranger: its files hold numbers and text, never pickled objects."""
    with _saved(subject.fitted()[0]) as directory:
        for path in directory.rglob("*"):
            if path.is_file():
                assert_inert(path)


def check_load_executes_nothing(subject: Subject) -> None:
    """A model may come from a stranger: what its texts name is not imported, and they are not evaluated."""
    with _saved(subject.fitted()[0]) as directory:
        assert_not_obeyed(directory, subject.factory.load)
