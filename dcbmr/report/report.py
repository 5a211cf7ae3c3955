"""An experiment -> one HTML file: the table, the learning curves, the song map."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.version import __version__
from dcbmr.errors import InputError
from dcbmr.evaluation.table import interval
from dcbmr.models.model import Model

if TYPE_CHECKING:
    from dcbmr.experiment.experiment import Experiment

REPORT = "report.html"
_TEMPLATE = Path(__file__).with_name("report.html.j2")
_BASELINE, _CURVE = "linear", "validation_map"
_INK, _MUTED, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_COLOURS = ("#0b6e99", "#e07a2f", "#4a9d5b", "#c2417c", "#7656b8", "#b59410", "#d1453b", "#4b5a68")
_MOST_LABELS = 12


def require_report() -> None:
    """Raise InputError unless what reports are made with is installed."""
    try:
        import jinja2
        import matplotlib  # noqa: F401

        del jinja2
    except ImportError as error:
        raise InputError(f"a report needs {error.name}: pip install 'dcbmr[report]'") from error


def write_report(
    file: Path,
    experiment: Experiment,
    *,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    title: str = "dcbmr experiment",
    about: str = "",
) -> None:
    """Write an experiment as one HTML file, which stands alone.

    Parameters
    ----------
    file : path
    experiment : Experiment
    labels : mapping of str to mapping of str to str, optional
        What is known of songs, by its name: "style" -> song -> style. The song map is coloured by each that
        has few different values; by artist if None.
    title : str
        Of the page.
    about : str
        A paragraph that says what the data are.
    """
    require_report()
    import jinja2

    results, figure = experiment.results, experiment.config.figure
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        title=title,
        about=about,
        version=__version__,
        results=results,
        figure=f"mAP@{experiment.config.evaluation.k}",
        rows=_table(results["rows"], figure),
        curves=_learning_curves(experiment.curves),
        maps=_song_maps(experiment, labels or {}),
        stages=_stages(results["seconds"]),
        total_s=sum(results["seconds"].values()),
        settings=json.dumps(results["settings"], indent=2),
    )
    Path(file).write_text(page, "utf-8")


def _table(rows: Sequence[Mapping[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Return the rows from the lowest mAP to the highest, each with its length of bar in percent."""
    highest = max(row[figure] for row in rows)
    ordered = sorted(rows, key=lambda row: row[figure])
    return [
        {
            **row,
            "map": row[figure],
            "percent": 100 * row[figure] / highest,
            "interval": interval(row[f"{figure}_low"], row[f"{figure}_high"]),
        }
        for row in ordered
    ]


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    longest = max(seconds.values(), default=1) or 1
    return [(name, value, 100 * value / longest) for name, value in seconds.items()]


def _learning_curves(reported: Mapping[str, Sequence[Mapping[str, Any]]]) -> str | None:
    """Draw the validation mAP over the course of each training that reported one."""
    curves = {}
    for name, entries in reported.items():
        # By step: an epoch that was cut short and done again counts as it was at last.
        points = {e["step"] / e["n_steps"]: e[_CURVE] for e in entries if _CURVE in e and e["n_steps"]}
        if len(points) > 1:
            curves[name] = sorted(points.items())
    if not curves:
        return None
    figure, axes = _figure(8.6, 3.4)
    for colour, (name, curve) in zip(cycle(_COLOURS), curves.items(), strict=False):
        done, values = np.array(curve, float).T
        axes.plot(100 * done, values, color=colour, linewidth=1.8, label=name)
        best = int(values.argmax())
        axes.plot(100 * done[best], values[best], "o", color=colour, markersize=6)
    axes.set_xlabel("part of the training, %")
    axes.set_ylabel("mAP on validation songs")
    axes.grid(axis="y", color=_GRID)
    axes.margins(x=0.02)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return _svg(figure)


def _song_maps(experiment: Experiment, labels: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return (model, drawing) for the baseline and for the best model."""
    models, evaluation = experiment.models, experiment.evaluation
    best = max(models, key=lambda name: evaluation.reports[name].map_at_k)
    songs = evaluation.candidates.song_ids
    if not labels and evaluation.artists is not None:
        labels = {"artist": dict(zip(songs, evaluation.artists, strict=True))}
    few = {name: of for name, of in labels.items() if len(set(of.values())) <= _MOST_LABELS}
    maps = []
    for name in dict.fromkeys(name for name in (_BASELINE, best) if name in models):
        points = song_map(Model.load(models[name]).user_factors, evaluation.predictions[name])
        maps.append((name, _draw_map(points, songs, few or labels)))
    return maps


def song_map(user_factors: NDArray[np.float32], song_factors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Place songs in the plane by t-SNE of their predicted usage patterns.

    The cosine of two usage patterns X y is the cosine of L' y with X'X = L L', which needs no vector as
    long as there are users.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, n_factors)
    song_factors : ndarray of shape (n_songs, n_factors)

    Returns
    -------
    ndarray of shape (n_songs, 2)
    """
    from sklearn.manifold import TSNE

    usage = usage_coordinates(user_factors, song_factors)
    perplexity = min(30.0, max(1.0, (len(usage) - 1) / 3))
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(usage))


def usage_coordinates(
    user_factors: NDArray[np.float32], song_factors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return unit vectors whose inner products are the cosines of the songs' usage patterns.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, n_factors)
    song_factors : ndarray of shape (n_songs, n_factors)

    Returns
    -------
    ndarray of shape (n_songs, n_factors)
    """
    X = np.asarray(user_factors, np.float64)
    gram = X.T @ X
    jitter = 1e-12 * np.trace(gram) / len(gram) * np.eye(len(gram))
    usage = np.asarray(song_factors, np.float64) @ np.linalg.cholesky(gram + jitter)
    return np.asarray(usage / np.maximum(np.linalg.norm(usage, axis=1, keepdims=True), 1e-12))


def _draw_map(points: NDArray[Any], songs: Sequence[str], labels: Mapping[str, Mapping[str, str]]) -> str:
    figure, all_axes = _figure(4.3 * max(1, len(labels)), 4.6, max(1, len(labels)))
    for axes, (name, of) in zip(np.atleast_1d(all_axes), (labels or {"": {}}).items(), strict=True):
        values = np.array([of.get(song, "") for song in songs])
        size = np.clip(6000 / len(songs), 4, 40)
        distinct = sorted(set(values))
        for number, value in enumerate(distinct):
            chosen = values == value
            colour = _COLOURS[number % len(_COLOURS)]
            axes.scatter(*points[chosen].T, s=size, color=colour, linewidths=0, label=value, alpha=0.85)
        axes.set_title(f"by {name}" if name else "", loc="left", fontsize=10, color=_INK)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_color(_GRID)
            side.set_visible(True)
        if 1 < len(distinct) <= _MOST_LABELS:
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False,
                handletextpad=0.1, columnspacing=1, labelcolor=_INK,
            )  # fmt: skip
    return _svg(figure)


def _figure(width: float, height: float, n_columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n_columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(_MUTED)
        one.tick_params(colors=_MUTED, labelsize=8)
        one.xaxis.label.set_color(_MUTED)
        one.yaxis.label.set_color(_MUTED)
    return figure, axes


def _svg(figure: Any) -> str:
    """Return a figure as an ``<svg>`` element; text stays text."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcbmr"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]
