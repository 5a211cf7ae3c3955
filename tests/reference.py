"""What the fast code shall compute, written to be read: plain NumPy, loops where loops say it best."""

from itertools import permutations

import numpy as np


def average_precision_and_auc(scores, heldout, k):
    """AP@k and AUC of one user: scores (n_songs,), heldout (n_songs,) bool."""
    # Best first; of equal scores, the songs that are not held out first.
    order = np.lexsort((heldout, -scores))
    ranks = np.flatnonzero(heldout[order]) + 1
    ap = sum(j / rank for j, rank in enumerate(ranks, 1) if rank <= k) / min(k, len(ranks))
    others = scores[~heldout]
    wins = [np.mean((s > others) + 0.5 * (s == others)) for s in scores[heldout]] if len(others) else [np.nan]
    return ap, np.mean(wins)


def ranking(scores, heldout, k):
    """AP@k and AUC of every user: both (n_users, n_songs)."""
    return np.array([average_precision_and_auc(s, h, k) for s, h in zip(scores, heldout, strict=True)]).T


def squared_distances(frames, words):
    """(n_frames, n_words), term by term in float64: no cancellation."""
    return np.square(frames[:, None, :].astype(float) - words[None, :, :].astype(float)).sum(axis=2)


def lloyd_step(frames, words):
    """Labels, inertia and the moved words; a word without frames stays."""
    distances = squared_distances(frames, words)
    labels = distances.argmin(axis=1)
    moved = np.array(
        [
            frames[labels == w].mean(axis=0, dtype=float) if (labels == w).any() else words[w]
            for w in range(len(words))
        ]
    )
    return labels, distances.min(axis=1).sum(), moved


def wpe(predicted, user_factors, surplus):
    """The weighted prediction error, summed over every song and user; surplus (n_songs, n_users) dense."""
    played = surplus > 0
    return ((1 + surplus) * np.square(played - predicted @ user_factors.T)).sum()


def worst_violation(scores, relevance, loss):
    """The most that any ranking of one query's items violates its constraint: loss + <W, psi(y) - psi(y*)>.

    scores (n_items,) are -distance; relevance 1 relevant, 0 irrelevant, -1 not ranked. psi is the partial
    order feature of McFee and Lanckriet (2010): over all pairs of a relevant i and an irrelevant j, the sum
    of y_ij (phi_i - phi_j) / (P N), where y_ij is 1 if i stands before j and else -1, and <W, phi> the score.
    """
    relevant, irrelevant = np.flatnonzero(relevance == 1), np.flatnonzero(relevance == 0)
    worst = -np.inf
    for ranking in permutations([*relevant, *irrelevant]):
        place = {item: rank for rank, item in enumerate(ranking, 1)}
        before = np.array([[place[i] < place[j] for j in irrelevant] for i in relevant])
        margins = scores[relevant][:, None] - scores[irrelevant][None, :]
        if loss == "auc":
            lost = 1 - before.mean()
        else:
            precisions = [sum(place[r] <= place[i] for r in relevant) / place[i] for i in relevant]
            lost = 1 - np.mean(precisions)
        worst = max(worst, lost + (np.where(before, 1, -1) * margins).mean() - margins.mean())
    return worst


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


def als_solve(surplus, songs, regularization, weight=1.0):
    """The users' factors that minimise the objective, the songs' fixed: one linear system a user."""
    surplus, songs = np.asarray(surplus, float), np.asarray(songs, float)
    lambdas = np.broadcast_to(regularization, len(surplus))
    users = np.zeros((len(surplus), songs.shape[1]))
    for u, (s, penalty) in enumerate(zip(surplus, lambdas, strict=True)):
        played = s > 0
        confidence = np.where(played, 1 + s, weight)
        system = songs.T @ (confidence[:, None] * songs) + penalty * np.eye(songs.shape[1])
        users[u] = np.linalg.solve(system, songs.T @ (confidence * played))
    return users
