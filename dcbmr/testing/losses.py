"""What every loss must do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, Loss
from dcbmr.testing.checks import Check, assert_annotated_keywords, checks_of
from dcbmr.testing.world import N_FACTORS, N_SONGS, planted_world

if TYPE_CHECKING:
    from torch import Tensor


def loss_checks(name: str, **params: Any) -> list[Check]:
    """Return the checks that a registered loss must pass; needs torch.

    Parameters
    ----------
    name : str
        One of :func:`dcbmr.losses`.
    **params
        Arguments of its factory.
    """
    return checks_of(_LossSuite(name, params))


class _LossSuite:
    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        self.params = params

    def make(self) -> tuple[Loss, FactorTarget]:
        _, target = planted_world("bow_pca")
        return registry.get_loss(self.name, target, **self.params), target

    def batch(self, target: FactorTarget, noise: float) -> tuple[Tensor, Tensor]:
        """Return the true factors of some songs plus noise, and their rows."""
        import torch

        rng = np.random.default_rng(1)
        rows = rng.choice(N_SONGS, 16, replace=False)
        predicted = target.song_factors[rows] + noise * rng.standard_normal((16, N_FACTORS))
        return torch.tensor(predicted, dtype=torch.float32), torch.tensor(rows, dtype=torch.int64)

    def check_factory_takes_annotated_keywords(self) -> None:
        factory = registry.resolve(registry.find_loss(self.name))
        target, *others = inspect.signature(factory).parameters.values()
        assert target.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, "the first argument is the target"
        assert_annotated_keywords(others)

    def check_returns_a_finite_scalar(self) -> None:
        loss, target = self.make()
        value = loss(*self.batch(target, 0.1))
        assert value.shape == (), f"a loss is a scalar, got shape {tuple(value.shape)}"
        assert bool(value.isfinite()), f"loss is {value}"

    def check_prefers_the_true_factors(self) -> None:
        loss, target = self.make()
        true, noisy = (float(loss(*self.batch(target, noise))) for noise in (0.0, 1.0))
        assert true < noisy, f"loss {true:.4g} at the true factors, {noisy:.4g} at noise"

    def check_is_the_mean_over_the_batch(self) -> None:
        loss, target = self.make()
        predicted, songs = self.batch(target, 0.1)
        whole = float(loss(predicted, songs))
        alone = np.mean([float(loss(predicted[i : i + 1], songs[i : i + 1])) for i in range(len(songs))])
        assert abs(whole - alone) <= 1e-4 * abs(alone), f"batch {whole:.6g}, mean of its songs {alone:.6g}"

    def check_gradient_is_the_slope(self) -> None:
        import torch

        loss, target = self.make()
        predicted, songs = self.batch(target, 0.1)
        predicted.requires_grad_()
        loss(predicted, songs).backward()
        gradient = predicted.grad
        assert gradient is not None, "no gradient reaches the predictions"
        direction = gradient / gradient.norm()
        step = 1e-2
        with_step, against = (
            float(loss((predicted + sign * step * direction).detach(), songs)) for sign in (1, -1)
        )
        if isinstance(loss, torch.nn.Module):
            without = [name for name, p in loss.named_parameters() if p.requires_grad and p.grad is None]
            assert not without, f"no gradient reaches its own {', '.join(without)}"
        slope, expected = (with_step - against) / (2 * step), float(gradient.norm())
        assert abs(slope - expected) <= 0.02 * expected, f"slope {slope:.5g}, gradient {expected:.5g}"

    def check_leaves_its_arguments_alone(self) -> None:
        loss, target = self.make()
        predicted, songs = self.batch(target, 0.1)
        before = predicted.clone(), songs.clone()
        first = float(loss(predicted, songs))
        assert bool((predicted == before[0]).all()), "predicted was written to"
        assert bool((songs == before[1]).all()), "songs was written to"
        assert float(loss(predicted, songs)) == first, "the same batch has another loss the second time"
