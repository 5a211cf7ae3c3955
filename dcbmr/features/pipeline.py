"""From stored frames to the kind of feature that a regressor takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from scipy.sparse import csr_array

from dcbmr.audio.frames import Kind
from dcbmr.base.progress import Progress
from dcbmr.contract.contract import SongFeatures
from dcbmr.errors import InputError
from dcbmr.features.codebook import Codebook, bag_of_words, fit_codebook
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pca import PCA
from dcbmr.features.stored_kind import StoredKind

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
        kind: str,
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

        ``progress`` follows each of the long steps.
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
                progress=progress,
            )
        counts = self._counts(features, self.codebook_, progress)
        if self.kind == "bow_pca":
            self.pca_ = PCA(variance=self.variance, n_threads=self.n_threads).fit(counts)
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
                progress=progress,
            )
        counts = csr_array(features.vectors())
        if counts.shape[1] != codebook.n_words:
            raise InputError(f"the words stored are {counts.shape[1]}, the codebook's {codebook.n_words}")
        return counts.sqrt() if self.weighting == "sqrt" else counts

    def check_store(self, store: StoredKind) -> None:
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
        kind: str,
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
