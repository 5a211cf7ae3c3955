"""The kind of feature that is checked, and what checks do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dcbmr.contract import registry
from dcbmr.contract.features import (
    FeatureConfig,
    FeatureExtractor,
    FeatureSpec,
    StreamingExtractor,
    WholeExtractor,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Subject:
    """A kind by name; a song is its samples or, for a kind that is made of others, the frames of these."""

    def __init__(self, kind: str, params: Mapping[str, Any], seconds: float) -> None:
        self.kind = kind
        self.spec: FeatureSpec = registry.find_extractor(kind)
        self.factory = registry.resolve(self.spec)
        self.params = dict(params)
        self.seconds = seconds
        self.parts = {source: registry.get_extractor(source) for source in self.spec.made_of}

    def make(self, **changed: Any) -> FeatureExtractor:
        """Return a new extractor with the parameters that the suite was given, some of them changed."""
        sources = {name: _config_of(name, part) for name, part in self.parts.items()}
        return registry.get_extractor(self.kind, sources=sources or None, **self.params | changed)

    @property
    def sr(self) -> float:
        """The rate of the samples, Hz."""
        made: FeatureExtractor = self.parts[self.spec.made_of[0]] if self.parts else self.make()
        return float(made.sr)

    def sound(self, seed: int = 0) -> NDArray[np.float32]:
        """Return a chord that swells and beats, with noise."""
        rng = np.random.default_rng(seed)
        time = np.arange(round(self.seconds * self.sr)) / self.sr
        chord = sum(np.sin(2 * np.pi * hz * time) for hz in 220 * 2 ** (rng.integers(0, 24, 3) / 12))
        beats = np.exp(-4 * (time % 0.5))
        noise = 0.02 * rng.standard_normal(len(time))
        song: NDArray[np.float32] = (0.1 * chord * beats + noise).astype(np.float32)
        return song

    def pieces(self, samples: NDArray[np.float32], cuts: Sequence[int] = ()) -> list[Any]:
        """Return what an extractor is given of a song: samples or frames by kind, whole or in pieces."""
        samples_of = [piece for piece in np.split(samples, cuts) if len(piece)]
        pieces: list[Any] = [piece.copy() for piece in samples_of]
        if self.parts:
            streams = {name: cast(StreamingExtractor, part).stream() for name, part in self.parts.items()}
            pieces = [
                {name: _as_stored(name, stream.accept(piece)) for name, stream in streams.items()}
                for piece in samples_of
            ]
            pieces.append({name: _as_stored(name, stream.finish()) for name, stream in streams.items()})
        if self.spec.is_streaming:
            return pieces
        if not self.parts:
            return [np.concatenate(pieces)]
        return [{name: np.concatenate([piece[name] for piece in pieces]) for name in self.parts}]

    def rows(
        self, samples: NDArray[np.float32], *, cuts: Sequence[int] = (), extractor: Any = None
    ) -> NDArray[Any]:
        """Return what the extractor makes of a song, cut into pieces at ``cuts``; always (n, n_dims)."""
        return self.rows_of(self.pieces(samples, cuts), extractor or self.make())

    def rows_of(self, pieces: Sequence[Any], made: Any) -> NDArray[Any]:
        """Return what an extractor makes of what :meth:`pieces` gave; always (n, n_dims)."""
        if self.spec.is_streaming:
            stream = made.stream()
            return np.concatenate([*map(stream.accept, pieces), stream.finish()])
        (whole,) = pieces
        features: NDArray[Any] = cast(WholeExtractor, made).extract(whole)
        if self.spec.shape == "frames":
            return features
        assert features.ndim == 1, (
            f"extract gave shape {features.shape}; a kind of shape 'vectors' gives one vector, (n_dims,)"
        )
        return np.asarray(features[None])

    def assert_rows(self, rows: Any, n_dims: int, what: str = "a song") -> None:
        """Fail unless rows are finite numbers of the stated dimensions, that can be stored as stated."""
        assert isinstance(rows, np.ndarray), f"{what} gave a {type(rows).__name__}; return a NumPy array"
        assert np.issubdtype(rows.dtype, np.floating), (
            f"{what} gave numbers of {rows.dtype}, wanted float32: rows.astype(np.float32)"
        )
        wanted = f"wanted (n, {n_dims}): n_dims is the length of a frame or of the vector"
        assert rows.ndim == 2, f"{what} gave shape {rows.shape}, {wanted}"
        assert rows.shape[1] == n_dims, f"{what} gave shape {rows.shape}, {wanted}"
        assert self.spec.shape == "frames" or len(rows) == 1, (
            f"{what} gave {len(rows)} vectors, wanted one; a kind of many has shape='frames'"
        )
        assert np.isfinite(rows).all(), (
            f"{what} gave numbers that are not finite; keep what you divide by, or take the "
            "logarithm of, above 0"
        )
        with np.errstate(over="ignore"):
            stored = rows.astype(self.spec.dtype)
        assert np.isfinite(stored).all(), (
            f"{what} gave {np.abs(rows).max():.3g}, which {self.spec.dtype} cannot hold; offer dtype='<f4'"
        )


def arrays_of(pieces: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Return the arrays of the pieces of a song."""
    return [array for piece in pieces for array in (piece.values() if isinstance(piece, dict) else (piece,))]


def assert_same(found: NDArray[Any], expected: NDArray[Any], what: str, cure: str) -> None:
    """Fail where two arrays are not the same to the bit."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, wanted {expected.shape}; {cure}"
    n_bad = int((found != expected).sum())
    assert not n_bad, f"{what}: {n_bad} of {found.size} numbers are others; {cure}"


def _as_stored(kind: str, rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.array(rows.astype(registry.find_kind(kind).dtype), np.float32, order="C")


def _config_of(kind: str, extractor: FeatureExtractor) -> FeatureConfig:
    known = registry.find_kind(kind)
    return FeatureConfig(
        kind=kind,
        shape=known.shape,
        dtype=known.dtype,
        n_dims=extractor.n_dims,
        settings=extractor.config,
    )
