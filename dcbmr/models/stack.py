"""A stack: models that recommend and predict as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr.base.arrays import in_columns, rows_of
from dcbmr.base.directory import kind_of, new_directory, read_config, reading
from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.joined import JoinedPipeline
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import KINDS, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND = "stack"


class Stack:
    """Models of the same users whose scores are added up; it is used as a :class:`dcbmr.Model` is.

    The score of a song for a user is the weighted sum of its models' scores. Predictions of models that
    score with the users of the factors are summed, so that a stack of these predicts in the units of
    ``song_factors``. A model with users of its own (metric learning) has columns of its own behind them.

    Parameters
    ----------
    models : sequence of Model
        Each with its own regressor and kind of feature, all trained on the same factors.
    weights : sequence of float, optional
        One for each, positive; they are scaled to a sum of one. Equal ones by default.

    Attributes
    ----------
    config : dict
        Every setting, as in ``config.json``.
    """

    loss = None
    """Its models have their own."""

    def __init__(self, models: Sequence[Model], *, weights: Sequence[float] | None = None) -> None:
        if not models:
            raise InputError("a stack needs at least one model")
        for number, model in enumerate(models[1:], 1):
            _check_same(models[0].factors, model.factors, f"model {number} of the stack")
        given = _checked_weights([1.0] * len(models) if weights is None else weights, len(models))
        weights = (given / given.sum()).tolist()
        config = {"weights": weights, "n_models": len(models)}
        self._fill(list(models), config, lambda: models[0].factors)

    def _fill(self, models: list[Model], config: dict[str, Any], factors: Callable[[], Factors]) -> None:
        self.models = models
        self.config = config
        self._factors = factors

    @property
    def weights(self) -> list[float]:
        """The weight of each model; their sum is one."""
        weights: list[float] = self.config["weights"]
        return weights

    def __repr__(self) -> str:
        return f"Stack({self.models}, weights={[round(weight, 4) for weight in self.weights]})"

    @property
    def factors(self) -> Factors:
        """What all its models were trained on."""
        return self._factors()

    @property
    def pipelines(self) -> tuple[FeaturePipeline | JoinedPipeline, ...]:
        """What prepares the features of each model."""
        return tuple(model.pipeline for model in self.models)

    @property
    def brought_kinds(self) -> tuple[str, ...]:
        """The kinds of vectors that no audio tells, of all its models."""
        return tuple(dict.fromkeys(kind for model in self.models for kind in model.brought_kinds))

    @cached_property
    def song_ids(self) -> list[str]:
        """The songs that all its models were trained on."""
        of_all = set.intersection(*(set(model.song_ids) for model in self.models))
        return [song for song in self.models[0].song_ids if song in of_all]

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
        """Users of all its models side by side, (n_users, width) float32; None where the factors' serve."""
        if not any(model.spec.has_users for model in self.models):
            return None
        return self._users(lambda model: model.user_factors)

    def _users(self, of: Callable[[Model], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return users once for all models that score with the factors' and once for each of the others."""
        shared = [model for model in self.models if not model.spec.has_users][:1]
        return np.concatenate([of(model) for model in [*shared, *self._with_users]], axis=1)

    @property
    def _with_users(self) -> list[Model]:
        return [model for model in self.models if model.spec.has_users]

    def _predict(self, of: Callable[[Model], NDArray[np.float32]]) -> NDArray[np.float32]:
        shared: list[NDArray[np.float32]] = []
        own: list[NDArray[np.float32]] = []
        for model, weight in zip(self.models, self.weights, strict=True):
            (own if model.spec.has_users else shared).append(np.float32(weight) * of(model))
        return np.concatenate([*([sum(shared[1:], shared[0])] if shared else []), *own], axis=1)

    def predict_store(
        self,
        store: FeatureStore,
        song_ids: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Return predictions for songs of a feature store, all if None, (n_songs, width) float32.

        ``progress`` is told of each model's work; see :meth:`dcbmr.Model.predict_store`.
        """
        songs = self.songs_in(store) if song_ids is None else song_ids
        return self._predict(lambda model: model.predict_store(store, songs, progress=progress))

    def songs_in(self, store: FeatureStore) -> Sequence[str]:
        """Return the songs of a store that have what all its models need."""
        return songs_in(self.models, store)

    def check_store(self, store: FeatureStore) -> None:
        """Raise InputError when a store lacks what one of its models reads, or has it of other settings."""
        for model in self.models:
            model.check_store(store)

    def predict_files(
        self, paths: Sequence[Path | str], *, vectors: FeatureStore | None = None
    ) -> NDArray[np.float32]:
        """Return predictions for audio files, (n_files, width) float32; each model reads them for itself.

        ``vectors`` are those that no audio tells; see :meth:`dcbmr.Model.predict_files`.
        """
        return self._predict(lambda model: model.predict_files(paths, vectors=vectors))

    def fold_in_users(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return factors of new users from their plays, (n, width) float32.

        Parameters
        ----------
        counts : csr_array of shape (n, len(self.song_ids)), float32
            Plays of the songs that all its models were trained on.
        n_threads : int or None
            None for every core.
        """

        def fold(model: Model) -> NDArray[np.float32]:
            columns = rows_of(model.song_ids, self.song_ids)
            return model.fold_in_users(in_columns(counts, columns, len(model.song_ids)), n_threads=n_threads)

        return self._users(fold)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the stack as a directory that appears whole or not at all; the factors are in it once."""
        with new_directory(
            Path(directory), kind=KIND, config=self.config, replaces=KINDS, overwrite=overwrite
        ) as new:
            self.factors.save(new / "factors")
            for number, model in enumerate(self.models):
                model.save_without_factors(new / _name(number))

    @classmethod
    def load(cls, directory: Path | str, *, n_threads: int | None = None) -> Self:
        """Read what :meth:`save` wrote, the factors when they are first asked for."""
        directory = Path(directory)
        config: dict[str, Any] = read_config(directory, kind=KIND)
        with reading(directory):
            factors = cache(partial(Factors.load, directory / "factors"))
            stack = cls.__new__(cls)
            names = map(_name, range(config["n_models"]))
            models = [Model.load(directory / name, factors=factors, n_threads=n_threads) for name in names]
            _checked_weights(config["weights"], len(models))
            stack._fill(models, config, factors)
            return stack


def load_model_or_factors(path: Path, n_threads: int | None = None) -> Model | Stack | Factors:
    """Read a model, a stack or factors, whichever a directory holds."""
    kind = kind_of(path)
    if kind not in (None, "factors", *KINDS):
        raise InputError(f"{path} holds {kind!r}; wanted what `dcbmr train` or `dcbmr factorize` wrote")
    # What cannot be read is reported by the reader of models.
    return Factors.load(path) if kind == "factors" else load_model(path, n_threads=n_threads)


def load_model(directory: Path | str, *, n_threads: int | None = None) -> Model | Stack:
    """Read a model or a stack, whichever a directory holds; see :meth:`dcbmr.Model.load`."""
    loads = Stack.load if kind_of(Path(directory)) == KIND else Model.load
    return loads(directory, n_threads=n_threads)


def models_of(model: Model | Stack) -> Sequence[Model]:
    """Return the models of a stack; of a model itself alone."""
    return model.models if isinstance(model, Stack) else [model]


def songs_in(models: Iterable[Model | Stack], store: FeatureStore) -> Sequence[str]:
    """Return the songs of a store that all of some models can predict."""
    first, *others = (model.songs_in(store) for model in models)
    common = set(first).intersection(*others)
    return [song for song in first if song in common]


def _name(number: int) -> str:
    return f"model{number:02}"


def _checked_weights(weights: Sequence[float], n_models: int) -> NDArray[np.float64]:
    given = np.asarray(weights, np.float64)
    if given.shape != (n_models,) or not (np.isfinite(given).all() and (given > 0).all()):
        raise InputError(f"weights must be {n_models} positive numbers, one a model; got {weights}")
    return given


def _check_same(ours: Factors, theirs: Factors, what: str) -> None:
    for name in ("user_ids", "song_ids", "user_factors", "song_factors"):
        if ours is not theirs and not np.array_equal(getattr(ours, name), getattr(theirs, name)):
            raise InputError(
                f"{what} was trained on other factors than the first: {name} differ; train all of them on "
                "one factorization"
            )
