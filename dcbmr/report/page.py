"""The page's data: a plain record, which the library makes of a model or an experiment, on any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcbmr.report.factor_ends import FactorEnds
    from dcbmr.report.hearing import Hearing
    from dcbmr.report.song_map import SongMap


@dataclass(frozen=True)
class Stage:
    """What a stage took: time on the clock, that of all processors, and the most memory; None: not known."""

    name: str
    seconds: float
    processor_seconds: float | None = None
    memory_mib: float | None = None


@dataclass(frozen=True, eq=False)
class Page:
    """Everything that a page shows; a part that is empty is left out.

    Attributes
    ----------
    title, about : str
        The heading, and a paragraph that says what the data are.
    commands : sequence of str
        What makes it again.
    config : str
        The configuration that the commands name, as TOML.
    songs : SongMap, optional
    songs_about : str
        What the map shows, in words.
    factors : sequence of FactorEnds
        What lies at the two ends of each factor.
    hearing : Hearing, optional
        What a network hears.
    no_hearing : str
        Why there is none, in words.
    rows : sequence of dict
        The table of results, as :mod:`dcbmr.evaluation.results` has them.
    words : sequence of str
        What the table means.
    curves : mapping of str to list of (float, float)
        By the model's name: the part of the training that was done, and the mAP on validation songs.
    groups : mapping of str to sequence of dict
        By "popularity" and "activity": what :func:`dcbmr.evaluation.groups.rows_by_group` returns.
    stages : sequence of Stage
        What each stage took.
    settings : mapping
        All that the figures depend on.
    """

    title: str
    about: str = ""
    commands: Sequence[str] = ()
    config: str = ""
    songs: SongMap | None = None
    songs_about: str = ""
    factors: Sequence[FactorEnds] = ()
    hearing: Hearing | None = None
    no_hearing: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    words: Sequence[str] = ()
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    stages: Sequence[Stage] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
