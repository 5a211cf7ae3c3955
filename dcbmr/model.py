"""A trained model: the regressor, what prepares its features, and the factors it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr import registry
from dcbmr.codebook import PCA, Codebook, VectorFeatures, bag_of_words, fit_codebook
from dcbmr.contract import FeatureKind, Regressor, RegressorSpec, SongFeatures
from dcbmr.directory import new_directory, read_config
from dcbmr.errors import DcbmrError, InputError
from dcbmr.extraction import features_of_files
from dcbmr.factors import Factors
from dcbmr.features import Kind
from dcbmr.plays import read_lines, write_lines
from dcbmr.store import FeatureStore
from dcbmr.words import bag_of_words_of_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

# progress(what, n_done, n_total) of a step of preparing features.
Progress = Callable[[str, int, int], None]
# At most, of k-means.
_N_ITERATIONS = 25


class FeaturePipeline:
    """Turns stored frames into the kind of feature that a regressor takes.

    For the kinds "mel" and "mfcc" that is nothing; for "bow" a codebook counts words, and for "bow_pca"
    a PCA reduces the counts. Both are fitted on training songs and travel with the model, so that a model
    predicts from an audio file alone.

    Parameters
    ----------
    kind : {"mel", "mfcc", "bow", "bow_pca"}
        What :meth:`transform` returns.
    n_words : int
        Words of the codebook.
    variance : float
        Share of the variance that the PCA keeps.
    weighting : {"count", "sqrt"}
        Word counts as they are, as in the paper, or their square roots.
    codebook : Codebook, optional
        One learned before: then stored words of it are read in place of frames.
    n_threads : int or None
        None for every core.
    random_state : int
        Seed of the codebook.
    """

    def __init__(
        self,
        kind: FeatureKind,
        *,
        n_words: int = 4000,
        variance: float = 0.95,
        weighting: Literal["count", "sqrt"] = "count",
        codebook: Codebook | None = None,
        n_threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        if codebook is not None and not kind.startswith("bow"):
            raise InputError(f"features of kind {kind!r} need no codebook; leave it out")
        self.kind = kind
        self.n_words = n_words if codebook is None else codebook.n_words
        self.variance = variance
        self.weighting = weighting
        self.n_threads = n_threads
        self.random_state = random_state
        self.codebook_ = codebook
        self.pca_: PCA | None = None
        # The stored kind that transform takes.
        self.source: Kind = "mel" if kind == "mel" else "mfcc" if codebook is None else "bow"

    @property
    def is_fitted(self) -> bool:
        """Whether nothing is left to learn from training songs."""
        if self.kind == "bow_pca":
            return self.pca_ is not None
        return self.kind != "bow" or self.codebook_ is not None

    def fit_transform(self, features: SongFeatures, *, progress: Progress | None = None) -> SongFeatures:
        """Learn what the kind needs from training songs and return their features.

        ``progress(what, n_done, n_total)`` follows each of the long steps, and may raise to stop.
        """
        self._check_source(features)
        if not self.kind.startswith("bow"):
            return features
        if self.codebook_ is None:
            self.codebook_ = fit_codebook(
                features,
                n_words=self.n_words,
                n_iterations=_N_ITERATIONS,
                n_threads=self.n_threads,
                random_state=self.random_state,
                callback=progress and (lambda iteration, _: progress("k-means", iteration, _N_ITERATIONS)),
            )
        counts = self._counts(features, self.codebook_, progress)
        if self.kind == "bow_pca":
            self.pca_ = PCA(self.variance, n_threads=self.n_threads).fit(counts)
        return self._vectors(features, counts)

    def transform(self, features: SongFeatures, *, progress: Progress | None = None) -> SongFeatures:
        """Return the features of the same songs in this pipeline's kind; ``progress`` as above."""
        self._check_source(features)
        if self.codebook_ is None:
            return features
        return self._vectors(features, self._counts(features, self.codebook_, progress))

    def _check_source(self, features: SongFeatures) -> None:
        if features.kind != self.source:
            raise InputError(f"{self.kind!r} is made of {self.source!r} here; got {features.kind!r}")

    def _vectors(self, features: SongFeatures, counts: csr_array) -> VectorFeatures:
        if self.pca_ is None:
            return VectorFeatures("bow", features.song_ids, counts)
        return VectorFeatures("bow_pca", features.song_ids, self.pca_.transform(counts))

    def _counts(self, features: SongFeatures, codebook: Codebook, progress: Progress | None) -> csr_array:
        if self.source != "bow":
            return bag_of_words(
                features,
                codebook,
                n_threads=self.n_threads,
                weighting=self.weighting,
                callback=progress and partial(progress, "count words"),
            )
        counts = csr_array(features.vectors())
        if counts.shape[1] != codebook.n_words:
            raise InputError(f"the words stored are {counts.shape[1]}, the codebook's {codebook.n_words}")
        return counts.sqrt() if self.weighting == "sqrt" else counts

    def check_store(self, store: FeatureStore) -> None:
        """Raise InputError when a store of words counts those of another codebook."""
        if self.source == "bow" and self.codebook_ is not None:
            found, wanted = store.config["codebook"], self.codebook_.digest
            if found != wanted:
                raise InputError(
                    f"{store.directory} holds words of codebook {found}, the one given is {wanted}"
                )

    def save(self, directory: Path) -> None:
        """Write the codebook and the PCA, where there are any, into an existing directory."""
        if self.codebook_ is not None:
            self.codebook_.save(directory / "codebook")
        if self.pca_ is not None:
            self.pca_.save(directory / "pca")

    @classmethod
    def load(
        cls,
        directory: Path,
        kind: FeatureKind,
        *,
        source: Kind | None = None,
        weighting: Literal["count", "sqrt"] = "count",
        n_threads: int | None = None,
    ) -> Self:
        """Read what :meth:`save` wrote for this kind; ``source`` where it is not the kind's own frames."""
        pipeline = cls(kind, weighting=weighting, n_threads=n_threads)
        pipeline.source = source or pipeline.source
        if kind.startswith("bow"):
            pipeline.codebook_ = Codebook.load(directory / "codebook")
            pipeline.n_words = pipeline.codebook_.n_words
        if kind == "bow_pca":
            pipeline.pca_ = PCA.load(directory / "pca")
        return pipeline


