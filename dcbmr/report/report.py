"""A page as one HTML file, which fetches nothing: Bokeh's own script is in it, and ours, and the data.

Scripts are allowed by their hash, and nothing is evaluated: Bokeh draws on a canvas. Its WebGL would need
'unsafe-eval', and is not used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.version import __version__
from dcbmr.errors import DcbmrError, InputError
from dcbmr.report.audio import CLIP_S
from dcbmr.report.page import Page
from dcbmr.report.paper import rows_of_paper
from dcbmr.report.song_map import Label, SongMap
from dcbmr.report.table import shown_groups, shown_table

if TYPE_CHECKING:
    from dcbmr.models.explain import WindowScores
    from dcbmr.report.hearing import Hearing

REPORT = "report.html"
_HERE = Path(__file__).parent
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
_DASHES = ("solid", "dashed", "dotted", "dotdash")


def require_report() -> None:
    """Raise InputError unless what reports are made with is installed."""
    try:
        import bokeh
        import jinja2
        import openTSNE
        import PIL  # noqa: F401

        del bokeh, jinja2, openTSNE
    except ImportError as error:
        raise InputError(f"a report needs {error.name}: pip install 'dcbmr[report]'") from error


def save_page(file: Path | str, page: Page) -> None:
    """Write a page as one HTML file, whole or not at all.

    Parameters
    ----------
    file : path
    page : Page

    Raises
    ------
    InputError
        The extra ``report`` is not installed.
    DcbmrError
        The file cannot be written.
    """
    require_report()
    html = draw(page)
    file = Path(file)
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(html, "utf-8")
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DcbmrError(f"{file} could not be written: {error.strerror}") from error


def draw(page: Page) -> str:
    """Return a page as HTML."""
    import jinja2
    from bokeh.embed import json_item

    charts = {}
    if page.curves:
        charts["curves"] = _curves(page)
    if page.songs is not None:
        charts["map"] = _map(page.songs.positions)
    scripts = [*([_bokeh()] if charts else []), (_HERE / "page.js").read_text("utf-8")]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((_HERE / "page.html.j2").read_text("utf-8")).render(
        page=page,
        version=__version__,
        style=(_HERE / "page.css").read_text("utf-8"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        charts=_json({name: json_item(chart) for name, chart in charts.items()}),
        songs=_json(None if page.songs is None else songs_for_json(page.songs, page.hearing)),
        n_cold=0 if page.songs is None else int(page.songs.is_cold.sum()),
        table=shown_table(page.rows),
        paper=rows_of_paper(page.rows),
        sounds={} if page.hearing is None else page.hearing.factors,
        groups={by: shown_groups(rows) for by, rows in page.groups.items()},
        total_s=sum(stage.seconds for stage in page.stages),
        longest_s=max((stage.seconds for stage in page.stages), default=1) or 1,
        settings=json.dumps(page.settings, indent=2, default=str),
        versions=_versions(),
    )


def _bokeh() -> str:
    import bokeh

    return (Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js").read_text("utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """Return JSON that ends no element of HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A lone surrogate, which a file of another encoding may hold, is none of UTF-8.
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def songs_for_json(songs: SongMap, hearing: Hearing | None = None) -> dict[str, Any]:
    """Return the songs as page.js reads them: columns, those of numbers as little-endian bytes in base64."""
    prefix = _common_start(songs.audio.values())
    return {
        "ids": songs.song_ids,
        "titles": songs.titles if any(songs.titles) else None,
        "x": _numbers(songs.positions[:, 0], "f4"),
        "y": _numbers(songs.positions[:, 1], "f4"),
        "cold": _numbers(songs.is_cold, "u1"),
        "labels": [_label(label) for label in songs.labels],
        "measures": [
            {"name": m.name, "meaning": m.meaning, "values": _numbers(m.values, "f4")} for m in songs.measures
        ],
        "neighbours": [
            {"name": name, "rows": _numbers(near, "i4")} for name, near in songs.neighbours.items()
        ],
        "listenersPlay": None if songs.listeners_play is None else _label(songs.listeners_play),
        "audioStart": prefix,
        "audio": [songs.audio.get(song, "")[len(prefix) :] for song in songs.song_ids]
        if songs.audio
        else None,
        "clipSeconds": CLIP_S,
        "seconds": _seconds(hearing.seconds) if hearing is not None and hearing.seconds else None,
    }


