"""What every loss must do: one function a check, with a sentence that says what for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np

from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, Loss
from dcbmr.testing.checks import Check, assert_annotated_keywords, checks_of, no_error
from dcbmr.testing.world import N_FACTORS, N_SONGS, planted_world

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 16
# Between the rounding of float32 and the curvature of a loss.
_STEP = 1e-2


def loss_checks(name: str, **params: Any) -> list[Check]:
    """Return the checks that a registered loss must pass; needs torch.

    Parameters
    ----------
    name : str
        One of :func:`dcbmr.losses`.
    **params
        Arguments of its factory.
    """
    return checks_of(_Subject(name, params), sys.modules[__name__])


class _Subject:
    """A loss by name; each check makes one of its own."""

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.factory = registry.resolve(registry.find_loss(name))
        self.name = name
        self.params = params

    def make(self, target: FactorTarget | None = None) -> tuple[Loss, FactorTarget]:
        if target is None:
            _, target = planted_world("bow_pca")
        # Not by get_loss: the host's own look at what a loss returns would hide what the checks say.
        loss: Loss = self.factory(target, **self.params)
        return loss, target

    def batch(self, target: FactorTarget, noise: float = 0.1) -> tuple[Tensor, Tensor]:
        """Return the true factors of some songs plus noise, and their rows."""
        import torch

        rng = np.random.default_rng(1)
        rows = rng.choice(N_SONGS, _BATCH, replace=False)
        predicted = target.song_factors[rows] + noise * rng.standard_normal((_BATCH, N_FACTORS))
        return torch.tensor(predicted, dtype=torch.float32), torch.tensor(rows, dtype=torch.int64)


def _value(loss: Loss, predicted: Tensor, songs: Tensor) -> float:
    return float(loss(predicted, songs).detach())


def check_factory_takes_annotated_keywords(subject: _Subject) -> None:
    """``--set loss.NAME=VALUE`` finds a parameter by its name and reads it by its type."""
    target, *others = inspect.signature(subject.factory).parameters.values()
    assert target.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, (
        f"the first argument is {target.name}, a keyword; take the target first: (target, *, ...)"
    )
    assert_annotated_keywords(others)


def check_returns_a_finite_scalar(subject: _Subject) -> None:
    """The network goes downhill on one number."""
    loss, target = subject.make()
    with no_error(
        "the loss of a batch", "it takes predicted (B, n_factors) and songs (B,), rows of the target"
    ):
        value = loss(*subject.batch(target))
    assert value.shape == (), f"a loss of shape {tuple(value.shape)}; wanted a scalar: .mean() over the songs"
    assert bool(value.isfinite()), (
        f"the loss is {value.detach():.4g}; look for a division by zero, or a logarithm"
    )


def check_prefers_the_true_factors(subject: _Subject) -> None:
    """What is minimised must lead to the factors that score the plays."""
    loss, target = subject.make()
    true, noisy = (_value(loss, *subject.batch(target, noise)) for noise in (0.0, 1.0))
    assert true < noisy, (
        f"loss {true:.4g} at the true factors, {noisy:.4g} at noise; a loss is minimised: is its sign right, "
        "and are songs[i] the rows of the target that predicted[i] belongs to?"
    )


def check_is_the_mean_over_the_batch(subject: _Subject) -> None:
    """The size of a batch must not change how large a step is."""
    loss, target = subject.make()
    predicted, songs = subject.batch(target)
    whole = _value(loss, predicted, songs)
    alone = float(np.mean([_value(loss, predicted[i : i + 1], songs[i : i + 1]) for i in range(len(songs))]))
    assert abs(whole - alone) <= 1e-4 * abs(alone), (
        f"the loss of a batch is {whole:.6g}, the mean of its songs' {alone:.6g}; sum over factors or users, "
        "then .mean() over songs"
    )


def check_the_order_of_the_batch_does_not_matter(subject: _Subject) -> None:
    """Songs come in random order."""
    loss, target = subject.make()
    predicted, songs = subject.batch(target)
    order = np.random.default_rng(2).permutation(len(songs))
    whole, turned = _value(loss, predicted, songs), _value(loss, predicted[order], songs[order])
    assert abs(whole - turned) <= 1e-4 * abs(whole), (
        f"the loss of a batch is {whole:.6g}, of the same songs in another order {turned:.6g}; look songs up "
        "by songs[i], not by their place in the batch"
    )


def check_gradient_is_that_of_finite_differences(subject: _Subject) -> None:
    """The network learns from the gradient alone."""
    import torch

    loss, target = subject.make()
    predicted, songs = (part[:4] for part in subject.batch(target))
    predicted.requires_grad_()
    value = loss(predicted, songs)
    assert value.requires_grad, (
        "no gradient reaches the predictions; compute on the tensors that come, without .detach(), .numpy() "
        "or torch.no_grad()"
    )
    (gradient,) = torch.autograd.grad(value, predicted)
    differences = torch.empty_like(gradient)
    for place in np.ndindex(*gradient.shape):
        step = torch.zeros_like(gradient)
        step[place] = _STEP
        above, below = (_value(loss, (predicted + sign * step).detach(), songs) for sign in (1, -1))
        differences[place] = (above - below) / (2 * _STEP)
    error = float((gradient - differences).abs().max())
    largest = float(differences.abs().max())
    assert error <= 0.05 * largest, (
        f"a gradient is off by {error:.3g}, where the largest is {largest:.3g}; a backward() of your own "
        "must be the derivative of its forward(), and nothing that depends on the predictions may be detached"
    )


def check_gradient_reaches_what_it_learns(subject: _Subject) -> None:
    """A parameter of a loss that is a torch Module is optimized beside the network's."""
    import torch

    loss, target = subject.make()
    parameters = dict(loss.named_parameters()) if isinstance(loss, torch.nn.Module) else {}
    if not parameters:
        raise SkipTest(f"{subject.name}: the loss has no parameters to learn")
    value = loss(*subject.batch(target))
    if value.requires_grad:
        value.backward()
    without = [name for name, p in parameters.items() if p.requires_grad and p.grad is None]
    assert not without, (
        f"no gradient reaches its own {', '.join(without)}; use it in what is returned, or register it as a "
        "buffer with persistent=False"
    )


