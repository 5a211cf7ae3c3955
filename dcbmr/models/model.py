"""A trained model: the regressor, what prepares its features, and the factors it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import rows_of
from dcbmr.base.directory import new_directory, read_config
from dcbmr.base.settings import check_settings
from dcbmr.base.text import read_lines, write_lines
from dcbmr.contract import registry
from dcbmr.contract.contract import Regressor, RegressorSpec, SongFeatures
from dcbmr.errors import DcbmrError
from dcbmr.factorization.factors import Factors
from dcbmr.features.featurize import features_of_files
from dcbmr.features.memory import VectorFeatures
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore, frame_settings
from dcbmr.features.words import bag_of_words_of_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
            f"{directory} was made",
            remedy="these are the model's: featurize with them",
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
