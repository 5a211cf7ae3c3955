"""From what a store holds of songs to the kind of feature that a regressor takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.directory import new_directory, read_config, reading
from dcbmr.base.needs import FeatureNeed, of_sample
from dcbmr.base.progress import Progress
from dcbmr.contract import registry
from dcbmr.contract.contract import SongFeatures
from dcbmr.contract.kinds import HOST_KINDS, check_kind_name
from dcbmr.errors import InputError
from dcbmr.features.codebook import MAX_FRAMES, Codebook, fit_codebook
from dcbmr.features.counted import count_words
from dcbmr.features.made import MadeKind
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pca import PCA
from dcbmr.features.standardization import Standardization, load_standardizations, save_standardizations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.features.store import FeatureStore

# At most, of k-means.
_N_ITERATIONS = 25
_KIND = "feature pipeline"


class Learned(Protocol):
    """What was learned from training songs, and knows which."""

    @property
    def songs_(self) -> NDArray[np.uint64] | None: ...

    def seen(self, song_ids: Sequence[str]) -> list[str]: ...


class FeaturePipeline:
    """Turns what a store holds of songs into the kind of feature that a regressor takes.

    Frames as they are stored, such as "mel", stay as they are. Vectors as they are stored, whatever a plugin
    or a user brought, are standardized: each dimension by its own deviation, so that no unit counts more than
    another, or those of an embedding by one number. Others are made of MFCCs: a codebook counts the words of
    a song's frames ("bow"), and a PCA reduces the counts ("bow_pca"). All this is learned from training songs
    and travels with the model, so that a model predicts from an audio file alone.

    Of the songs of a store each frame is assigned once: the counts stay with the open store, for all
    pipelines that have the same codebook.

    Parameters
    ----------
    kind : str
        What :meth:`transform` returns: "mel", "mfcc", "bow", "bow_pca", ...
    n_words : int
        Words of the codebook, for kinds that are made of words; the paper's 4000.
    variance : float
        Share of the variance that the PCA keeps, in (0, 1]; the paper's 0.95.
    standardize : bool
        Learn the codebook from standardized frames: see :class:`dcbmr.Codebook`.
    weighting : {"count", "sqrt"}
        Word counts as they are, as in the paper, or their square roots, which hold back the words of long
        notes.
    codebook : Codebook, optional
        One learned before: then stored words of it are read in place of frames.
    n_threads : int or None
        None for every core.
    random_state : int
        Seed of the codebook.

    Attributes
    ----------
    source : str
        The stored kind that :meth:`transform` takes.
    codebook_ : Codebook or None
    pca_ : PCA or None
    standardization_ : Standardization or None

    Raises
    ------
    InputError
        A kind that nothing can be called, a parameter out of its range, or a codebook for a kind that needs
        none.
    """

    def __init__(
        self,
        kind: str,
        *,
        n_words: int = 4000,
        variance: float = 0.95,
        standardize: bool = True,
        weighting: Literal["count", "sqrt"] = "count",
        codebook: Codebook | None = None,
        n_threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        frames, words, self._reduces = _steps(kind)
        if codebook is not None and words is None:
            raise InputError(f"features of kind {kind!r} need no codebook; leave it out")
        if n_words < 1:
            raise InputError(f"n_words must be at least 1; got {n_words}")
        if not 0 < variance <= 1:
            raise InputError(f"variance must be in (0, 1]; got {variance}")
        if weighting not in ("count", "sqrt"):
            raise InputError(f"weighting must be 'count' or 'sqrt'; got {weighting!r}")
        self.kind = kind
        self.n_words = n_words if codebook is None else codebook.n_words
        self.variance = variance
        self.standardize = standardize if codebook is None else codebook.standardize
        self.weighting = weighting
        self.n_threads = n_threads
        self.random_state = random_state
        self.codebook_ = codebook
        self.pca_: PCA | None = None
        self.standardization_: Standardization | None = None
        self._is_learned = False
        self.source: str = frames if codebook is None or words is None else words
        self._words = words

    def __repr__(self) -> str:
        options = (f", {name}={value!r}" for name, value in self.settings().items() if name != "feature")
        return f"FeaturePipeline({self.kind!r}{''.join(options)}, is_fitted={self.is_fitted})"

    def settings(self) -> dict[str, Any]:
        """Return what the features depend on, for JSON: ``feature`` is the kind."""
        settings: dict[str, Any] = {"feature": self.kind, "source": self.source}
        if self._words is not None:
            settings |= {
                "n_words": self.n_words,
                "standardize": self.standardize,
                "weighting": self.weighting,
            }
        if self._reduces:
            settings["variance"] = self.variance
        return settings

    @property
    def is_fitted(self) -> bool:
        """Whether nothing is left to learn from training songs."""
        if self._words is None:
            return self._is_learned
        return self.codebook_ is not None and (self.pca_ is not None or not self._reduces)

    @property
    def sources(self) -> tuple[str, ...]:
        """The stored kinds that it is made of."""
        return (self.source,)

    @property
    def words(self) -> Codebook | None:
        """The codebook whose stored words are read, if any are."""
        return self.codebook_ if self.reads_words else None

    def learned(self) -> Iterator[tuple[str, Learned]]:
        """Yield what was learned from training songs, by name."""
        if self.codebook_ is not None:
            yield "codebook", self.codebook_
        if self.pca_ is not None:
            yield "PCA", self.pca_
        if self.standardization_ is not None:
            yield f"standardization of {self.kind!r}", self.standardization_

    @property
    def reads_words(self) -> bool:
        """Whether stored words of the codebook are read in place of frames."""
        return self._words is not None and self.source == self._words

    def fit_transform(self, features: SongFeatures, *, progress: Progress | None = None) -> SongFeatures:
        """Learn what the kind needs from training songs and return their features.

        Parameters
        ----------
        features : SongFeatures
            Training songs, of the kind :attr:`source`.
        progress : Progress, optional
            Told of k-means ("k-means") and of the songs whose words are counted ("count words").

        Returns
        -------
        SongFeatures
            The same songs, of :attr:`kind`; not to be written to.
        """
        self._check_source(features)
        if self._words is None:
            if isinstance(features, VectorFeatures):
                self.standardization_ = Standardization.fit(
                    features.vectors(), features.song_ids, one_by_one=not features.is_embedding
                )
            self._is_learned = True
            return self._as_stored(features)
        if self.codebook_ is None:
            self.codebook_ = fit_codebook(
                features,
                n_words=self.n_words,
                n_iterations=_N_ITERATIONS,
                standardize=self.standardize,
                n_threads=self.n_threads,
                random_state=self.random_state,
                progress=progress,
            )
        counts = self._counts(features, progress)
        if self._reduces:
            self.pca_ = PCA(variance=self.variance, n_threads=self.n_threads)
            self.pca_.fit(counts, song_ids=features.song_ids)
        return self._vectors(features, counts)

    def transform(self, features: SongFeatures, *, progress: Progress | None = None) -> SongFeatures:
        """Return the features of songs in this pipeline's kind; see :meth:`fit_transform`."""
        self._check_source(features)
        if not self.is_fitted:
            raise InputError(f"this pipeline to {self.kind!r} is not fitted yet: call fit_transform first")
        if self._words is None:
            return self._as_stored(features)
        return self._vectors(features, self._counts(features, progress))

    def songs_in(self, store: FeatureStore) -> Sequence[str]:
        """Return the songs of a store that have what the kind is made of."""
        return store[self.source].song_ids

    def read(
        self, store: FeatureStore, song_ids: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, SongFeatures]:
        """Return what a store holds of songs, by kind; ``progress`` is told of what it makes of frames."""
        stored = store[self.source]
        if isinstance(stored, MadeKind):
            stored.make(song_ids, n_threads=self.n_threads, progress=progress)
        return {self.source: stored.features(song_ids)}

    def learn(
        self, store: FeatureStore, song_ids: Sequence[str], *, progress: Progress | None = None
    ) -> SongFeatures:
        """Learn what the kind needs from training songs of a store; see :meth:`fit_transform`."""
        found = self.read(store, song_ids, progress=progress)
        return self.fit_transform(found[self.source], progress=progress)

    def make(
        self,
        song_ids: Sequence[str],
        found: Mapping[str, SongFeatures],
        *,
        progress: Progress | None = None,
    ) -> SongFeatures:
        """Return the features of songs, of what was ``found`` of them, by kind; see :meth:`transform`."""
        return self.transform(found[self.source], progress=progress)

    def _as_stored(self, features: SongFeatures) -> SongFeatures:
        """Return features of a kind as it is stored, vectors standardized."""
        if self.standardization_ is None:
            return features
        vectors = self.standardization_.transform(features.vectors())
        return VectorFeatures(self.kind, features.song_ids, vectors)

    def _vectors(self, features: SongFeatures, counts: csr_array) -> VectorFeatures:
        vectors = counts if self.pca_ is None else self.pca_.transform(counts)
        return VectorFeatures(self.kind, features.song_ids, vectors)

    def _check_source(self, features: SongFeatures) -> None:
        if features.kind != self.source:
            raise InputError(f"{self.kind!r} is made of {self.source!r} here; got {features.kind!r}")

    def _counts(self, features: SongFeatures, progress: Progress | None) -> csr_array:
        """Return the words of songs, (n_songs, n_words) float32, weighted."""
        assert self.codebook_ is not None
        if self.reads_words:
            counts = csr_array(features.vectors())
            if counts.shape[1] != self.n_words:
                raise InputError(f"the words stored are {counts.shape[1]}, the codebook's {self.n_words}")
        else:
            counts = count_words(features, self.codebook_, n_threads=self.n_threads, progress=progress)
        return counts.sqrt() if self.weighting == "sqrt" else counts

    def check_store(self, store: FeatureStore) -> None:
        """Raise InputError when a store lacks what the kind is made of, or has another codebook's words."""
        stored = store[self.source]
        if self.words is not None:
            found, wanted = stored.settings["codebook"], self.words.digest
            if found != wanted:
                raise InputError(
                    f"{stored.directory} holds words of codebook {found}, the one given is {wanted}"
                )

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the pipeline to a directory of its own: its settings, the codebook and the PCA."""
        if not self.is_fitted:
            raise InputError(f"this pipeline to {self.kind!r} is not fitted yet: there is nothing to save")
        is_standardized = self.standardization_ is not None
        config = {**self.settings(), "random_state": self.random_state, "is_standardized": is_standardized}
        with new_directory(Path(directory), kind=_KIND, config=config, overwrite=overwrite) as new:
            if self.codebook_ is not None:
                self.codebook_.save(new / "codebook")
            if self.pca_ is not None:
                self.pca_.save(new / "pca")
            if self.standardization_ is not None:
                save_standardizations(new, [self.standardization_])

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read what :meth:`save` wrote."""
        directory = Path(directory)
        config: Mapping[str, Any] = read_config(directory, kind=_KIND)
        with reading(directory):
            pipeline = cls(
                config["feature"],
                standardize=config.get("standardize", False),  # which older ones know nothing of
                **{name: config[name] for name in ("n_words", "variance", "weighting") if name in config},
                n_threads=n_threads,
                random_state=config["random_state"],
            )
            if config["source"] not in (pipeline.source, pipeline._words):
                raise InputError(f"{pipeline.kind!r} is not made of {config['source']!r:.80}")
            pipeline.source = config["source"]
            if pipeline._words is not None:
                pipeline.codebook_ = Codebook.load(directory / "codebook", n_threads=n_threads)
            if pipeline._reduces:
                pipeline.pca_ = PCA.load(directory / "pca", n_threads=n_threads)
            pipeline._is_learned = True
            if config.get("is_standardized"):  # as vectors are not in older models
                [pipeline.standardization_] = load_standardizations(directory, 1)
            return pipeline


