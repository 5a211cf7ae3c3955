"""What the fast code shall compute, written to be read: plain NumPy, loops where loops say it best."""

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
