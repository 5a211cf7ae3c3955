"""The conformance suite finds what breaks the contract, and says where it could check nothing."""

from unittest import SkipTest

import pytest

import dcbmr.testing

MEAN = """
    import numpy as np

    from dcbmr import RegressorSpec, hookimpl, load_tensors, save_tensors

    DCBMR_CONTRACT = 2

    class Mean:
        def __init__(self, *, shrink: float = 0.0) -> None:
            self.shrink = shrink

        def fit(self, songs, target, *, run=None):
            vectors = songs.vectors()
            self.mean_ = target.song_factors.mean(axis=0)
            return self

        def predict(self, songs):
            return np.tile(self.mean_, (len(songs.song_ids), 1))

        def save(self, directory):
            header = {"shrink": self.shrink}
            save_tensors(directory, {"mean": self.mean_}, header, name="mean", format_version=1)

        @classmethod
        def load(cls, directory):
            header, tensors = load_tensors(directory, name="mean", format_version=1)
            model = cls(**header)
            model.mean_ = tensors["mean"]
            return model

    @hookimpl
    def dcbmr_regressors():
        return [RegressorSpec("mean", Mean, "the mean song")]
"""


@pytest.fixture
def check(install):
    """Install a regressor and return one of its checks."""

    def find(name, *changes):
        source = MEAN
        for old, new in changes:
            assert old in source
            source = source.replace(old, new)
        install("mean-plugin", source)
        return next(check for check in dcbmr.testing.regressor_checks("mean") if str(check) == name)

    return find


def test_the_mean_passes_all_but_learning(install):
    install("mean-plugin", MEAN)
    failed, skipped = [], []
    for check in dcbmr.testing.regressor_checks("mean"):
        try:
            check()
        except AssertionError:
            failed.append(str(check))
        except SkipTest:
            skipped.append(str(check))
    assert failed == ["learns_what_is_planted_from_every_kind_of_its_shape"]
    assert skipped == ["reports_and_can_be_cancelled", "resumes_after_a_cancel"]


@pytest.mark.parametrize("name", ["reports_and_can_be_cancelled", "resumes_after_a_cancel"])
def test_a_fit_that_never_reports_is_skipped_aloud(check, name):
    with pytest.raises(SkipTest, match=r"mean: fit (never reports|reports 0 times), so that"):
        check(name)()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "leaves_what_it_is_given_alone",
            [("vectors = songs.vectors()", "vectors = songs.vectors(); vectors -= vectors.mean()")],
            "writes to what it is given.*read-only",
        ),
        (
            "leaves_what_it_is_given_alone",
            [("vectors = songs.vectors()", "target.surplus.data[:] = 1")],
            "writes to what it is given.*read-only",
        ),
        (
            "learns_what_is_planted_from_every_kind_of_its_shape",
            [
                (
                    "self.mean_ =",
                    "self.known_ = target.song_factors * (songs.kind != 'bow')\n            self.mean_ =",
                ),
                ("return np.tile(self.mean_, (len(songs.song_ids), 1))", "return self.known_"),
            ],
            "bow: squared error",
        ),
        (
            "declares_the_reserved_names_where_it_has_a_choice",
            [
                ("shrink: float = 0.0", "shrink: float = 0.0, loss: str = 'mse'"),
                ('"the mean song")', '"", losses=None)'),
            ],
            "what takes any registered loss takes its `loss_params`",
        ),
        (
            "declares_the_reserved_names_where_it_has_a_choice",
            [('"the mean song")', '"", devices=("cpu", "npu"))')],
            "spec.devices and `device` disagree",
        ),
        (
            "has_what_its_spec_declares",
            [('"the mean song")', '"", has_check=True)')],
            "the spec says has_check, and there is no method check",
        ),
        ("save_and_load", [("model.mean_ = tensors", "model.mean_ = 2 * tensors")], "after save and load"),
    ],
)
def test_what_breaks_the_contract_is_found(check, name, changes, message):
    with pytest.raises(AssertionError, match=message):
        check(name, *changes)()
