"""The paper's multilayer perceptron on one vector a song."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dcbmr import InputError
from dcbmr_torch.networks import dense
from dcbmr_torch.regressor import VectorRegressor


@dataclass(kw_only=True, eq=False)
class MLP(VectorRegressor):
    """A hidden layer of ReLU units on one vector a song.

    Parameters
    ----------
    hidden : int
        Units; 1000 in the paper.
    dropout : float
        Share of the hidden units left out in a step.

    With more units than songs it overfits within a few epochs; the validation songs choose one before.
    """

    hidden: int = 1000
    dropout: float = 0.5
    epochs: int = 30
    learning_rate: float = 3e-4

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check()
        if self.hidden < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                f"hidden must be at least 1 and dropout in [0, 1); got {self.hidden} and {self.dropout}"
            )

    def network(self, n_dims: int, n_factors: int) -> nn.Module:
        """Return the perceptron: (B, n_dims) -> (B, n_factors)."""
        return dense(n_dims, (self.hidden,), n_factors, self.dropout)
