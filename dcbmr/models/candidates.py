"""What can be tried on the features at hand: installed regressors, each on kinds that a store has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dcbmr.contract import registry
from dcbmr.contract.contract import RegressorSpec
from dcbmr.errors import DcbmrError
from dcbmr.features.joined import JoinedPipeline, pipeline_to
from dcbmr.features.pipeline import FeaturePipeline, kinds_of_shape
from dcbmr.features.store import FeatureStore
from dcbmr.features.stored_kind import is_brought

# In seconds where others take minutes, and so tried on every kind of vectors, and first.
_CLOSED_FORM = ("linear", "kernel_ridge")
# A network that learns within seconds on two cores, as the demo's; tried before the one of the defaults.
_SMALLER: dict[str, Mapping[str, Any]] = {"cnn": {"channels": (16, 32), "learning_rate": 3e-3}}
# 1,000 words are told apart as well as 4,000 by some hundred artists, in a quarter of the time.
_N_WORDS, _FRAMES_A_WORD = 1000, 50

Pipelines = Callable[[tuple[str, ...]], FeaturePipeline | JoinedPipeline]


@dataclass(frozen=True)
class Candidate:
    """A regressor on kinds of features; ``str`` names it.

    Attributes
    ----------
    regressor : str
    kinds : tuple of str
        Joined, where they are several.
    params : mapping
        Its hyper-parameters, where these are not the defaults.
    """

    regressor: str
    kinds: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        with_params = ", ".join(f"{name}={_spelt(value)}" for name, value in self.params.items())
        return f"{self.regressor} on {'+'.join(self.kinds)}" + (f" ({with_params})" if with_params else "")


def candidates(store: FeatureStore) -> tuple[list[Candidate], dict[str, str]]:
    """Return what can be tried on the features of a store, and why each other regressor cannot.

    The cheapest come first: ridge regressions on each kind of vectors that audio gives, and on all vectors
    joined; then each other regressor on its own kind. Vectors that a user brought may be of some songs only:
    they are tried beside what audio gives, and alone only where there is nothing else.
    """
    vectors = [kind for kind in kinds_of_shape(store, "vectors") if kind != "bow" and _is_made(store, kind)]
    brought = [kind for kind in vectors if kind in store and is_brought(store[kind].config)]
    of_audio = [kind for kind in vectors if kind not in brought]
    alone = [(kind,) for kind in of_audio]
    of_vectors = [*alone, tuple(vectors)] if len(vectors) > 1 else [(kind,) for kind in vectors]
    frames = kinds_of_shape(store, "frames")
    tried: list[Candidate] = []
    why_not: dict[str, str] = {}
    specs = registry.regressors()
    order = [*(name for name in _CLOSED_FORM if name in specs), *(n for n in specs if n not in _CLOSED_FORM)]
    for name in order:
        spec = specs[name]
        try:
            registry.get_regressor(name)
        except DcbmrError as error:  # not to be imported, or not to be made without parameters
            why_not[name] = str(error)
            continue
        sets = of_vectors if name in _CLOSED_FORM else _own(spec, alone or of_vectors, frames)
        if not sets:
            why_not[name] = f"the features have no {spec.kind}"
        for kinds in sorted(sets, key=(spec.kind,).__ne__):
            tried += [Candidate(name, kinds, params) for params in _settings(name)]
    return tried, why_not


def _own(
    spec: RegressorSpec, vectors: Sequence[tuple[str, ...]], frames: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the kind that a regressor is given by default; of vectors another, where that is not there."""
    if spec.shape == "frames":
        return [(spec.kind,)] if spec.kind in frames else []
    return [(spec.kind,)] if (spec.kind,) in vectors else list(vectors[:1])


def _settings(regressor: str) -> list[Mapping[str, Any]]:
    return [_SMALLER[regressor], {}] if regressor in _SMALLER else [{}]


def _is_made(store: FeatureStore, kind: str) -> bool:
    """Say whether a kind can be made anew for each fold: stored words were learned from all its songs."""
    return all(source in store for source in FeaturePipeline(kind).sources)


def largest_pipeline(candidate: Candidate) -> FeaturePipeline | JoinedPipeline:
    """Return the pipeline of a candidate with as many words as there may be."""
    return pipeline_to(candidate.kinds, n_words=_N_WORDS)


def pipelines_of(
    store: FeatureStore, song_ids: Sequence[str], *, n_threads: int | None, random_state: int
) -> Pipelines:
    """Return what gives the pipeline to some kinds; each is made once, to be learned from these songs."""
    n_frames = int(store["mfcc"].features(song_ids).n_frames.sum()) if "mfcc" in store else 0
    n_words = max(2, min(_N_WORDS, n_frames // _FRAMES_A_WORD))
    options: dict[str, Any] = {"n_threads": n_threads, "random_state": random_state}

    @cache
    def alone(kind: str) -> FeaturePipeline:
        return FeaturePipeline(kind, n_words=n_words, weighting="sqrt", **options)

    @cache
    def to(kinds: tuple[str, ...]) -> FeaturePipeline | JoinedPipeline:
        return alone(kinds[0]) if len(kinds) == 1 else JoinedPipeline([alone(kind) for kind in kinds])

    return to


def _spelt(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
