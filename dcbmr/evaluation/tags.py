"""How well song vectors tell tags: logistic regression, cross-validated, AUC per tag.

As in van den Oord, Dieleman and Schrauwen (2013), section 5.2: the 50 most popular tags, ten folds, the AUC
averaged over tags. The vectors may be factors, words of the audio, or any model's predictions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from dcbmr.base.progress import Progress, silent
from dcbmr.errors import DcbmrError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class TagScore:
    """AUC of one tag: the mean over its folds and their standard deviation; NaN, and why, if it has none."""

    tag: str
    n_songs: int
    n_folds: int
    auc: float
    auc_std: float
    skipped: str = ""


@dataclass(frozen=True, eq=False)
class TagReport:
    """AUC of every tag.

    Attributes
    ----------
    scores : list of TagScore
        In the order of the tags given.
    """

    scores: list[TagScore]

    def __repr__(self) -> str:
        return f"TagReport(n_tags={len(self.scores)}, mean={self.mean:.4f}, std={self.std:.4f})"

    @property
    def aucs(self) -> NDArray[np.float64]:
        """AUC of each tag that has one."""
        return np.array([score.auc for score in self.scores if not score.skipped])

    @property
    def mean(self) -> float:
        """Mean over the tags; NaN if none has an AUC."""
        return float(self.aucs.mean()) if self.aucs.size else math.nan

    @property
    def std(self) -> float:
        """Standard deviation over the tags; NaN if none has an AUC."""
        return float(self.aucs.std()) if self.aucs.size else math.nan


def evaluate_tags(
    vectors: ArrayLike,
    has_tag: ArrayLike,
    *,
    tags: Sequence[str],
    groups: Sequence[Any] | None = None,
    n_folds: int = 10,
    C: float = 1.0,
    random_state: int = 0,
    progress: Progress | None = None,
) -> TagReport:
    """Cross-validate a logistic regression for every tag.

    Parameters
    ----------
    vectors : array-like of shape (n_songs, n_dims)
        What is known of the songs. Each dimension is standardized on the training folds.
    has_tag : array-like of shape (n_songs, n_tags), bool
    tags : sequence of str
        Names of the columns of ``has_tag``.
    groups : sequence of n_songs, optional
        The artist of each song: all songs of one are then in the same fold.
    n_folds : int
        Folds, stratified by the tag; a tag on fewer songs (or by fewer artists) gets as many as those. A
        tag that has fewer than two, or that all songs have, is skipped.
    C : float
        Inverse strength of the L2 penalty, as in scikit-learn.
    random_state : int
        Seed of the folds.
    progress : Progress, optional
        Told of every tag, with its AUC; it may raise to stop.
    """
    X, Y = _checked(vectors, has_tag, tags)
    if n_folds < 2:
        raise InputError(f"n_folds must be at least 2; got {n_folds}")
    if not (math.isfinite(C) and C > 0):
        raise InputError(f"C must be a positive number; got {C}")
    if groups is not None and len(groups) != len(X):
        raise InputError(f"groups has {len(groups)} entries for {len(X)} songs")
    codes = None if groups is None else np.unique([str(g) for g in groups], return_inverse=True)[1]
    report = progress or silent
    scores = []
    # Five hundred small regressions: threads inside of one cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        for column, tag in enumerate(tags):
            scores.append(_score(X, Y[:, column], tag, codes, n_folds, C, random_state))
            report("tags", column + 1, len(tags), {} if scores[-1].skipped else {"auc": scores[-1].auc})
    return TagReport(scores)


def _score(
    X: NDArray[np.float64],
    y: NDArray[np.bool_],
    tag: str,
    groups: NDArray[np.int64] | None,
    n_folds: int,
    C: float,
    random_state: int,
) -> TagScore:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_songs = int(y.sum())

    def skip(reason: str) -> TagScore:
        return TagScore(tag, n_songs, 0, math.nan, math.nan, skipped=reason)

    if n_songs < 2:
        return skip(f"on {n_songs} song{'' if n_songs == 1 else 's'}: at least 2 are needed")
    if len(y) - n_songs < 2:
        return skip("on all songs but one" if n_songs < len(y) else "on all songs")
    if groups is None:
        folds = StratifiedKFold(
            min(n_folds, n_songs, len(y) - n_songs), shuffle=True, random_state=random_state
        )
    else:
        n_artists = min(len(np.unique(groups[y])), len(np.unique(groups[~y])))
        if n_artists < 2:
            return skip(
                "on the songs of one artist" if len(np.unique(groups[y])) < 2 else "on all artists but one"
            )
        limit = min(n_folds, n_artists, n_songs, len(y) - n_songs)
        folds = StratifiedGroupKFold(limit, shuffle=True, random_state=random_state)
    aucs = []
    for train, test in folds.split(X, y, groups):
        if len(np.unique(y[train])) < 2 or len(np.unique(y[test])) < 2:
            continue  # an artist with most of a tag's songs can leave a fold without the tag
        # Newton steps: few, and each cheap while songs outnumber dimensions.
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=C, solver="newton-cholesky", max_iter=200)
        )
        model.fit(X[train], y[train])
        aucs.append(roc_auc_score(y[test], model.decision_function(X[test])))
    if not aucs:
        return skip("no fold has songs with it and without it on both sides")
    return TagScore(tag, n_songs, len(aucs), float(np.mean(aucs)), float(np.std(aucs)))


def check_plot(path: str | Path) -> None:
    """Raise an error, before the work whose plot it is, when :func:`plot_tags` cannot write to ``path``.

    Raises
    ------
    DcbmrError
        There is no matplotlib.
    InputError
        The ending is none that matplotlib knows, or the directory is not there or cannot be written.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise DcbmrError(f"a plot needs matplotlib: pip install 'dcbmr[report]' ({error})") from error
    path = Path(path)
    if path.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise InputError(f"the plot cannot be written to {path}: it must end in .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise InputError(f"the plot cannot be written to {path}: {path.parent} is no directory")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(
            f"the plot cannot be written to {path}: it is {'a directory' if path.is_dir() else 'read-only'}"
        )


