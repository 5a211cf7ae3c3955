"""What an experiment is to do: the sections of its CONFIG.toml, one dataclass each.

A key is a field: its type and its default stand there, its meaning in the docstring, and its range in
``__post_init__``. :mod:`dcbmr.experiment.reading` reads files by them, :mod:`dcbmr.experiment.initial` writes
one from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal

from dcbmr.datasets.world import WorldSettings
from dcbmr.errors import InputError
from dcbmr.experiment.rows import OF_WORDS, Row, TuneSettings
from dcbmr.factorization.als import WeightedALS


@dataclass(frozen=True)
class DataSettings:
    """The files, relative to that of the configuration.

    Attributes
    ----------
    plays : path or several
        Who played what how often: user, song and count, or a row for each play.
    columns : str
        Its columns of user, song and count: names of its header, or numbers from 1.
    since : date
        Of a log, count the plays from this day on.
    until : date
        Of a log, count the plays before this day.
    min_seconds : number
        Of a log, count the plays that lasted as long.
    n_songs : whole number
        Keep as many songs, those with most listeners.
    n_users : whole number
        Keep as many users, those who played most of these songs.
    songs : path
        The table of songs: song, artist, title and date. Known artists keep their songs together.
    tags : path
        Lines of song, tag and, optionally, weight.
    audio : path
        A folder of audio files, or a manifest (song, path). Only the kinds are made that the rows need.
    features : path
        Or what `dcbmr featurize` wrote.
    vectors : table of kind to path
        Vectors of songs made elsewhere, as `dcbmr featurize --vectors` takes them, each under the name of its
        kind.
    """

    plays: tuple[Path, ...]
    columns: str | None = None
    since: date | None = None
    until: date | None = None
    min_seconds: float | None = None
    n_songs: int | None = None
    n_users: int | None = None
    songs: Path | None = None
    tags: Path | None = None
    audio: Path | None = None
    features: Path | None = None
    vectors: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in (("n_songs", self.n_songs), ("n_users", self.n_users)):
            if value is not None and value < 2:
                raise InputError(f"{key} must be at least 2; got {value}")
        if self.audio and self.features:
            raise InputError("features exclude audio: give one of the two")
        if not (self.audio or self.features or self.vectors):
            raise InputError("audio, features or vectors must be given: models predict from them")

    @property
    def plays_source(self) -> Path | list[Path]:
        """The plays as :meth:`dcbmr.PlayCounts.read` takes them: a folder must be alone."""
        return self.plays[0] if len(self.plays) == 1 else list(self.plays)

    @property
    def how_read(self) -> dict[str, Any]:
        """How the plays are read."""
        days = {"since": self.since, "until": self.until}
        shown = {name: None if day is None else day.isoformat() for name, day in days.items()}
        return {"columns": self.columns, **shown, "min_seconds": self.min_seconds}


@dataclass(frozen=True)
class SplitSettings:
    """Which songs are held out.

    Attributes
    ----------
    by : song, artist, time or list
        Single songs, all songs of an artist together, songs that are newer than a date, or those of lists.
    fraction : number
        Share of the songs that is held out, by song and by artist.
    folds : whole number
        In place of a share, hold out each song once: as many experiments, pooled.
    after : date
        By time: songs dated after it are held out.
    dates : songs or plays
        Where their dates are: in the table of songs, or in a log of plays, of which a song's first counts.
    heldout : path or several
        By list: files of ids, one a line; of several files, each is a fold.
    """

    by: Literal["song", "artist", "time", "list"] = "song"
    fraction: float = 0.2
    folds: int | None = None
    after: date | None = None
    dates: Literal["songs", "plays"] = "songs"
    heldout: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InputError(f"fraction must lie between 0 and 1; got {self.fraction}")
        if self.folds is not None and self.folds < 2:
            raise InputError(f"folds must be at least 2; got {self.folds}")
        for key, given, belongs in (
            ("folds", self.folds, ("song", "artist")),
            ("after", self.after, ("time",)),
            ("heldout", self.heldout, ("list",)),
        ):
            if given and self.by not in belongs:
                raise InputError(f"{key} is for a split by {' or '.join(belongs)}, and this is by {self.by}")
        if self.by == "time" and not self.after:
            raise InputError("by is 'time': give the date, after = 2012-06-01")
        if self.by == "list" and not self.heldout:
            raise InputError("by is 'list': give the files of ids, heldout = ['test.txt']")

    @property
    def n_folds(self) -> int:
        """How many times songs are held out."""
        return self.folds or len(self.heldout) or 1


@dataclass(frozen=True)
class FeatureSettings:
    """How features are made of audio, and words of them.

    Attributes
    ----------
    n_words : whole number or several
        Words of the codebook (the paper's 4000), for regressors on bag of words. Of several sizes the one is
        taken whose linear regression, learned without the validation songs, ranks these best.
    variance : number
        Share of the variance of the word counts that the PCA keeps (the paper's 0.95).
    weighting : count or sqrt
        Word counts, as in the paper, or their square roots.
    standardize : true or false
        Learn the codebook from standardized frames.
    offset : number
        Seconds to skip in each file.
    duration : number
        Seconds to read of each file at most.
    params : table
        Parameters of the extractors, "NAME" or "KIND.NAME".
    codebook : path
        From `dcbmr codebook`, learned without the held-out songs: data.features hold its words
        (`dcbmr featurize --kind bow`), and n_words is its own.
    """

    n_words: tuple[int, ...] = (4000,)
    variance: float = 0.95
    weighting: Literal["count", "sqrt"] = "count"
    standardize: bool = True
    offset: float = 0.0
    duration: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    codebook: Path | None = None

    def __post_init__(self) -> None:
        if not self.n_words or min(self.n_words) < 2:
            raise InputError(f"n_words must be at least 2; got {list(self.n_words)}")
        if not 0 < self.variance <= 1:
            raise InputError(f"variance must lie above 0 and be at most 1; got {self.variance}")
        if self.offset < 0:
            raise InputError(f"offset must be at least 0; got {self.offset}")
        if self.duration is not None and not self.duration > 0:
            raise InputError(f"duration must be above 0; got {self.duration}")


@dataclass(frozen=True)
class TrainingSettings:
    """What all rows share.

    Attributes
    ----------
    validation_fraction : number
        Share of the training songs for early stopping and choice, by artist where artists are known.
    """

    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction <= 0.9:
            raise InputError(
                f"validation_fraction must lie between 0 and 0.9; got {self.validation_fraction}"
            )


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured on the held-out songs.

    Attributes
    ----------
    k : whole number
        Cut-off of the mean average precision.
    upper_bound : true or false
        Add the row of factors of all plays, which audio cannot surpass.
    baselines : true or false
        Add rows for shuffled audio, the nearest songs, a user's plays of the artist, the mean song.
    tags : true or false
        Add the row of the user's plays of songs with the same tags.
    n_resamples : whole number
        Draws of users and artists, for intervals and tests; 0 for neither.
    report : true or false
        Write report.html.
    """

    k: int = 500
    upper_bound: bool = True
    baselines: bool = False
    tags: bool = False
    n_resamples: int = 1000
    report: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k must be at least 1; got {self.k}")
        if self.n_resamples < 0:
            raise InputError(f"n_resamples must be at least 0; got {self.n_resamples}")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything that the table depends on.

    Attributes
    ----------
    rows : tuple of Row
        What to train.
    data : DataSettings, optional
        The files; or
    world : WorldSettings, optional
        the embedded world of synthesized songs and users, as in the demo.
    split : SplitSettings
    factorization : mapping
        Settings of :class:`dcbmr.WeightedALS` that differ from its defaults.
    features : FeatureSettings
    training : TrainingSettings
    evaluation : EvaluationSettings
    tune : TuneSettings, optional
        Settings of the factorization are then chosen for each fold, and the others are as above.
    random_state : int
        Seed of every random choice.

    Raises
    ------
    InputError
        A value out of its range, or values that do not go together.
    """

    rows: tuple[Row, ...]
    data: DataSettings | None = None
    world: WorldSettings | None = None
    split: SplitSettings = field(default_factory=SplitSettings)
    factorization: Mapping[str, Any] = field(default_factory=dict)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    tune: TuneSettings | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        if (self.data is None) == (self.world is None):
            raise InputError("[data] names the files, or [world] makes them: wanted one of the two")
        if not self.rows:
            raise InputError("[[rows]] is missing: there is nothing to train")
        if self.random_state < 0:
            raise InputError(f"random_state must be at least 0; got {self.random_state}")
        names = [row.name for row in self.rows]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"rows: two are called {name!r}")
        several = {len(row.seeds) for row in self.rows if len(row.seeds) > 1}
        if len(several) > 1:
            raise InputError("rows: those of several seeds must have the same number of them, to be pooled")
        self.als()
        if self.tune is not None and (twice := self.tune.factorization.keys() & self.factorization.keys()):
            raise InputError(f"tune.factorization chooses {min(twice)}, which [factorization] gives")
        if self.data is not None:
            self._check_data(self.data)

    def _check_data(self, data: DataSettings) -> None:
        dates_of_songs = self.split.by == "time" and self.split.dates == "songs"
        if (self.split.by == "artist" or dates_of_songs) and data.songs is None:
            needs = "dates" if self.split.by == "time" else "artists"
            raise InputError(f"split.by is {self.split.by!r}, which needs {needs}: give data.songs")
        if self.features.codebook is not None:
            if data.features is None:
                raise InputError("features.codebook is for words that are stored: give data.features")
            for row in self.rows:
                if row.tune is not None and OF_WORDS.intersection(row.learns_from):
                    raise InputError(
                        f"features.codebook has seen the songs that row {row.name!r} is tuned by: leave one "
                        "of the two out"
                    )
        if self.evaluation.tags and data.tags is None:
            raise InputError("evaluation.tags is true, which needs data.tags")

    def als(self, **options: Any) -> WeightedALS:
        """Return the factorization that is wanted."""
        als = WeightedALS(**{"random_state": self.random_state, **self.factorization, **options})
        als.settings()
        return als

    @property
    def n_seeds(self) -> int:
        """How many times rows of several seeds are trained."""
        return max((len(row.seeds) for row in self.rows), default=1) or 1

    @property
    def figure(self) -> str:
        """What the mean average precision is called in a row of the table."""
        return f"map_at_{self.evaluation.k}"

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        settings = {of.name: getattr(self, of.name) for of in fields(self)}
        shown: dict[str, Any] = _plain(settings)
        shown["factorization"] = self.als().settings()
        return {name: value for name, value in shown.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return settings in the types of JSON."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path | date):
        return str(value)
    return _plain(asdict(value)) if hasattr(value, "__dataclass_fields__") else value
