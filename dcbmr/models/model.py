"""A trained model: the regressor, what prepares its features, and the factors it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import blocks, in_columns, rows_of
from dcbmr.base.directory import FORMATS, new_directory, read_config, reading
from dcbmr.base.progress import Progress, silent
from dcbmr.contract import registry
from dcbmr.contract.contract import HasUsers, Regressor, RegressorSpec, SongFeatures
from dcbmr.contract.faults import calling, fault_of, is_built_in, named
from dcbmr.contract.features import FeatureConfig
from dcbmr.contract.provenance import check_made_as, how_to_get, warn_of_another_version
from dcbmr.errors import DcbmrError, InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.codebook import Codebook, check_frames
from dcbmr.features.featurize import features_of_files
from dcbmr.features.joined import JoinedPipeline, load_pipeline
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.recipe import Recipe
from dcbmr.features.store import FeatureStore
from dcbmr.features.stored_kind import check_brought, is_brought
from dcbmr.features.words import WORDS
from dcbmr.plays.groups import artist_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND = "model"
KINDS = (KIND, "stack")  # which take each other's place
VERSION = FORMATS[KIND]
_ROWS = "training_songs.npy"
# Songs whose frames are predicted from at once: a network tells nothing until it is through with them.
_BLOCK_SONGS = 256


class Model:
    """A regressor with everything that its predictions need; :func:`dcbmr.train` makes one.

    Of a model that was loaded, the factors are read when they are first asked for: to predict it does not
    need them, to recommend it does.

    Attributes
    ----------
    regressor : Regressor
        The fitted regressor.
    spec : RegressorSpec
        How its plugin offers it.
    pipeline : FeaturePipeline or JoinedPipeline
        From what a store holds to the regressor's features, of one kind or of several.
    factors : Factors
        What factorize learned, of all its users and songs; ``factors.heldout_songs`` are the songs that
        they were fitted without.
    song_ids : list of str
        The songs it was trained on.
    user_ids : ndarray of shape (n_users,), object
    user_factors : ndarray of shape (n_users, width), float32
        The users whose inner product with a prediction is the score.
    own_user_factors : ndarray of shape (n_users, width), float32, or None
        Users of the model's own (metric learning); None where the factors' users serve.
    config : dict
        Every setting, as in ``config.json``.
    """

    def __init__(
        self,
        regressor: Regressor,
        spec: RegressorSpec,
        pipeline: FeaturePipeline | JoinedPipeline,
        *,
        factors: Callable[[], Factors],
        training_rows: NDArray[np.int64],
        config: dict[str, Any],
    ) -> None:
        """Put a model together; ``training_rows`` are the rows in ``factors().song_ids`` that it saw."""
        self.regressor = regressor
        self.spec = spec
        self.pipeline = pipeline
        self.config = config
        self._factors = factors
        self._training_rows = training_rows

    def __repr__(self) -> str:
        loss = f", loss={self.loss!r}" if self.loss else ""
        sizes = ", ".join(f"{name}={self.config[name]}" for name in ("n_songs", "n_users", "n_factors"))
        return f"Model({self.spec.name!r}{loss}, kind={self.kind!r}, {sizes})"

    @property
    def kind(self) -> str:
        """The kind of feature that the regressor was trained on."""
        return self.pipeline.kind

    @property
    def loss(self) -> str | None:
        """Its objective; None for a regressor that has none to choose."""
        return getattr(self.regressor, "loss", None)

    @property
    def pipelines(self) -> tuple[FeaturePipeline | JoinedPipeline, ...]:
        """What prepares its features, as a tuple of one: a stack has several."""
        return (self.pipeline,)

    @property
    def factors(self) -> Factors:
        """What factorize learned; see the class."""
        return self._factors()

    @cached_property
    def song_ids(self) -> list[str]:
        """The songs it was trained on, in the row order of the features given to fit."""
        return [self.factors.song_ids[row] for row in self._training_rows]

    @property
    def user_ids(self) -> NDArray[np.object_]:
        """The users, in the row order of :attr:`user_factors`."""
        return self.factors.user_ids

    @property
    def user_factors(self) -> NDArray[np.float32]:
        """The users whose inner product with a prediction is the score, (n_users, width) float32."""
        return self.factors.user_factors if self.own_user_factors is None else self.own_user_factors

    @cached_property
    def own_user_factors(self) -> NDArray[np.float32] | None:
        """Users of the model's own, (n_users, width) float32, made of the plays; None where it has none."""
        if not self.spec.has_users:
            return None
        return self._own_users(csr_array(self.factors.counts[:, self._training_rows]), self.user_ids)

    def _own_users(
        self, counts: csr_array, names: Sequence[str] | NDArray[np.object_]
    ) -> NDArray[np.float32]:
        with calling(self.spec, "user_factors"):
            users = cast(HasUsers, self.regressor).user_factors(counts)
        return self._checked("made user factors of", users, names, self.config.get("width"))

    @cached_property
    def sources(self) -> Mapping[str, FeatureConfig]:
        """What the stored features are that it was trained on, by kind, and were made with."""
        kept = self.config["features"]
        configs = map(FeatureConfig.from_json, kept if isinstance(kept, list) else [kept])
        return {config.kind: config for config in configs}

    @property
    def brought_kinds(self) -> tuple[str, ...]:
        """The kinds of vectors among them that no audio tells."""
        return tuple(kind for kind, config in self.sources.items() if is_brought(config))

    def predict(self, features: SongFeatures) -> NDArray[np.float32]:
        """Return predictions for songs whose stored features are given, (n_songs, width) float32.

        Raises
        ------
        DcbmrError
            The regressor returned another shape, or numbers that are not finite: the songs are named.
        """
        return self._predict(self.pipeline.make(features.song_ids, {features.kind: features}))

    def _predict(self, features: SongFeatures) -> NDArray[np.float32]:
        with calling(self.spec, "predict"):
            predicted = self.regressor.predict(features)
        return self._checked("predicted", predicted, features.song_ids, self.config["width"])

    def _checked(
        self, complaint: str, made: Any, names: Sequence[str] | NDArray[np.object_], width: int | None
    ) -> NDArray[np.float32]:
        """Return what the regressor made, a row for each name, or say why it is not what was agreed on."""
        culprit = f"{named(self.spec)} {complaint}"
        if fault := fault_of(made, (len(names), width or "width")):
            raise DcbmrError(f"{culprit} {fault}")
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and named below
            checked: NDArray[np.float32] = made.astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(checked).all(axis=1))
        if len(bad):
            some = ", ".join(str(names[row]) for row in bad[:3])
            raise DcbmrError(f"{culprit} numbers that are not finite for {len(bad)} of {len(names)}: {some}")
        return checked

    def predict_store(
        self,
        store: FeatureStore,
        song_ids: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Return predictions for songs of a feature store, all if None, (n_songs, width) float32.

        Of a model with an ``artist_weight`` w a song has (1 - w) of its own prediction and w of the mean over
        the songs of its artist that the store has; one whose artist the factors do not know has its own.

        Parameters
        ----------
        store : FeatureStore
        song_ids : sequence of str, optional
        progress : Progress, optional
            Told as vectors are made of frames ("count words", "make KIND"), and of the songs whose frames are
            predicted from ("predict"); it may raise to stop.

        Raises
        ------
        InputError
            The store was made with other settings than the model's features, or lacks a song.
        """
        weight = self.config.get("artist_weight", 0.0)
        wanted = list(self.songs_in(store) if song_ids is None else song_ids)
        if not weight:
            return self._predict_songs(store, wanted, progress)
        artists = self.factors.artists or {}
        of_wanted = {artists[song] for song in wanted if song in artists}
        alike = (song for song in self.songs_in(store) if artists.get(song) in of_wanted)
        songs = list(dict.fromkeys([*wanted, *alike]))
        predicted = self._predict_songs(store, songs, progress)
        groups = artist_groups(songs, artists)
        if groups is not None:
            predicted = with_artist_mean(predicted, groups, weight)
        return predicted[rows_of(songs, wanted)]

    def _predict_songs(
        self, store: FeatureStore, songs: Sequence[str], progress: Progress | None
    ) -> NDArray[np.float32]:
        """Return what the regressor predicts of each song by itself."""
        if self.spec.shape == "vectors":
            return self._predict(self.features_of(store, songs, progress=progress))
        self.check_store(store)
        predicted = np.empty((len(songs), self.config["width"]), np.float32)
        for rows in blocks(len(songs), _BLOCK_SONGS):
            predicted[rows] = self._predict(self.features_of(store, songs[rows]))
            (progress or silent)("predict", rows.stop, len(songs), {})
        return predicted

    def songs_in(self, store: FeatureStore) -> Sequence[str]:
        """Return the songs of a store that have what the model needs, which it can predict."""
        self.check_store(store)
        return self.pipeline.songs_in(store)

    def features_of(
        self,
        store: FeatureStore,
        song_ids: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> SongFeatures:
        """Return the features of songs as the regressor takes them, all if None; see :meth:`check_store`."""
        self.check_store(store)
        songs = self.pipeline.songs_in(store) if song_ids is None else song_ids
        found = self.pipeline.read(store, songs, progress=progress)
        return self.pipeline.make(songs, found, progress=progress)

    def check_store(self, store: FeatureStore) -> None:
        """Raise InputError when a store lacks a kind that the model needs, or made it otherwise."""
        self.pipeline.check_store(store)
        for kind, wanted in self.sources.items():
            if kind not in store:  # one that a song may lack
                continue
            found = store[kind]
            if is_brought(wanted) and is_brought(found.config):
                check_brought(wanted, found.config, found.directory)
                continue
            check_made_as(wanted, found.config, found.directory)

    def predict_files(
        self, paths: Sequence[Path | str], *, vectors: FeatureStore | None = None
    ) -> NDArray[np.float32]:
        """Return predictions for audio files, (n_files, width) float32; their frames are held in memory.

        Each file stands for itself: an ``artist_weight`` is for songs of a store.

        Parameters
        ----------
        paths : sequence of path
        vectors : FeatureStore, optional
            Vectors that no audio tells, for a model that has learned from some: those of the songs that are
            called as the files without the ending.

        Raises
        ------
        InputError
            A file cannot be used; the features' plugin is not installed, or makes them otherwise by now.
        """
        brought = self.brought_kinds
        if len(brought) == len(self.sources):
            raise InputError(
                f"this model was trained on {' and '.join(map(repr, brought))} alone, which no audio tells: "
                "give vectors of the songs"
            )
        songs = [Path(path).stem for path in paths]
        found = features_of_files(paths, self._recipe)
        for kind in brought:
            if vectors is not None and kind in vectors:
                there = vectors[kind]
                found[kind] = there.features(song for song in dict.fromkeys(songs) if song in there)
        return self._predict(self.pipeline.make(songs, found))

    @cached_property
    def _recipe(self) -> Recipe:
        """What makes its features of audio: extractors may be large, and are kept."""
        of_audio = [config for config in self.sources.values() if not is_brought(config)]
        return Recipe.again(of_audio, codebook=self.pipeline.words)

    def fold_in_users(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return factors of new users from their plays, (n, width) float32.

        Parameters
        ----------
        counts : csr_array of shape (n, len(self.song_ids)), float32
            Plays of the songs that the model was trained on.
        n_threads : int or None
            None for every core.
        """
        if self.spec.has_users:
            # A model with users of its own says how they come about.
            return self._own_users(counts, [f"user {row}" for row in range(counts.shape[0])])
        wide = in_columns(counts, self._training_rows, len(self.factors.song_ids))
        return self.factors.fold_in_users(wide, n_threads=n_threads)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as a directory that appears whole or not at all."""
        with self._new(directory, overwrite=overwrite) as new:
            self.factors.save(new / "factors")

    def save_without_factors(self, directory: Path | str) -> None:
        """Write all but the factors, as a stack does, which keeps those of its models once."""
        with self._new(directory, overwrite=False):
            pass

    @contextmanager
    def _new(self, directory: Path | str, *, overwrite: bool) -> Iterator[Path]:
        with new_directory(
            Path(directory),
            kind=KIND,
            config=self.config,
            version=VERSION,
            replaces=KINDS,
            overwrite=overwrite,
        ) as new:
            self.pipeline.save(new / "pipeline")
            np.save(new / _ROWS, self._training_rows, allow_pickle=False)
            (new / "regressor").mkdir()
            with calling(self.spec, "save"):
                self.regressor.save(new / "regressor")
            yield new

    @classmethod
    def load(
        cls,
        directory: Path | str,
        *,
        factors: Callable[[], Factors] | None = None,
        n_threads: int | None = None,
    ) -> Self:
        """Read a model, its factors when they are first asked for.

        The regressor must be installed, and nothing that the directory names is executed.

        Parameters
        ----------
        directory : path
        factors : callable, optional
            Gives the factors of a model that was saved without them.
        n_threads : int or None
            None for every core.

        Raises
        ------
        InputError
            The directory holds no model, one that is damaged, or one of an older dcbmr.
        """
        directory = Path(directory)
        config = read_config(
            directory,
            kind=KIND,
            version=VERSION,
            remedy=f"train it again: dcbmr train --factors {directory / 'factors'} --features FEATURES",
        )
        installed = registry.regressors()
        with reading(directory):
            name, package = str(config["regressor"]), str(config["package"])
            rows = np.load(directory / _ROWS, allow_pickle=False)
            _check_config(config)
            if rows.shape != (config["n_songs"],) or rows.dtype.kind != "i":
                raise ValueError(f"{_ROWS} holds {rows.dtype} {rows.shape} for {config['n_songs']} songs")
        if name not in installed:
            raise InputError(
                f"{directory} is a model of regressor {name!r} of {package}, {how_to_get(package)}; "
                f"installed: {', '.join(installed)}"
            )
        spec = installed[name]
        warn_of_another_version(spec, package, f"the model {directory}")
        factory = registry.resolve(spec)
        # What fails in loading a regressor of dcbmr itself is the files' fault, not its makers'.
        fails_by = calling(spec, f"load ({directory}, made by {package})")
        with reading(directory) if is_built_in(spec) else fails_by:
            regressor = factory.load(directory / "regressor")
        read_factors = factors or partial(Factors.load, directory / "factors")

        def checked_factors() -> Factors:
            learned = read_factors()
            if rows.min() < 0 or rows.max() >= len(learned.song_ids):
                raise InputError(
                    f"{directory} is damaged: {_ROWS} holds rows from {rows.min()} to {rows.max()}, and the "
                    f"factors {len(learned.song_ids)} songs"
                )
            return learned

        model = cls(
            regressor,
            spec,
            load_pipeline(directory / "pipeline", n_threads=n_threads),
            factors=cache(checked_factors),
            training_rows=rows,
            config=config,
        )
        with reading(directory):
            model._check_codebooks()
        return model

    def _check_codebooks(self) -> None:
        """Raise InputError where a codebook is of other frames than those that the model was trained on."""
        made = {kind: source for config in self.sources.values() for kind, source in config.made_of.items()}
        frames = {**made, **self.sources}.get(WORDS.made_of[0])
        for _, learned in self.pipeline.learned():
            if isinstance(learned, Codebook) and frames is not None:
                check_frames(learned, frames.settings)


def with_artist_mean(
    predicted: NDArray[np.float32], groups: NDArray[np.int64], weight: float
) -> NDArray[np.float32]:
    """Return (1 - weight) of each song's prediction and weight of the mean over the songs of its artist."""
    if not weight:
        return predicted
    sums = np.zeros((groups.max() + 1, predicted.shape[1]))
    np.add.at(sums, groups, predicted)
    means = sums / np.bincount(groups)[:, None]
    mixed: NDArray[np.float32] = ((1 - weight) * predicted + weight * means[groups]).astype(np.float32)
    return mixed


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError where a model is not as large as something, or weights artists by no share."""
    for name in ("n_songs", "n_users", "n_factors", "width"):
        if not (isinstance(config[name], int) and config[name] > 0):
            raise ValueError(f"{name} is {config[name]!r:.80}")
    weight = config.get("artist_weight", 0.0)
    if not (isinstance(weight, int | float) and 0 <= weight <= 1):
        raise ValueError(f"artist_weight is {weight!r:.80}")