def need_of_kind(pipeline: FeaturePipeline, store: FeatureStore) -> FeatureNeed:
    """Return what the features of all songs of a store take, were the pipeline fitted on them."""
    stored = store[pipeline.source]
    n_songs = len(stored)
    if pipeline._words is None:
        held = 4 * n_songs * stored.n_dims if stored.shape == "vectors" else 0
        return FeatureNeed(n_songs, stored.n_dims, held, 2 * held)
    if pipeline.reads_words:
        n_counts, sample = n_songs * pipeline.n_words // 3, 0.0
    else:
        n_frames = stored.n_frames
        n_counts = int(np.minimum(n_frames, pipeline.n_words).sum())
        n_sampled = min(int(n_frames.sum()), MAX_FRAMES)
        sample = 0.0 if pipeline.codebook_ else of_sample(n_sampled, stored.n_dims, pipeline.n_words)
    # Words and their counts in int64 as they are found, then once more.
    counting = 32 * n_counts
    if not pipeline._reduces:
        return FeatureNeed(n_songs, pipeline.n_words, 8 * n_counts, max(sample, counting))
    n_dims = min(pipeline.n_words, n_songs)
    held = 8 * n_counts + 4 * n_songs * n_dims
    # Covariances and what becomes of them, in float64; blocks of rows.
    reducing = held + 24 * n_dims**2 + 12 * min(n_songs, 4096) * pipeline.n_words
    return FeatureNeed(n_songs, n_dims, held, max(sample, counting, reducing))


def _steps(kind: str) -> tuple[str, str | None, bool]:
    """Return the stored kind that ``kind`` is made of, the words between, and whether they are reduced."""
    check_kind_name(kind)
    below = {made.name: made.made_of[0] for made in HOST_KINDS}
    if kind not in below:
        return kind, None, False
    if below[kind] not in below:
        return below[kind], kind, False
    return below[below[kind]], below[kind], True


def kinds_of_shape(store: FeatureStore, shape: Literal["frames", "vectors"]) -> list[str]:
    """Return the kinds of a shape that a store has, or that can be made of what it has."""
    shapes = {name: known.shape for name, known in registry.kinds().items()}
    shapes |= {name: store[name].shape for name in store}  # also those that nobody offers any more
    return [name for name in shapes if shapes[name] == shape and _has(store, name)]


def _has(store: FeatureStore, kind: str) -> bool:
    """Say whether a store holds a kind, or what the host makes it of."""
    made_of = {host.name: host.made_of for host in HOST_KINDS}.get(kind, ())
    return kind in store or (len(made_of) > 0 and all(_has(store, source) for source in made_of))
