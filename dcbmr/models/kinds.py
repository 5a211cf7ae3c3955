"""Whether a regressor can take a kind of feature."""

from __future__ import annotations

from dcbmr.contract import registry
from dcbmr.contract.contract import RegressorSpec
from dcbmr.errors import InputError
from dcbmr.features.joined import JoinedPipeline
from dcbmr.features.pipeline import FeaturePipeline, kinds_of_shape
from dcbmr.features.store import FeatureStore


def check_kinds(spec: RegressorSpec, pipeline: FeaturePipeline | JoinedPipeline, store: FeatureStore) -> None:
    """Raise InputError when a regressor cannot take what a pipeline makes."""
    if isinstance(pipeline, FeaturePipeline):
        check_kind(spec, pipeline.kind, store)
        return
    if spec.shape != "vectors":
        raise InputError(
            f"regressor {spec.name!r} takes frames; kinds are joined for those that take one vector a song"
        )
    for part in pipeline.parts:
        check_kind(spec, part.kind, store)


def check_kind(spec: RegressorSpec, kind: str, store: FeatureStore) -> None:
    """Raise InputError when a regressor cannot take features of this kind, with those that it can."""
    shapes = {name: known.shape for name, known in registry.kinds().items()}
    shapes |= {name: store[name].shape for name in store}  # also those that nobody offers any more
    if kind not in shapes:
        raise InputError(
            f"unknown kind of feature {kind!r}; {store.directory} has {', '.join(store) or 'none'}, "
            f"installed: {', '.join(registry.kinds())}"
        )
    if shapes[kind] == spec.shape:
        return
    takes = {"frames": "frames", "vectors": "one vector a song"}
    fitting = kinds_of_shape(store, spec.shape)
    raise InputError(
        f"regressor {spec.name!r} takes {takes[spec.shape]}, which {kind!r} is not; "
        f"{store.directory} has {' and '.join(fitting) or 'no such kind'} for it"
    )