def _seconds(of_songs: Mapping[int, WindowScores]) -> dict[str, Any]:
    """Return the windows of songs one after another, and where those of each begin."""
    every = list(of_songs.values())
    first = np.cumsum([0, *(len(one.scores) for one in every)])
    return {
        "songs": _numbers(np.array(list(of_songs)), "i4"),
        "first": _numbers(first, "i4"),
        "starts": _numbers(np.concatenate([one.start_s for one in every]), "f4"),
        "ends": _numbers(np.concatenate([one.end_s for one in every]), "f4"),
        "scores": _numbers(np.concatenate([one.scores for one in every]), "f4"),
    }


def _label(label: Label) -> dict[str, Any]:
    return {"name": label.name, "values": label.values, "codes": _numbers(label.codes, "i4")}


def _numbers(values: NDArray[Any], dtype: str) -> dict[str, str]:
    bytes_ = np.ascontiguousarray(values, f"<{dtype}").tobytes()
    return {"dtype": dtype, "base64": base64.b64encode(bytes_).decode()}


def _common_start(texts: Iterable[str]) -> str:
    every = list(texts)
    first, last = (min(every), max(every)) if every else ("", "")
    return first[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))]


def _map(positions: NDArray[np.float32]) -> Any:
    """Return the figure of the map, empty: page.js fills it from the songs, which are on the page once."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d
    from bokeh.plotting import figure

    names = ("x", "y", "colour", "marker", "filled", "size", "title", "artist", "tags")
    songs = ColumnDataSource({name: [] for name in names}, name="songs")
    marks = ColumnDataSource({name: [] for name in ("x", "y", "size")}, name="marks")
    low, high = positions.min(axis=0), positions.max(axis=0)
    margin = 0.05 * (high - low).max() or 1.0
    x_range, y_range = (Range1d(float(a - margin), float(b + margin)) for a, b in zip(low, high, strict=True))
    chart = figure(
        name="map", x_range=x_range, y_range=y_range,
        tools="pan,wheel_zoom,tap,reset", active_scroll="wheel_zoom", sizing_mode="stretch_both",
        toolbar_location="above", output_backend="canvas", lod_threshold=2000, lod_factor=10,
        border_fill_color=None, background_fill_color=None, outline_line_color=None,
    )  # fmt: skip
    chart.axis.visible = False
    chart.grid.visible = False
    drawn = chart.scatter(
        "x", "y", source=songs, size="size", marker={"field": "marker"}, line_color="colour",
        fill_color="colour", fill_alpha="filled", line_alpha=0.9, line_width=1,
        nonselection_fill_alpha="filled", nonselection_line_alpha=0.9,
    )  # fmt: skip
    chart.scatter(
        "x", "y", source=marks, size="size", marker="circle", fill_color=None, line_color="#d01c8b",
        line_width=2,
    )  # fmt: skip
    tips = [("", "@title"), ("", "@artist"), ("", "@tags")]
    chart.add_tools(HoverTool(tooltips=tips, renderers=[drawn]))
    chart.toolbar.logo = None
    return chart


def _curves(page: Page) -> Any:
    from bokeh.plotting import figure

    chart = figure(
        name="curves", height=320, sizing_mode="stretch_width", tools="pan,wheel_zoom,reset",
        x_axis_label="part of the training, %", y_axis_label="mAP on validation songs",
        border_fill_color=None, background_fill_color=None, outline_line_color=None,
    )  # fmt: skip
    looks = zip(cycle(_COLOURS), cycle(_DASHES), strict=False)
    for (name, points), (colour, dash) in zip(page.curves.items(), looks, strict=False):
        done, values = np.array(points, float).T
        chart.line(100 * done, values, color=colour, line_dash=dash, line_width=2, legend_label=name)
        best = int(values.argmax())
        chart.scatter([100 * done[best]], [values[best]], color=colour, size=9, legend_label=name)
    chart.legend.background_fill_alpha = 0
    chart.legend.border_line_color = None
    chart.legend.orientation = "horizontal"
    chart.legend.ncols = 3
    chart.add_layout(chart.legend[0], "above")  # over no line
    chart.toolbar.logo = None
    return chart


def _versions() -> dict[str, str]:
    """Return the versions that figures may hang on, of what is installed."""
    found = {"Python": platform.python_version()}
    for name in (
        "dcbmr",
        "numpy",
        "scipy",
        "scikit-learn",
        "torch",
        "soxr",
        "soundfile",
        "openTSNE",
        "bokeh",
    ):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
