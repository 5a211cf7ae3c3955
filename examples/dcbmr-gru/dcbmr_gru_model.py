"""A network of one's own: the training loop, the windows, checkpoints and files are those of ``cnn``.

A subclass of WindowRegressor says what its network is, and its fields are its hyper-parameters, beside those
that every network has (``dcbmr plugins gru`` lists them). VectorRegressor is the same for one vector a song.
"""

from dataclasses import dataclass

from dcbmr_torch import WindowRegressor
from torch import Tensor, nn


@dataclass(kw_only=True, eq=False)
class GRU(WindowRegressor):
    """A gated recurrent layer, its mean over a window's time, a linear layer."""

    units: int = 64
    learning_rate: float = 3e-3

    def network(self, n_dims: int, n_factors: int) -> nn.Module:
        """Return the network: standardized frames (B, window, n_dims) -> standardized factors."""
        return Recurrent(n_dims, self.units, n_factors)


class Recurrent(nn.Module):
    """The network, in plain torch."""

    def __init__(self, n_dims: int, units: int, n_factors: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(n_dims, units, batch_first=True)
        self.factors = nn.Linear(units, n_factors)

    def forward(self, frames: Tensor) -> Tensor:
        """Return (B, n_factors) of (B, window, n_dims)."""
        states, _ = self.recurrent(frames)  # (B, window, units)
        factors: Tensor = self.factors(states.mean(1))
        return factors
