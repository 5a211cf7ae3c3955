"""One song through the extractors of a pass: samples in, the rows of every kind out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from dcbmr import _core
from dcbmr.contract.contract import resolved
from dcbmr.contract.faults import calling, is_built_in
from dcbmr.contract.features import (
    FeatureConfig,
    FeatureExtractor,
    FeatureSpec,
    StreamingExtractor,
    WholeExtractor,
)
from dcbmr.features.outside import Outside

Rows = dict[str, NDArray[Any]]


class JointStream(Protocol):
    """Samples in, rows of one or several kinds out."""

    def accept(self, samples: Any) -> Rows:
        """Return the rows that became ready, maybe none, of each kind."""
        ...

    def finish(self) -> Rows:
        """Return the rows that waited for what follows."""
        ...


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes one kind: how it is offered, the extractor, and what comes out."""

    spec: FeatureSpec
    extractor: FeatureExtractor
    config: FeatureConfig

    def stream(self) -> JointStream:
        """Begin a song."""
        kind = self.spec.name
        if self.spec.is_streaming:
            return _Alone(kind, cast(StreamingExtractor, self.extractor).stream())
        return _Whole(kind, cast(WholeExtractor, self.extractor), self.spec)


@dataclass(frozen=True, eq=False)
class Unit:
    """Makers that take the same and work as one; ``sr`` is None where they are made of ``made_of``."""

    makers: tuple[Maker, ...]
    stream: Callable[[], JointStream]
    sr: float | None
    made_of: tuple[str, ...]

    def begin(self, path: str, cancelled: Event, timeout_s: float) -> JointStream:
        """Begin a song: what a plugin of others does is watched."""
        spec = self.makers[0].spec
        if is_built_in(spec):
            return self.stream()
        return Outside(
            self.stream,
            {maker.spec.name: maker.config for maker in self.makers},
            package=spec.package,
            path=path,
            cancelled=cancelled,
            timeout_s=timeout_s,
        )


def units_of(makers: Iterable[Maker]) -> list[Unit]:
    """Return makers as units: some share their work; those made of others last."""
    units: list[Unit] = []
    groups: dict[tuple[float, Any], list[Maker]] = {}
    made: list[Unit] = []
    for maker in makers:
        if maker.spec.made_of:
            made.append(Unit((maker,), maker.stream, None, maker.spec.made_of))
        else:
            groups.setdefault((maker.extractor.sr, maker.spec.joint or maker.spec.name), []).append(maker)
    for (sr, _), together in groups.items():
        join = together[0].spec.joint if len(together) > 1 else None
        with calling(together[0].spec, "joint"):
            joined = join and resolved(join)({maker.spec.name: maker.extractor for maker in together})
        if joined:
            units.append(Unit(tuple(together), joined.stream, sr, ()))
        else:
            units.extend(Unit((maker,), maker.stream, sr, ()) for maker in together)
    return units + made


class _Alone:
    """The stream of one kind."""

    def __init__(self, kind: str, stream: Any) -> None:
        self._kind, self._stream = kind, stream

    def accept(self, samples: Any) -> Rows:
        return {self._kind: self._stream.accept(samples)}

    def finish(self) -> Rows:
        return {self._kind: self._stream.finish()}


class _Whole:
    """Keeps what it is given of a song for an extractor that takes it at once."""

    def __init__(self, kind: str, extractor: WholeExtractor, spec: FeatureSpec) -> None:
        self._kind, self._extractor = kind, extractor
        self._is_vector, self._made_of = spec.shape == "vectors", spec.made_of
        self._pieces: list[Any] = []

    def accept(self, samples: Any) -> Rows:
        self._pieces.append(samples)
        return {}

    def finish(self) -> Rows:
        song: Any = (
            {source: np.concatenate([piece[source] for piece in self._pieces]) for source in self._made_of}
            if self._made_of
            else np.concatenate(self._pieces)
        )
        self._pieces.clear()
        made = self._extractor.extract(song)
        is_one_row = self._is_vector and isinstance(made, np.ndarray)
        return {self._kind: made[None] if is_one_row else made}


class SongStreams:
    """The streams of one song; a context, which lets go of them.

    Parameters
    ----------
    kinds : sequence of str
        What is wanted of what they make.
    streams : sequence of (Unit, JointStream)
        Those that are made of others stand behind them.
    configs : mapping of str to FeatureConfig
        Of all that they make.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        streams: Sequence[tuple[Unit, JointStream]],
        configs: Mapping[str, FeatureConfig],
    ) -> None:
        self._kinds, self._streams, self._configs = kinds, streams, configs

    def accept(self, sr: float, samples: NDArray[np.float32]) -> Rows:
        """Return the rows that became ready with samples (n_samples,) at the rate ``sr``, of each kind."""
        made: Rows = {}
        for unit, stream in self._streams:
            if unit.sr == sr:
                made |= stream.accept(samples)
            elif unit.made_of and any(len(made.get(source, ())) for source in unit.made_of):
                made |= stream.accept(self._frames(made, unit.made_of))
        return {kind: rows for kind, rows in made.items() if kind in self._kinds}

    def finish(self) -> Rows:
        """Return the rows that waited for what follows: the song is at its end."""
        made: Rows = {}
        for unit, stream in self._streams:
            last = stream.accept(self._frames(made, unit.made_of)) if unit.made_of else {}
            for kind, rows in stream.finish().items():
                made[kind] = np.concatenate([last[kind], rows]) if len(last.get(kind, ())) else rows
        return {kind: rows for kind, rows in made.items() if kind in self._kinds}

    def _frames(self, made: Rows, sources: Sequence[str]) -> Rows:
        """Return the frames of some kinds as a store gives them back."""
        return {source: _as_stored(made.get(source), self._configs[source]) for source in sources}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, stream in self._streams:
            if isinstance(stream, Outside):
                stream.close()


def rows_of_frames(
    maker: Maker, frames: Rows, song: str, cancelled: Event, timeout_s: float
) -> NDArray[np.float32]:
    """Return the rows, (n, n_dims), of a kind that is made of others, as a store would give them back.

    Parameters
    ----------
    maker : Maker
    frames : mapping of str to ndarray of shape (n_frames, n_dims), float32
        All that a store has of the song, of each kind that this one is made of.
    song : str
        For the messages.
    cancelled : Event
        Ends the waiting for a plugin.
    timeout_s : float
        What a plugin may take.

    Raises
    ------
    AudioError
        A plugin failed, or took too long.
    """
    (unit,) = units_of([maker])
    kind = maker.spec.name
    stream = unit.begin(song, cancelled, timeout_s)
    with SongStreams([kind], [(unit, stream)], {kind: maker.config}):
        parts = [stream.accept(frames), stream.finish()]
    return np.concatenate([_as_stored(part.get(kind), maker.config) for part in parts])


def _as_stored(rows: NDArray[Any] | None, config: FeatureConfig) -> NDArray[np.float32]:
    """Return rows as a store gives them back."""
    if rows is None:
        return np.empty((0, config.n_dims), np.float32)
    if config.dtype == "<f2":
        return _core.to_half(rows).view(np.float16).astype(np.float32)
    return rows.astype(np.float32, copy=False)
