"""Objectives: each is the mean over a batch of songs, predictions in the units of ``song_factors``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcbmr import FactorTarget, InputError


class MSE:
    """Squared distance to the factors that factorize learned: the mean over songs of the sum over factors.

    Needs ``target.song_factors``, and has their units squared.

    Parameters
    ----------
    target : FactorTarget
    unit_norm : bool
        Scale every song's factors to one common length, the root mean square of their lengths: the
        direction (what kind of music) is learned, and the length (how popular) is left out.
    """

    def __init__(self, target: FactorTarget, *, unit_norm: bool = False) -> None:
        factors = np.asarray(target.song_factors, np.float32)
        self._factors = torch.from_numpy(to_common_length(factors) if unit_norm else factors.copy())

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
        surplus = target.surplus
        if surplus.shape != (len(target.song_factors), len(users)):
            raise InputError(
                f"wpe needs the surplus of {len(target.song_factors)} songs x {len(users)} users; "
                f"got {surplus.shape[0]} x {surplus.shape[1]}"
            )
        gramian = users.astype(np.float64).T @ users.astype(np.float64)
        self._gramian = torch.from_numpy(gramian)  # (n_factors, n_factors)
        self._users = torch.from_numpy(users.copy())  # (n_users, n_factors)
        self._indptr = torch.from_numpy(surplus.indptr.astype(np.int64))  # (n_songs + 1,)
        self._listeners = torch.from_numpy(surplus.indices.astype(np.int64))  # (n_plays,)
        self._surplus = torch.from_numpy(surplus.data.astype(np.float32))  # (n_plays,)

    def _move(self, device: torch.device) -> None:
        if self._users.device != device:
            for name in ("_gramian", "_users", "_indptr", "_listeners", "_surplus"):
                setattr(self, name, getattr(self, name).to(device))

    def __call__(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return the loss of ``predicted`` (B, n_factors) for the rows ``songs`` (B,): a scalar."""
        self._move(predicted.device)
        songs = songs.to(predicted.device)
        first, last = self._indptr[songs], self._indptr[songs + 1]
        song, entry = ragged(first, last)
        users = self._users[self._listeners[entry]].to(predicted.dtype)  # (n_listeners, n_factors)
        surplus = self._surplus[entry].to(predicted.dtype)  # (n_listeners,)
        score = (users * predicted[song]).sum(1)  # (n_listeners,)
        played = ((1 + surplus) * (1 - score).square() - score.square()).sum()
        everyone = ((predicted @ self._gramian.to(predicted.dtype)) * predicted).sum()
        return (everyone + played) / len(predicted)


def ragged(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return (row, entry) of every entry in the slices ``first[i]:last[i]``, one after the other."""
    lengths = last - first
    row = torch.repeat_interleave(torch.arange(len(first), device=first.device), lengths)
    offset = lengths.cumsum(0) - lengths
    entry = torch.arange(len(row), device=first.device) + (first - offset)[row]
    return row, entry