@dataclass
class Model:
    """A regressor with everything that its predictions need.

    Attributes
    ----------
    regressor : Regressor
        The fitted model.
    spec : RegressorSpec
        How its plugin offers it.
    pipeline : FeaturePipeline
        From stored frames to the regressor's features.
    song_ids : list of str
        The songs it was trained on.
    factors : Factors
        What factorize learned, of all its users and songs.
    own_user_factors : ndarray of shape (n_users, width), float32, or None
        Users of the model's own (metric learning); None where the factors' users serve.
    config : dict
        Every setting, as in ``config.json``.
    """

    regressor: Regressor
    spec: RegressorSpec
    pipeline: FeaturePipeline
    song_ids: list[str]
    factors: Factors
    own_user_factors: NDArray[np.float32] | None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def user_ids(self) -> NDArray[np.object_]:
        """The users, in the row order of :attr:`user_factors`."""
        return self.factors.user_ids

    @property
    def user_factors(self) -> NDArray[np.float32]:
        """The users whose inner product with a prediction is the score, (n_users, width)."""
        return self.factors.user_factors if self.own_user_factors is None else self.own_user_factors

    def predict(self, features: SongFeatures) -> NDArray[np.float32]:
        """Return predictions for songs whose stored frames are given, (n_songs, width) float32.

        Raises
        ------
        DcbmrError
            The regressor returned another shape, or numbers that are not finite: the songs are named.
        """
        predicted = self.regressor.predict(self.pipeline.transform(features))
        complaint = f"regressor {self.spec.name!r} predicted"

        wanted = (len(features.song_ids), self.user_factors.shape[1])
        if predicted.shape != wanted:
            raise DcbmrError(f"{complaint} shape {predicted.shape}, wanted {wanted}")
        bad = np.flatnonzero(~np.isfinite(predicted).all(axis=1))
        if len(bad):
            names = ", ".join(features.song_ids[row] for row in bad[:3])
            raise DcbmrError(f"{complaint} numbers that are not finite for {len(bad)} songs: {names}")
        return predicted

    def predict_store(self, directory: Path | str, song_ids: Sequence[str]) -> NDArray[np.float32]:
        """Return predictions for songs of a feature store, whose settings must be the model's."""
        return self.predict(self.open_store(directory, song_ids))

    def open_store(self, directory: Path | str, song_ids: Sequence[str] | None = None) -> SongFeatures:
        """Return the frames of songs of a feature store, all if None; its settings must be the model's."""
        store = FeatureStore.open(directory, kind=self.pipeline.source)
        check_settings(
            self.config["features"],
            frame_settings(store),
            f"{directory} was made with other settings than the features of the model; featurize again",
        )
        return store.features(list(store) if song_ids is None else song_ids)

    def predict_files(self, paths: Sequence[Path | str]) -> NDArray[np.float32]:
        """Return predictions for audio files, (n_files, width); their frames are held in memory.

        Raises
        ------
        InputError
            A file cannot be used.
        """
        codebook = self.pipeline.codebook_
        if self.pipeline.source == "bow" and codebook is not None:
            counts = csr_array(np.array([bag_of_words_of_file(path, codebook) for path in paths], np.float32))
            return self.predict(VectorFeatures("bow", [Path(path).stem for path in paths], counts))
        return self.predict(features_of_files(paths, self.pipeline.source, self.config["features"]))

    def fold_in_users(self, counts: csr_array) -> NDArray[np.float32]:
        """Return factors of new users from their plays, (n, width).

        Parameters
        ----------
        counts : csr_array of shape (n, len(self.song_ids)), float32
            Plays of the songs that the model was trained on.
        """
        if self.own_user_factors is not None:
            # A model with users of its own says how they come about.
            return self.regressor.user_factors(counts)  # type: ignore[attr-defined,no-any-return]
        plays = counts.tocoo()
        user, song = plays.coords
        column = rows_of(self.factors.song_ids, self.song_ids)[song]
        shape = (counts.shape[0], len(self.factors.song_ids))
        wide = csr_array((plays.data, (user, column)), shape=shape)
        return self.factors.fold_in_users(wide)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as a directory that appears whole or not at all."""
        with new_directory(Path(directory), kind="model", config=self.config, overwrite=overwrite) as new:
            self.factors.save(new / "factors")
            self.pipeline.save(new)
            write_lines(new / "songs.txt", self.song_ids)
            if self.own_user_factors is not None:
                np.save(new / "user_factors.npy", self.own_user_factors, allow_pickle=False)
            (new / "regressor").mkdir()
            self.regressor.save(new / "regressor")

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read a model; its regressor must be installed, and nothing that the directory names is executed."""
        directory = Path(directory)
        config = read_config(directory, kind="model")
        spec = registry.find_regressor(config["regressor"])
        own = directory / "user_factors.npy"
        return cls(
            regressor=registry.resolve(spec).load(directory / "regressor"),
            spec=spec,
            pipeline=FeaturePipeline.load(
                directory,
                spec.feature,
                source=config["features"]["feature"],
                weighting=config.get("weighting") or "count",
                n_threads=n_threads,
            ),
            song_ids=list(read_lines(directory / "songs.txt")),
            factors=Factors.load(directory / "factors"),
            own_user_factors=np.load(own, mmap_mode="r", allow_pickle=False) if own.exists() else None,
            config=config,
        )


def rows_of(song_ids: Iterable[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each of ``wanted`` in ``song_ids``; all must be there."""
    row = {song: i for i, song in enumerate(song_ids)}
    return np.fromiter((row[song] for song in wanted), np.int64, len(wanted))


def frame_settings(store: FeatureStore) -> dict[str, Any]:
    """Return the settings that made the frames of a store, without what only says who wrote it."""
    about_the_file = ("kind", "format_version", "dcbmr_version", "dtype")
    return {name: value for name, value in store.config.items() if name not in about_the_file}


def check_settings(wanted: Mapping[str, Any], found: Mapping[str, Any], complaint: str) -> None:
    """Raise InputError with the complaint and the settings in which ``found`` differs from ``wanted``."""
    names = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if names:
        differences = ", ".join(f"{name} {found.get(name)} (wanted {wanted.get(name)})" for name in names)
        raise InputError(f"{complaint}: {differences}")
