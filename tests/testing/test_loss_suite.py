"""Whole losses pass the suite; of broken ones each is caught by its check, which names the cure."""

import re

import pytest
from broken import changed, failures

import dcbmr.testing

SQUARED = '''
import numpy as np
import torch

from dcbmr import LossSpec, hookimpl

DCBMR_CONTRACT = 2


class Squared(torch.nn.Module):
    """Squared error, each factor by a weight that is learned."""

    def __init__(self, target, *, floor: float = 0.1) -> None:
        super().__init__()
        self.floor = floor
        factors = torch.from_numpy(np.array(target.song_factors))
        self.register_buffer("factors", factors, persistent=False)
        self.weights = torch.nn.Parameter(torch.ones(target.song_factors.shape[1]))

    def forward(self, predicted, songs):
        error = predicted - self.factors[songs]
        return (error.square() * (self.floor + self.weights.square())).sum(1).mean()


@hookimpl
def dcbmr_losses():
    return [LossSpec("subject", Squared, "squared error, weighted")]
'''
ERROR = "error = predicted - self.factors[songs]"
WHOLE = "(error.square() * (self.floor + self.weights.square())).sum(1).mean()"


@pytest.fixture
def suite(install):
    """Install a loss, changed, and return its checks."""

    def find(*changes):
        install("squared-plugin", changed(SQUARED, changes))
        return dcbmr.testing.loss_checks("subject")

    return find


def test_a_whole_one_passes(suite):
    assert failures(suite()) == ({}, {})


def test_every_check_says_what_for_and_has_a_loss_that_it_catches(suite):
    checks = suite()
    assert all(check.why.endswith(".") for check in checks)
    assert {name for name, *_ in BROKEN} == {str(check) for check in checks}


def test_what_cannot_be_seen_without_a_gpu_is_skipped_aloud(suite):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    failed, skipped = failures(suite((ERROR, f"if int(songs[0]) < 0:\n            return\n        {ERROR}")))
    assert not failed
    assert "there is no GPU" in skipped["computes_where_the_predictions_are"]


BROKEN = [
    # check, changes, what it says, other checks that fail with it
    ("factory_takes_annotated_keywords", [("target, *, floor", "target, floor")], "put a \\* before it"),
    ("factory_takes_annotated_keywords", [("floor: float = 0.1", "floor=0.1")], "floor has no type"),
    (
        "returns_a_finite_scalar",
        [(WHOLE, WHOLE.replace(".mean()", ".mean(0, keepdim=True)"))],
        "wanted a scalar",
    ),
    ("prefers_the_true_factors", [(f"return {WHOLE}", f"return -{WHOLE}")], "is its sign right"),
    ("is_the_mean_over_the_batch", [("sum(1).mean()", "sum()")], "then .mean\\(\\) over songs"),
    (
        "the_order_of_the_batch_does_not_matter",
        [
            (
                WHOLE,
                WHOLE.replace(
                    ".sum(1).mean()", ".sum(1) @ torch.linspace(0.5, 1.5, len(error)) / len(error)"
                ),
            )
        ],
        "look songs up by songs\\[i\\]",
        "is_the_mean_over_the_batch",
        "computes_where_the_predictions_are",
    ),
    (
        "gradient_is_that_of_finite_differences",
        [
            (
                ERROR,
                "predicted = torch.cat([predicted[:, :2], predicted[:, 2:].detach()], dim=1)\n        "
                + ERROR,
            )
        ],
        "a gradient is off by",
    ),
    (
        "gradient_is_that_of_finite_differences",
        [(ERROR, "predicted = predicted.detach()\n        " + ERROR), ("self.weights.square()", "1")],
        "without .detach\\(\\)",
        "gradient_reaches_what_it_learns",
    ),
    (
        "gradient_reaches_what_it_learns",
        [("self.weights.square()", "self.weights.detach().square()")],
        "no gradient reaches its own weights; use it in what is returned",
    ),
    (
        "leaves_its_arguments_alone",
        [
            (
                ERROR,
                "with torch.no_grad():\n"
                "            predicted -= 1e-7 * self.factors[songs]\n        " + ERROR,
            )
        ],
        "predicted was written to; compute new tensors",
    ),
    (
        "leaves_its_arguments_alone",
        [
            (
                "return (error",
                "self.n = getattr(self, 'n', 0) + 1\n        return (1 + 1e-6 * self.n) * (error",
            )
        ],
        "keep nothing of a batch in self",
    ),
    (
        "one_user",
        [("self.floor = floor", "self.floor = floor + 0 * target.user_factors[1, 0]")],
        "says how many users it takes",
    ),
    (
        "computes_where_the_predictions_are",
        [
            (
                'self.register_buffer("factors", factors, persistent=False)',
                "self.factors = factors",
            )
        ],
        "on another device: .*same device.*bring what the loss keeps to predicted.device",
    ),
]


@pytest.mark.parametrize(
    ("name", "changes", "message", "also"),
    [(*row[:3], row[3:]) for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
def test_what_breaks_a_rule_is_caught_by_its_check(suite, name, changes, message, also):
    failed, _ = failures(suite(*changes))
    assert set(failed) == {name, *also}, failed
    assert re.search(message, failed[name]), failed[name]
