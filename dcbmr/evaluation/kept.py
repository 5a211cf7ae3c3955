"""An evaluation, and how it is kept: a directory that says everything that the table was made of.

    config.json     kind "evaluation", format_version, dcbmr_version, and the settings
    results.json    the rows, the tests and the words: see :mod:`dcbmr.evaluation.results`
    songs.parquet   song, artist (null where none is known): the candidates, in the order of scoring
    users.parquet   model, user, n_heldout, n_candidates, and a column for each metric of ranks
    plays.parquet   model, user, song, rank, above, level: each held-out play, a user's best first

``model`` is the row of the table. ``rank`` is that among the user's candidates, from 1, with ties against the
model; ``above`` and ``level`` count the candidates that are not held out and that score more, or the same.
Nothing in it is executed when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dcbmr.base.directory import HEADER, new_directory, read_config, reading, write_json
from dcbmr.base.text import text_table
from dcbmr.evaluation.candidates import ScoredSongs
from dcbmr.evaluation.figures import metric_name
from dcbmr.evaluation.results import RESULTS, for_json, read_results
from dcbmr.evaluation.statistics import Comparison, Interval
from dcbmr.evaluation.table import shown_rows, who_was_ranked
from dcbmr.plays.counts import ids_array
from dcbmr.ranking.metrics import RANK_METRICS
from dcbmr.ranking.ranks import HeldoutRanks
from dcbmr.ranking.report import RankingReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KIND = "evaluation"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`dcbmr.evaluate_models` found.

    Attributes
    ----------
    rows : list of dict
        One row a model, then the baselines and "upper-bound" if asked for, then "random" (drawn once) and
        "random (in theory)"; :mod:`dcbmr.evaluation.results` says what is in them.
    reports : dict of str to RankingReport
        The ranks behind each row that has any. Their ``users`` are rows of ``user_ids``, their songs rows of
        ``candidates.song_ids``.
    candidates : ScoredSongs
        Which songs were scored.
    predictions : dict of str to ndarray of shape (n_songs, width), float32
        What each model predicted for the songs of ``candidates``; empty where the evaluation was loaded.
    user_ids : ndarray of object
        The users who hold out songs.
    artists : list of str, or None
        The artist of each candidate, an unknown one's being the song; None where none is known.
    comparisons : list of Comparison
        Of the mAP of each pair of models, and of the baselines that know something.
    words : list of str
        What the table means, and what a reader should know.
    settings : dict
        k, random_state, n_resamples, and how the split was made.
    """

    rows: list[dict[str, Any]]
    reports: dict[str, RankingReport]
    candidates: ScoredSongs
    predictions: dict[str, NDArray[np.float32]]
    user_ids: NDArray[np.object_]
    artists: list[str] | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        first = next(iter(self.reports.values()))
        shown = ", ".join(f"{name!r}: {report.map_at_k:.4f}" for name, report in self.reports.items())
        return f"Evaluation(map_at_{first.k}={{{shown}}}, n_users={first.n_users}, n_songs={first.n_songs})"

    def table(self) -> str:
        """Return the rows as a text table, and under it what it means, in words."""
        return "\n".join([text_table(shown_rows(self.rows)), "", who_was_ranked(self.rows), *self.words])

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the evaluation as a directory that appears whole or not at all."""
        with new_directory(Path(directory), kind=KIND, config=self.settings, overwrite=overwrite) as folder:
            _write_songs(folder / "songs.parquet", self.candidates.song_ids, self.artists)
            _write_users(folder / "users.parquet", self.reports, self.user_ids)
            _write_plays(folder / "plays.parquet", self.reports, self.user_ids, self.candidates.song_ids)
            write_json(
                folder / RESULTS,
                {
                    "rows": self.rows,
                    "comparisons": [for_json(asdict(comparison)) for comparison in self.comparisons],
                    "words": self.words,
                    "settings": self.settings,
                    "left_out": {name: report.left_out for name, report in self.reports.items()},
                    "without_features": self.candidates.without_features,
                    "without_plays": self.candidates.without_plays,
                },
            )

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what :meth:`save` wrote; all but the predictions is there again.

        Raises
        ------
        InputError
            The directory holds no evaluation, or one that is damaged.
        """
        directory = Path(directory)
        config = read_config(directory, kind=KIND)
        results = read_results(directory)
        with reading(directory):
            songs = _read(directory / "songs.parquet")
            users, plays = _read(directory / "users.parquet"), _read(directory / "plays.parquet")
            song_ids = songs["song"].to_pylist()
            artists = songs["artist"].to_pylist()
            user_ids = _dictionary(users["user"])
            k, left_out = int(config["k"]), results.content["left_out"]
            reports = _reports(users, plays, user_ids, song_ids, k, left_out)
            return cls(
                rows=results.rows,
                reports=reports,
                candidates=ScoredSongs(
                    song_ids, results.content["without_features"], results.content["without_plays"]
                ),
                predictions={},
                user_ids=ids_array(user_ids, "users"),
                artists=None if None in artists else artists,
                comparisons=[_comparison(entry) for entry in results.content["comparisons"]],
                words=results.words,
                settings={name: value for name, value in config.items() if name not in HEADER},
            )


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    def numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {name: math.nan if value is None else value for name, value in entry.items()}

    return Comparison(**{**numbers(entry), "difference": Interval(**numbers(entry["difference"]))})


