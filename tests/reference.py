"""What the fast code shall compute, written to be read: plain NumPy, loops where loops say it best.

The twins of the kernels are in dcbmr.doctor.twins, for who has the tests not at hand.
"""

import numpy as np

from dcbmr.doctor.twins import (  # noqa: F401  for who imports them from here
    als_solve,
    average_precision_and_auc,
    lloyd_step,
    log_mel,
    mel_filters,
    mel_power,
    mfcc,
    rank_metrics,
    squared_distances,
    statistics,
    worst_violation,
)


def list_metrics(scores, excluded, popularity, k):
    """What the k best songs of all users make of a catalogue: scores, excluded (n_users, n_songs)."""
    lists = []
    for row, out in zip(scores, excluded, strict=True):
        lists.append([song for song in np.argsort(-row, kind="stable") if not out[song]][:k])
    exposure = np.zeros(scores.shape[1])
    for songs in lists:
        exposure[songs] += 1
    differences = np.abs(exposure[:, None] - exposure[None, :])
    return {
        "coverage": len({song for songs in lists for song in songs}) / len(exposure),
        "gini": differences.mean() / (2 * exposure.mean()),
        "mean_popularity": np.mean([popularity[songs].mean() for songs in lists if songs]),
    }


def ranking(scores, heldout, k):
    """AP@k and AUC of every user: both (n_users, n_songs)."""
    return np.array([average_precision_and_auc(s, h, k) for s, h in zip(scores, heldout, strict=True)]).T


def wpe(predicted, user_factors, surplus):
    """The weighted prediction error, summed over every song and user; surplus (n_songs, n_users) dense."""
    played = surplus > 0
    return ((1 + surplus) * np.square(played - predicted @ user_factors.T)).sum()


def als_objective(surplus, users, songs, of_users, of_songs, weight=1.0):
    """Observed, unobserved, regularization and total of dense surplus (n_users, n_songs), in float64.

    of_users and of_songs: lambda, one for all or one a row.
    """
    surplus, users, songs = (np.asarray(a, float) for a in (surplus, users, songs))
    scores, played = users @ songs.T, surplus > 0
    observed = (np.where(played, 1 + surplus, 0) * np.square(1 - scores)).sum()
    unobserved = weight * np.square(scores[~played]).sum()
    penalty = sum((lam * np.square(x).sum(axis=1)).sum() for lam, x in ((of_users, users), (of_songs, songs)))
    return observed, unobserved, penalty, observed + unobserved + penalty


def als_gradient(surplus, users, songs, regularization):
    """Half the gradient of the objective with respect to the users' factors."""
    confidence, played = 1 + surplus, surplus > 0
    return (confidence * (users @ songs.T - played)) @ songs + regularization * users


def resampled_figure(v, w, users, artists, folds, contributions):
    """One resample, play by play, users weighing ``v``, artists ``w``: sum of contributions, and of lists."""
    contributed = of_lists = 0.0
    lists = list(zip(users, folds, strict=True))
    for user, artist, fold, contribution in zip(users, artists, folds, contributions, strict=True):
        contributed += v[user] * w[artist] * contribution
        of_lists += v[user] * w[artist] / lists.count((user, fold))
    return contributed, of_lists
