"""Objectives: each is the mean over a batch of songs, predictions in the units of ``song_factors``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcbmr import FactorTarget


class MSE:
    """Squared distance to the factors that factorize learned: the mean over songs of the sum over factors.

    Needs ``target.song_factors``, and has their units squared.

    Parameters
    ----------
    target : FactorTarget
    unit_norm : bool
        Scale every song's factors to one common length, the root mean square of their lengths: the
        direction (what kind of music) is learned, and the length (how popular) is left out.

    Attributes
    ----------
    factors : ndarray of shape (n_songs, n_factors), float32
        Where a loss of zero is.
    """

    def __init__(self, target: FactorTarget, *, unit_norm: bool = False) -> None:
        factors = np.array(target.song_factors, np.float32)
        self.factors = to_common_length(factors) if unit_norm else factors
        self._factors = torch.from_numpy(self.factors)

    def __call__(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return the loss of ``predicted`` (B, n_factors) for the rows ``songs`` (B,): a scalar."""
        self._factors = self._factors.to(predicted.device)
        error = predicted - self._factors[songs.to(predicted.device)]  # (B, n_factors)
        return error.square().sum(1).mean()


def to_common_length(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every row to the root mean square of the rows' lengths; rows of zeros stay zero."""
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    common = np.sqrt(np.mean(np.square(lengths)))
    return np.asarray(factors * (common / np.where(lengths > 0, lengths, 1)), np.float32)


class WPE:
    """Weighted prediction error: sum over all users u of c (p - x_u . y')^2, the mean over songs.

    Needs ``target.user_factors`` (fixed) and ``target.surplus``; its unit is one confident play. It is
    exact, yet costs only the listeners of the songs in the batch (s is the surplus, X the user factors)::

        sum_u c (p - x_u . y')^2 = y'^T (X^T X) y' + sum_{u played} [(1 + s)(1 - x_u . y')^2 - (x_u . y')^2]
    """

    def __init__(self, target: FactorTarget) -> None:
        users = np.asarray(target.user_factors, np.float32)
        gramian = users.astype(np.float64).T @ users.astype(np.float64)
        self._gramian = torch.from_numpy(gramian)  # (n_factors, n_factors)
        self._users = torch.from_numpy(users.copy())  # (n_users, n_factors)
        self._listeners = Listeners(target)

    def __call__(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return the loss of ``predicted`` (B, n_factors) for the rows ``songs`` (B,): a scalar."""
        device, dtype = predicted.device, predicted.dtype
        self._gramian, self._users = self._gramian.to(device), self._users.to(device)
        lengths, user, surplus = self._listeners.of(songs.to(device))
        songs_of = for_listeners(predicted, lengths, len(user))  # (n_listeners, n_factors)
        score = (self._users[user].to(dtype) * songs_of).sum(1)  # (n_listeners,)
        played = ((1 + surplus.to(dtype)) * (1 - score).square() - score.square()).sum()
        everyone = ((predicted @ self._gramian.to(dtype)) * predicted).sum()
        return (everyone + played) / len(predicted)


class _ForListeners(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predicted: Tensor, lengths: Tensor, n_listeners: int) -> Tensor:
        ctx.save_for_backward(lengths)
        return predicted.repeat_interleave(lengths, 0, output_size=n_listeners)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (lengths,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        # unsafe: without a look at the lengths, for which the host would wait for the device.
        return torch.segment_reduce(gradient, "sum", lengths=lengths, axis=0, unsafe=True), None, None


def for_listeners(predicted: Tensor, lengths: Tensor, n_listeners: int) -> Tensor:
    """Return row i of ``predicted`` (B, n_factors) ``lengths[i]`` times, for :meth:`Listeners.of`.

    The gradient of plain indexing adds the listeners of a song in the order in which threads come by;
    this one adds them in their own order, so that the same seed gives the same bits.
    """
    result: Tensor = _ForListeners.apply(predicted, lengths, n_listeners)  # type: ignore[no-untyped-call]
    return result


class Listeners:
    """Who played each song: the surplus in CSR form, on the device that asks for it."""

    def __init__(self, target: FactorTarget) -> None:
        surplus = target.surplus
        self._indptr = torch.from_numpy(surplus.indptr.astype(np.int64))  # (n_songs + 1,)
        self._users = torch.from_numpy(surplus.indices.astype(np.int64))  # (n_plays,)
        self._surplus = torch.from_numpy(surplus.data.astype(np.float32))  # (n_plays,)

    def of(self, songs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the number of plays of each of ``songs`` (B,), and the user and surplus of every play.

        The plays come song after song. On CUDA this waits for the device once, to learn how many they are.
        """
        if self._indptr.device != songs.device:
            for name in ("_indptr", "_users", "_surplus"):
                setattr(self, name, getattr(self, name).to(songs.device))
        first, last = self._indptr[songs], self._indptr[songs + 1]
        lengths = last - first
        n = int(lengths.sum())
        before = (first - lengths.cumsum(0) + lengths).repeat_interleave(lengths, output_size=n)
        entry = torch.arange(n, device=songs.device) + before
        return lengths, self._users[entry], self._surplus[entry]
