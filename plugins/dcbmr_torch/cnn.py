"""The convolutional networks: the paper's, and the bigger one that its author wrote about in 2014."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dcbmr import InputError
from dcbmr_torch.networks import Convolutions, GlobalPool, dense, time_after
from dcbmr_torch.regressor import WindowRegressor


@dataclass(frozen=True)
class Architecture:
    """Widths of a network where its parameters leave them open."""

    channels: tuple[int, ...]
    pools: tuple[int, ...]
    hidden: tuple[int, ...]
    global_pool: bool


# The paper prints no widths; those of nips2013 are ours. spotify2014 is as its author described it:
# widths 256 to 512, filters 4 long, pooling 4, 2, 2, then mean, max and L2 over time, two layers of 2048.
ARCHITECTURES = {
    "nips2013": Architecture((128, 256), (4, 4), (1024,), False),
    "spotify2014": Architecture((256, 256, 512, 512), (4, 2, 2, 1), (2048, 2048), True),
}


@dataclass(kw_only=True, eq=False)
class CNN(WindowRegressor):
    """Convolutions along time, with max-pooling between them, and dense layers.

    Parameters
    ----------
    architecture : {"nips2013", "spotify2014"}
        "nips2013": two convolutions and two dense layers, the factors being the second. "spotify2014":
        four convolutions, then mean, maximum and L2 norm over what is left of time, and three dense ones.
    channels : tuple of int
        Filters of each convolution; empty for the architecture's own.
    pools : tuple of int
        Max-pooling after each convolution, 1 for none; empty for the architecture's own.
    hidden : tuple of int
        Units of the dense layers before the factors; empty for the architecture's own.
    filter_length : int
        Frames (or pooled steps) that a filter sees.
    batch_norm : bool
        Normalize after each convolution.
    dropout : float
        Share of the dense layers' units left out in a step.
    """

    architecture: str = "nips2013"
    channels: tuple[int, ...] = ()
    pools: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    filter_length: int = 4
    batch_norm: bool = True
    dropout: float = 0.0

    def network(self, n_dims: int, n_factors: int) -> nn.Module:
        """Return the network: (B, window, n_dims) -> (B, n_factors)."""
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"architecture must be one of {known}; got {self.architecture!r}")
        own = ARCHITECTURES[self.architecture]
        channels, pools = self.channels or own.channels, self.pools or own.pools
        hidden = self.hidden or own.hidden
        if len(channels) != len(pools):
            raise InputError(f"channels {channels} and pools {pools} must be as many")
        if min((*channels, *pools, *hidden, self.filter_length)) < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                "channels, pools, hidden and filter_length must be at least 1, and dropout in [0, 1); got "
                f"{channels}, {pools}, {hidden}, {self.filter_length}, {self.dropout}"
            )
        left = time_after(self.window, pools, self.filter_length)
        return nn.Sequential(
            Convolutions(n_dims, channels, pools, self.filter_length, self.batch_norm),
            GlobalPool() if own.global_pool else nn.Flatten(),
            dense(channels[-1] * (3 if own.global_pool else left), hidden, n_factors, self.dropout),
        )
