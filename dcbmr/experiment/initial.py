"""A first CONFIG.toml, with comments: from what the sections say of their keys, and from the data shown."""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

from dcbmr.base.directory import check_writable
from dcbmr.base.documented import meanings
from dcbmr.contract import registry
from dcbmr.contract.params import typed
from dcbmr.errors import InputError
from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    FeatureSettings,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.rows import Row
from dcbmr.experiment.stages import check_ids
from dcbmr.factorization.als import WeightedALS
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import read_songs
from dcbmr.tuning.factorization import NOT_OF_FACTORIZATION

_WIDTH = 100


def write_initial_config(
    file: str | Path,
    *,
    plays: str | Path | Sequence[str | Path],
    songs: str | Path | None = None,
    tags: str | Path | None = None,
    audio: str | Path | None = None,
    features: str | Path | None = None,
    vectors: Mapping[str, str | Path] | None = None,
    split: Mapping[str, Any] | None = None,
    columns: str | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    min_seconds: float | None = None,
) -> None:
    """Write a CONFIG.toml for `dcbmr experiment`, with a comment on each key.

    Parameters
    ----------
    file : path
        Where to write it. The paths in it are made relative to its folder.
    plays, songs, tags, audio, features, vectors, columns, since, until, min_seconds
        The data, as :class:`dcbmr.experiment.config.DataSettings` has them. They are looked at: their sizes
        are said, and ids that do not match are an error.
    split : mapping, optional
        Keys of the section ``[split]``; by artist where artists are known, else by song, if None.

    Raises
    ------
    InputError
        The file exists; data that are not there, or do not go together.
    """
    file = Path(file)
    check_writable(file)
    if file.exists():
        raise InputError(f"{file} exists and is not overwritten; give another name")
    place = {"songs": songs, "tags": tags, "audio": audio, "features": features}
    given: dict[str, Any] = {name: Path(path) for name, path in place.items() if path is not None}
    given["vectors"] = {kind: Path(path) for kind, path in (vectors or {}).items()}
    files = [plays] if isinstance(plays, str | Path) else plays
    data = DataSettings(
        plays=tuple(map(Path, files)),
        **given,
        columns=columns,
        since=_day("since", since),
        until=_day("until", until),
        min_seconds=min_seconds,
    )
    text = initial_config(data, split=split, folder=file.resolve().parent)
    file.write_text(text, "utf-8")


def _day(name: str, given: str | date | None) -> date | None:
    try:
        return typed(given, date) if given else None
    except ValueError:
        raise InputError(f"{name} must be a day, as 2024-01-31; got {given!r}") from None


def initial_config(
    data: DataSettings,
    *,
    split: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> str:
    """Return the text of a first CONFIG.toml; see :func:`write_initial_config`.

    Parameters
    ----------
    data : DataSettings
    split : mapping, optional
    folder : path, optional
        Where the file is to lie; None for the current folder.
    """
    counts = PlayCounts.read(data.plays_source, **data.how_read)
    songs = read_songs(data.songs) if data.songs is not None else None
    check_ids(counts, songs, data)
    n_users, n_songs = counts.counts.shape
    has_artists = songs is not None and not songs.artist_of().keys().isdisjoint(counts.song_ids)
    chosen = dict(split or {"by": "artist" if has_artists else "song"})
    here = folder or Path.cwd()
    shown = {
        of.name: _relative(getattr(data, of.name), here) for of in fields(data) if getattr(data, of.name)
    }
    parts = [
        _comment(
            f"An experiment of dcbmr on {counts.counts.nnz:,} pairs of {n_users:,} users and {n_songs:,} "
            "songs. Keys that are commented out have their default value. "
            "`dcbmr experiment THIS -o DIR --dry-run` says what it would do."
        ),
        "# Seed of every random choice.\n# random_state = 0",
        _section("data", DataSettings, shown),
        _section("split", SplitSettings, chosen),
        _section("factorization", WeightedALS, {}),
        *([_section("features", FeatureSettings, {})] if data.audio or data.features else []),
        _section("training", TrainingSettings, {}),
        *(_row(row, number == 0) for number, row in enumerate(_rows(data))),
        _section("evaluation", EvaluationSettings, {}),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(data: DataSettings) -> Iterator[dict[str, Any]]:
    """Yield rows that the data are enough for: those of the paper, and linear regression on vectors."""
    if data.audio or data.features:
        yield {"name": "linear", "regressor": "linear", "loss": "mse"}
        yield {"name": "cnn-mse", "regressor": "cnn", "loss": "mse"}
    for kind in data.vectors:
        yield {"name": f"linear-{kind}", "regressor": "linear", "loss": "mse", "kinds": [kind]}


def _section(name: str, section: type, given: Mapping[str, Any]) -> str:
    """Return a section: what is given, and the other keys with their defaults as comments."""
    return "\n".join([f"[{name}]", *_keys(section, given)])


def _row(given: Mapping[str, Any], explained: bool) -> str:
    """Return a row: the first one with all keys."""
    if explained:
        return "\n".join(["[[rows]]", *_keys(Row, given)])
    return "\n".join(["[[rows]]", *(f"{key} = {toml(value)}" for key, value in given.items())])


def _keys(section: type, given: Mapping[str, Any]) -> Iterator[str]:
    meaning, said = meanings(section), ""
    for key, default in _defaults(section).items():
        if meaning[key] != said:  # two that are explained together stand together
            yield _comment(meaning[key])
        said = meaning[key]
        if key in given:
            yield f"{key} = {toml(given[key])}"
        else:
            yield f"# {key} = {toml(default)}".rstrip()


def _defaults(section: type) -> dict[str, Any]:
    """Return the keys of a section with their defaults, None for those that have none."""
    if is_dataclass(section):
        return {
            of.name: of.default_factory() if of.default_factory is not MISSING else _or_none(of.default)
            for of in fields(section)
        }
    parameters = registry.parameters(section)
    return {name: p.default for name, p in parameters.items() if name not in NOT_OF_FACTORIZATION}


def _or_none(default: Any) -> Any:
    return None if default in (MISSING, inspect.Parameter.empty) else default


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, _WIDTH))


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: _relative(inner, folder) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_relative(inner, folder) for inner in value)
    return os.path.relpath(value, folder) if isinstance(value, Path) else value


def as_toml(settings: Mapping[str, Any]) -> str:
    """Return the settings of an experiment, as results.json holds them, as a CONFIG.toml without comments."""
    plain, tables = [], []
    for name, value in settings.items():
        if name == "rows":
            tables += [("[[rows]]", row) for row in value]
        elif name == "factorization":
            tables.append(
                (f"[{name}]", {key: of for key, of in value.items() if key not in NOT_OF_FACTORIZATION})
            )
        elif isinstance(value, Mapping):
            tables.append((f"[{name}]", value))
        else:
            plain.append(f"{name} = {toml(value)}")
    sections = ["\n".join([head, *_lines(table)]) for head, table in tables]
    return "\n\n".join(["\n".join(plain), *sections]) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(name)} = {toml(value)}" for name, value in table.items() if value is not None]


def toml(value: Any) -> str:
    """Return a value as TOML; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(name)} = {toml(of)}" for name, of in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, tuple | list):
        return toml(value[0]) if len(value) == 1 else f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


def _toml_key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
