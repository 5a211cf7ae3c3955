"""What an evaluation needs of the machine, told before it begins."""

from __future__ import annotations

from dcbmr.base.needs import Need, Sizes, of_evaluate
from dcbmr.plays.split import Split


def need_of_evaluation(
    split: Split,
    n_factors: int,
    n_models: int,
    *,
    upper_bound: bool = False,
    baselines: bool = False,
    tags: bool = False,
    predicting: Need | None = None,
) -> Need:
    """Return what it takes to rank the songs of a split by models, or by factors.

    Parameters
    ----------
    split : Split
    n_factors : int
        Of one of them.
    n_models : int
    upper_bound, baselines, tags : bool
        Rows beside those of the models.
    predicting : Need, optional
        What the models take to predict, which they do before anything is ranked.
    """
    shuffled = n_models if baselines else 0
    n_rows = 2 + n_models + shuffled + 3 * baselines + upper_bound + tags
    (n_users, n_songs), n_pairs = split.train.counts.shape, split.train.counts.nnz
    sizes = Sizes(n_users, n_songs, n_pairs, n_factors)
    return of_evaluate(sizes, split.heldout.counts.nnz, n_rows, predicting)
