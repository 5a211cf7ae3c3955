"""A loss that learns: how far off the predictions of each factor are, beside the predictions themselves."""

import torch
from torch import Tensor, nn

from dcbmr import FactorTarget, InputError


class Gaussian(nn.Module):
    """Negative log likelihood of song factors that are the predicted ones and Gaussian noise.

    Factor f has the variance v_f, which is learned. A song's loss, in nats, is the sum over the factors of
    ((y'_f - y_f)^2 / v_f + log v_f) / 2: a factor that the audio tells well counts for more. (Kendall, Gal,
    Cipolla: Multi-task learning using uncertainty to weigh losses, CVPR 2018.)

    Parameters
    ----------
    target : FactorTarget
    floor : float
        The least v_f, as a share of the variance of factor f over the songs.

    Attributes
    ----------
    log_share : parameter of shape (n_factors,)
        What is learned, and saved with the model (``loss_state``): log of v_f less the floor, as a share of
        that variance; 0 at the start.
    """

    log_share: Tensor

    def __init__(self, target: FactorTarget, *, floor: float = 0.01) -> None:
        super().__init__()
        if not floor > 0:
            raise InputError(f"floor must be positive; got {floor}")
        self.floor = floor
        factors = torch.tensor(target.song_factors)
        variance = factors.var(0, correction=0)
        # What follows from the target is no state of the loss.
        self.register_buffer("factors", factors, persistent=False)  # (n_songs, n_factors)
        self.register_buffer("variance", torch.where(variance > 0, variance, 1.0), persistent=False)
        self.log_share = nn.Parameter(torch.zeros(factors.shape[1]))

    def forward(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return the mean loss of ``predicted`` (B, n_factors) for the rows ``songs`` (B,): a scalar."""
        noise = self.variance * (self.log_share.exp() + self.floor)
        error = predicted - self.factors[songs]
        return (error.square() / noise + noise.log()).sum(1).mean() / 2