def plot_tags(reports: Mapping[str, TagReport], path: str | Path) -> None:
    """Draw the AUC of every tag, a mark for each report, and write it to ``path`` (.png, .svg or .pdf).

    Parameters
    ----------
    reports : mapping of str to TagReport
        By the name of what the tags were told from; all of the same tags.
    path : path
        Its ending says the format.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    first = next(iter(reports.values()))
    order = np.argsort([math.inf if s.skipped else -s.auc for s in first.scores], kind="stable")
    height = np.arange(len(order))[::-1]
    figure = Figure(figsize=(7, 1.6 + 0.2 * len(order)), layout="constrained")
    axes = figure.subplots()
    for number, (name, report) in enumerate(reports.items()):
        ordered = [report.scores[row] for row in order]
        shift = 0.5 * (number / len(reports) - 0.5 + 0.5 / len(reports))
        axes.errorbar(
            [s.auc for s in ordered],
            height - shift,
            xerr=[s.auc_std for s in ordered],
            fmt="o",
            markersize=4,
            elinewidth=0.8,
            label=f"{name}: {report.mean:.3f} ± {report.std:.3f}",
        )
    axes.axvline(0.5, color="0.6", linewidth=0.8)
    axes.set_yticks(height, [f"{first.scores[row].tag} ({first.scores[row].n_songs:,})" for row in order])
    axes.set_ylim(-1, len(order))
    axes.set_xlabel("AUC (mean and standard deviation over folds)")
    figure.legend(loc="outside lower center", frameon=False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"the plot cannot be written to {path}: {error}") from error


def _checked(
    vectors: ArrayLike, has_tag: ArrayLike, tags: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    X, Y = np.asarray(vectors, np.float64), np.asarray(has_tag, bool)
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise InputError(
            "vectors must have shape (n_songs, n_dims) and has_tag (n_songs, n_tags); "
            f"got {X.shape} and {Y.shape}"
        )
    if Y.shape[1] != len(tags):
        raise InputError(f"has_tag has {Y.shape[1]} columns for {len(tags)} tags")
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise InputError(f"vectors has NaN or infinite values in {len(bad)} rows, the first is row {bad[0]}")
    return X, Y
