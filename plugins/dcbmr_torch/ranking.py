"""A ranking loss: the paper names them as future work."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from dcbmr import FactorTarget, InputError
from dcbmr_torch.losses import Listeners, for_listeners

BLOCK = 4096  # users whose scores of the candidates are in memory at a time


class Softmax:
    """Negative log likelihood of all users' plays when the song joins the songs that are known.

    Every play of a user u is a draw among the songs with probability proportional to
    ``exp(x_u . y / temperature)``. The other songs keep the factors that factorize learned, so their sum
    Z_u is known beforehand. With l = x_u . y' / temperature, what song i with the prediction y' changes is::

        sum_{u played i} [log(Z_u + e^l) - l]  +  sum_u n_u log(1 + e^l / Z_u)

    where u played n_u songs: its listeners shall find it, and no play of another song shall be lost to it.
    Z is summed over a sample of the songs, and the second sum over a sample of the users; both are drawn
    once, so that a song's loss depends on that song alone.

    Needs ``target.user_factors``, ``song_factors`` and ``surplus``; the unit is nats. The cost is that of the
    listeners, and of ``n_users`` users a song.

    Parameters
    ----------
    target : FactorTarget
    temperature : float
        Scores are near 1 for played songs and near 0 for others; divided by it they are logits.
    n_songs, n_users : int
        Sizes of the samples; all where there are fewer.
    random_state : int
        Seed of the samples.
    """

    def __init__(
        self,
        target: FactorTarget,
        *,
        temperature: float = 0.1,
        n_songs: int = 2048,
        n_users: int = 2048,
        random_state: int = 0,
    ) -> None:
        if not temperature > 0 or min(n_songs, n_users) < 1:
            raise InputError(
                "temperature must be positive, n_songs and n_users at least 1; "
                f"got {temperature}, {n_songs}, {n_users}"
            )
        rng = np.random.default_rng(random_state)
        users = torch.from_numpy(np.array(target.user_factors, np.float32) / np.float32(temperature))
        chosen = np.sort(rng.permutation(len(target.song_factors))[:n_songs])
        candidates = torch.from_numpy(np.array(target.song_factors[chosen], np.float32))
        blocks = [(block @ candidates.T).logsumexp(1) for block in users.split(BLOCK)]
        # Z stands for all songs.
        self._log_z = torch.cat(blocks) + np.log(len(target.song_factors) / len(chosen))  # (n_users,)
        self._users = users  # (n_users, n_factors), divided by the temperature
        sampled = np.sort(rng.permutation(len(users))[:n_users])
        n_played = np.bincount(target.surplus.indices, minlength=len(users))[sampled]
        self._sampled = torch.from_numpy(sampled)
        self._weight = torch.from_numpy(n_played * (len(users) / len(sampled)))  # (n_sampled,)
        self._listeners = Listeners(target)

    def __call__(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return the loss of ``predicted`` (B, n_factors) for the rows ``songs`` (B,): a scalar."""
        device, dtype = predicted.device, predicted.dtype
        for name in ("_users", "_log_z", "_sampled", "_weight"):
            setattr(self, name, getattr(self, name).to(device))
        lengths, user, _ = self._listeners.of(songs.to(device))
        songs_of = for_listeners(predicted, lengths, len(user))  # (n_listeners, n_factors)
        logit = (self._users[user].to(dtype) * songs_of).sum(1)  # (n_listeners,)
        found = softplus(self._log_z[user].to(dtype) - logit).sum()
        logits = predicted @ self._users[self._sampled].to(dtype).T  # (B, n_sampled)
        lost = softplus(logits - self._log_z[self._sampled].to(dtype)) @ self._weight.to(dtype)
        return (found + lost.sum()) / len(predicted)