def _write(file: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(columns)), file, compression="zstd")


def _read(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(file)
    except pa.ArrowException as error:
        raise ValueError(f"{file.name}: {error}") from error


def _names(names: Sequence[str] | NDArray[np.object_], rows: NDArray[Any]) -> Any:
    """Return a column of names, of which each is written once."""
    import pyarrow as pa

    numbers: Any = pa.array(rows.astype(np.int32))
    return pa.DictionaryArray.from_arrays(numbers, pa.array(list(names), type=pa.string()))


def _write_songs(file: Path, song_ids: Sequence[str], artists: Sequence[str] | None) -> None:
    import pyarrow as pa

    of = pa.nulls(len(song_ids), pa.string()) if artists is None else pa.array(artists, pa.string())
    _write(file, {"song": pa.array(song_ids, pa.string()), "artist": of})


def _write_users(file: Path, reports: Mapping[str, RankingReport], user_ids: NDArray[np.object_]) -> None:
    every = list(reports.values())
    model = np.repeat(np.arange(len(every)), [report.n_users for report in every])
    columns: dict[str, Any] = {
        "model": _names(list(reports), model),
        "user": _names(user_ids, np.concatenate([report.users for report in every])),
        "n_heldout": np.concatenate([report.n_heldout for report in every]).astype(np.int32),
        "n_candidates": np.concatenate([report.ranks.n_candidates for report in every]).astype(np.int32),
    }
    for metric in RANK_METRICS:
        name = metric_name(metric, every[0].k)
        columns[name] = np.concatenate([report.of_users(metric) for report in every])
    _write(file, columns)


def _write_plays(
    file: Path, reports: Mapping[str, RankingReport], user_ids: NDArray[np.object_], song_ids: Sequence[str]
) -> None:
    every = list(reports.values())
    model = np.repeat(np.arange(len(every)), [len(report.ranks.songs) for report in every])
    columns: dict[str, Any] = {
        "model": _names(list(reports), model),
        "user": _names(user_ids, np.concatenate([report.users[report.ranks.users] for report in every])),
        "song": _names(song_ids, np.concatenate([report.ranks.songs for report in every])),
    }
    for name in ("ranks", "above", "level"):
        values = np.concatenate([getattr(report.ranks, name) for report in every])
        columns[name.removesuffix("s")] = values.astype(np.int32)
    _write(file, columns)


def _reports(
    users: Any,
    plays: Any,
    user_ids: Sequence[str],
    song_ids: Sequence[str],
    k: int,
    left_out: Mapping[str, dict[str, int]],
) -> dict[str, RankingReport]:
    """Return the report of each row of the table."""
    user_of, song_of = ({name: i for i, name in enumerate(names)} for names in (user_ids, song_ids))
    row_of = {name: i for i, name in enumerate(left_out)}
    model, model_of_play = _rows(users["model"], row_of), _rows(plays["model"], row_of)
    user = _rows(users["user"], user_of)
    song = _rows(plays["song"], song_of).astype(np.int32)
    n_heldout, n_candidates = (
        users[name].to_numpy().astype(np.int64) for name in ("n_heldout", "n_candidates")
    )
    above, level = (plays[name].to_numpy().astype(np.int64) for name in ("above", "level"))
    reports = {}
    for name, why in left_out.items():
        mine, my_plays = model == row_of[name], model_of_play == row_of[name]
        indptr = np.concatenate([[0], np.cumsum(n_heldout[mine])])
        if indptr[-1] != np.count_nonzero(my_plays) or not indptr[-1] or n_heldout[mine].min() < 1:
            raise ValueError(f"users.parquet and plays.parquet disagree about {name!r}")
        ranks = HeldoutRanks(indptr, song[my_plays], above[my_plays], level[my_plays], n_candidates[mine])
        reports[name] = RankingReport(ranks, user[mine], len(song_ids), k, dict(why))
    return reports


def _dictionary(column: Any) -> list[str]:
    """Return the names that a column was written with, in their order: all users, those left out too."""
    return [str(name) for name in column.combine_chunks().dictionary_encode().dictionary.to_pylist()]


def _rows(column: Any, row_of: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the row of each name of a column, most of which are there many times."""
    encoded = column.combine_chunks().dictionary_encode()
    rows = np.array([row_of[name] for name in encoded.dictionary.to_pylist()], np.int64)
    return np.asarray(rows[encoded.indices.to_numpy()])
