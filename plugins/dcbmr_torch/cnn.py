"""The convolutional networks: the paper's, and the bigger one that its author wrote about in 2014."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from dcbmr import InputError
from dcbmr_torch.networks import Convolutions, PoolOverTime, check_length, dense
from dcbmr_torch.regressor import WindowRegressor


@dataclass(frozen=True)
class Architecture:
    """What a network is where its parameters leave it open."""

    channels: tuple[int, ...]
    pools: tuple[int, ...]
    filter_length: int
    hidden: tuple[int, ...]


# The paper prints no widths, filter lengths or pooling. Those of nips2013 were chosen on validation songs of
# the embedded world: filters of 8 frames (0.19 s), then of 8 steps of 4 frames (0.9 s in all), and whatever
# is left of time pooled at the end. spotify2014 is as the paper's author described it: widths of 256 to 512,
# filters 4 long, pooling by 4, 2, 2, then over all of time, two dense layers of 2048.
ARCHITECTURES = {
    "nips2013": Architecture((128, 128), (4, 1), 8, (512,)),
    "spotify2014": Architecture((256, 256, 512, 512), (4, 2, 2, 1), 4, (2048, 2048)),
}


@dataclass(kw_only=True, eq=False)
class CNN(WindowRegressor):
    """Convolutions along time alternating with max-pooling, what is left of time pooled, dense layers.

    Parameters
    ----------
    architecture : {"nips2013", "spotify2014"}
        "nips2013": two convolutions and two dense layers, the factors being the second. "spotify2014":
        four convolutions and two dense layers before the factors. Both end their convolutions with the
        mean, the maximum and the L2 norm over time.
    channels : tuple of int
        Filters of each convolution; empty for the architecture's own.
    pools : tuple of int
        Max-pooling after each convolution, 1 for none; empty for the architecture's own.
    filter_length : int
        Frames (or pooled steps) that a filter sees; 0 for the architecture's own.
    hidden : tuple of int
        Units of the dense layers before the factors; empty for the architecture's own.
    batch_norm : bool
        Normalize after each convolution.
    dropout : float
        Share of the dense layers' units left out in a step.
    """

    architecture: Literal["nips2013", "spotify2014"] = "nips2013"
    channels: tuple[int, ...] = ()
    pools: tuple[int, ...] = ()
    filter_length: int = 0
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    dropout: float = 0.0

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range, or a window too short for the layers."""
        super().check()
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"architecture must be one of {known}; got {self.architecture!r}")
        own = self._completed()
        if len(own.channels) != len(own.pools):
            raise InputError(f"channels {own.channels} and pools {own.pools} must be as many")
        if min((*own.channels, *own.pools, *own.hidden, own.filter_length)) < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                "channels, pools, hidden and filter_length must be at least 1, and dropout in [0, 1); got "
                f"{own.channels}, {own.pools}, {own.hidden}, {own.filter_length}, {self.dropout}"
            )
        check_length(self.window, own.pools, own.filter_length)

    def _completed(self) -> Architecture:
        """Return the architecture with what the parameters say of it."""
        own = ARCHITECTURES[self.architecture]
        return Architecture(
            channels=self.channels or own.channels,
            pools=self.pools or own.pools,
            filter_length=self.filter_length or own.filter_length,
            hidden=self.hidden or own.hidden,
        )

    def network(self, n_dims: int, n_factors: int) -> nn.Module:
        """Return the network: (B, window, n_dims) -> (B, n_factors)."""
        own = self._completed()
        return nn.Sequential(
            Convolutions(n_dims, own.channels, own.pools, own.filter_length, self.batch_norm),
            PoolOverTime(),
            dense(3 * own.channels[-1], own.hidden, n_factors, self.dropout),
        )