def check_leaves_its_arguments_alone(subject: _Subject) -> None:
    """The predictions are the network's, and the same batch has the same loss."""
    loss, target = subject.make()
    predicted, songs = subject.batch(target)
    before = predicted.clone(), songs.clone()
    first = _value(loss, predicted, songs)
    cure = "compute new tensors: predicted - factors, not predicted -= factors or sub_"
    assert bool((predicted == before[0]).all()), f"predicted was written to; {cure}"
    assert bool((songs == before[1]).all()), f"songs was written to; {cure}"
    again = _value(loss, predicted, songs)
    assert again == first, (
        f"the same batch has the loss {first:.6g}, then {again:.6g}; keep nothing of a batch in self, and "
        "draw random numbers from the seed that is a parameter"
    )


def check_one_user(subject: _Subject) -> None:
    """One listener's plays are few, and most of the songs nobody has played."""
    _, target = planted_world("bow_pca")
    target = replace(target, user_factors=target.user_factors[:1], surplus=target.surplus[:, [0]])
    cure = "mind songs without plays; or raise dcbmr.InputError that says how many users it takes"
    with no_error("the loss for one user's plays", cure, may_refuse=True):
        loss, _ = subject.make(target)
        value = loss(*subject.batch(target))
        assert bool(value.isfinite()), f"the loss for one user's plays is {value.detach():.4g}; {cure}"


def check_computes_where_the_predictions_are(subject: _Subject) -> None:
    """With ``--device cuda`` predictions are on the GPU, and what the loss keeps of the target is not."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    has_gpu = torch.cuda.is_available()
    # Without a GPU, tensors of a mode that knows their places and shapes, but not their numbers.
    device = torch.device("cuda" if has_gpu else "meta")
    loss, target = subject.make()
    if isinstance(loss, torch.nn.Module):
        loss = loss.to(device)
    predicted, songs = subject.batch(target)
    cure = (
        "bring what the loss keeps to predicted.device: tensors by .to(predicted.device), or as buffers of a "
        "torch Module (persistent=False)"
    )
    with nullcontext() if has_gpu else FakeTensorMode(allow_non_fake_inputs=True):
        try:
            value = loss(predicted.to(device), songs.to(device))
        except Exception as error:
            if has_gpu or "same device" in str(error):
                raise AssertionError(f"on another device: {error}; {cure}") from error
            raise SkipTest(f"{subject.name}: there is no GPU, and without one not all can be seen") from error
    assert value.device.type == device.type, (
        f"the loss of predictions on {device} is on {value.device}; {cure}"
    )
