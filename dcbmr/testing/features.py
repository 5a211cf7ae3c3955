"""What every kind of feature must do."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import soundfile

from dcbmr.audio.decode import decode
from dcbmr.contract import registry
from dcbmr.contract.features import (
    FeatureConfig,
    FeatureExtractor,
    FeatureSpec,
    StreamingExtractor,
    WholeExtractor,
)
from dcbmr.errors import InputError
from dcbmr.features.features_writer import FAILED
from dcbmr.features.featurize import features_of_files, featurize
from dcbmr.features.recipe import Recipe
from dcbmr.features.store import FeatureStore
from dcbmr.testing.checks import Check, assert_annotated_keywords, checks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS = 4.0
# Of kinds that are made of frames, and have no rate of their own.
_SR = 22050.0


def feature_checks(kind: str, *, seconds: float = _SECONDS, **params: Any) -> list[Check]:
    """Return the checks that a kind of feature must pass.

    Parameters
    ----------
    kind : str
        One of :func:`dcbmr.extractors`.
    seconds : float
        Length of the sounds, for kinds that need longer ones.
    **params
        Parameters of its extractor.
    """
    suite = _FeatureSuite(kind, params, seconds)
    checks = checks_of(suite)
    if not suite.spec.is_streaming:
        checks = [check for check in checks if check.name != "rows_do_not_depend_on_how_a_song_is_cut"]
    return checks


class _FeatureSuite:
    """The checks; a song is its samples or, for a kind that is made of others, the frames of these."""

    def __init__(self, kind: str, params: Mapping[str, Any], seconds: float) -> None:
        self.kind = kind
        self.spec: FeatureSpec = registry.find_extractor(kind)
        self.factory = registry.resolve(self.spec)
        self.params = dict(params)
        self.seconds = seconds
        self._parts = {source: registry.get_extractor(source) for source in self.spec.made_of}

    def make(self, **changed: Any) -> FeatureExtractor:
        sources = {name: _config_of(name, part) for name, part in self._parts.items()}
        return registry.get_extractor(self.kind, sources=sources or None, **self.params | changed)

    @property
    def sr(self) -> float:
        return next(iter(self._parts.values())).sr if self._parts else self.make().sr

    def sound(self, seed: int = 0) -> NDArray[np.float32]:
        """Return a chord that swells and beats, with noise, at the extractor's rate."""
        rng = np.random.default_rng(seed)
        time = np.arange(round(self.seconds * self.sr)) / self.sr
        chord = sum(np.sin(2 * np.pi * hz * time) for hz in 220 * 2 ** (rng.integers(0, 24, 3) / 12))
        beats = np.exp(-4 * (time % 0.5))
        noise = 0.02 * rng.standard_normal(len(time))
        return _read_only((0.1 * chord * beats + noise).astype(np.float32))

    def rows(
        self, samples: NDArray[np.float32], *, cuts: Sequence[int] = (), extractor: Any = None
    ) -> NDArray[Any]:
        """Return what the extractor makes of a song, cut into pieces at ``cuts``; always (n, n_dims)."""
        made = extractor or self.make()
        if self._parts:
            return self._of_frames(made, samples, cuts)
        if not self.spec.is_streaming:
            return _as_rows(cast(WholeExtractor, made).extract(samples), self.spec)
        stream = cast(StreamingExtractor, made).stream()
        pieces = [stream.accept(piece) for piece in np.split(samples, cuts) if len(piece)]
        return np.concatenate([*pieces, stream.finish()])

    def _of_frames(self, made: Any, samples: NDArray[np.float32], cuts: Sequence[int]) -> NDArray[Any]:
        streams = {name: cast(StreamingExtractor, part).stream() for name, part in self._parts.items()}
        dtypes = {name: registry.find_kind(name).dtype for name in streams}

        def as_stored(name: str, rows: NDArray[Any]) -> NDArray[np.float32]:
            return np.ascontiguousarray(rows.astype(dtypes[name]), np.float32)

        pieces = [
            {name: as_stored(name, stream.accept(piece)) for name, stream in streams.items()}
            for piece in np.split(samples, cuts)
            if len(piece)
        ]
        pieces.append({name: as_stored(name, stream.finish()) for name, stream in streams.items()})
        if not self.spec.is_streaming:
            whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in streams}
            return _as_rows(made.extract(whole), self.spec)
        stream = made.stream()
        return np.concatenate([*map(stream.accept, pieces), stream.finish()])

    def check_constructor_takes_annotated_keywords(self) -> None:
        parameters = inspect.signature(self.factory).parameters.values()
        assert_annotated_keywords(parameters)
        assert ("sources" in registry.parameters(self.factory)) == bool(self._parts), (
            "a kind that is made of others declares `sources`, and no other kind does"
        )

    def check_has_what_its_spec_declares(self) -> None:
        method = "stream" if self.spec.is_streaming else "extract"
        assert callable(getattr(self.factory, method, None)), (
            f"the spec says is_streaming={self.spec.is_streaming}, and there is no method {method}"
        )
        if self.spec.has_check:
            assert callable(getattr(self.factory, "check", None)), (
                "the spec says has_check, and there is no check"
            )

    def check_states_its_rate_and_its_dimensions(self) -> None:
        made = self.make()
        assert isinstance(made.n_dims, int), f"n_dims is {made.n_dims!r}, wanted a whole number"
        assert made.n_dims > 0, f"n_dims is {made.n_dims}"
        if not self._parts:
            assert np.isfinite(made.sr), f"sr is {made.sr!r}, wanted a number of Hz"
            assert made.sr > 0, f"sr is {made.sr!r}, wanted a number of Hz"

    def check_config_is_json_and_the_same_for_the_same_parameters(self) -> None:
        config = self.make().config
        assert json.loads(json.dumps(config)) == config, (
            f"config is {config}: it comes back from JSON as something else (use lists, not tuples)"
        )
        assert self.make().config == config, "two extractors of the same parameters have another config"

    def check_config_has_the_parameters_that_change_the_numbers(self) -> None:
        """Features of one config are taken for alike: each number is tried at its double and at its half."""
        made = self.make()
        song = self.sound()
        for name, parameter in registry.parameters(self.factory).items():
            value = self.params.get(name, parameter.default)
            if isinstance(value, bool) or not isinstance(value, int | float) or name == "sr":
                continue
            for other in (type(value)(2 * value), type(value)(value / 2)):
                try:
                    changed = self.make(**{name: other})
                    rows = self.rows(song, extractor=changed)
                except (InputError, ValueError):  # out of its range, or the song is too short for it
                    continue
                if changed.config == made.config:
                    whole = self.rows(song, extractor=made)
                    assert np.array_equal(rows, whole), (
                        f"{name} of {value} and of {other} give other numbers and the same config"
                    )

    def check_rows_are_what_it_states(self) -> None:
        made = self.make()
        self.assert_rows(self.rows(self.sound(), extractor=made), made.n_dims)

    def assert_rows(self, rows: Any, n_dims: int, what: str = "a song") -> None:
        """Fail unless rows are finite numbers of the stated dimensions, that can be stored as stated."""
        assert isinstance(rows, np.ndarray), f"{what} gave a {type(rows).__name__}, wanted an array"
        assert np.issubdtype(rows.dtype, np.floating), f"{what} gave numbers of {rows.dtype}, wanted float32"
        assert rows.ndim == 2, f"{what} gave shape {rows.shape}, wanted (n, {n_dims})"
        assert rows.shape[1] == n_dims, f"{what} gave shape {rows.shape}, wanted (n, {n_dims})"
        assert self.spec.shape == "frames" or len(rows) == 1, f"{what} gave {len(rows)} vectors, wanted one"
        assert np.isfinite(rows).all(), f"{what} gave numbers that are not finite"
        with np.errstate(over="ignore"):
            stored = rows.astype(self.spec.dtype)
        assert np.isfinite(stored).all(), (
            f"{what} gave {np.abs(rows).max():.3g}, which {self.spec.dtype} cannot hold; offer dtype='<f4'"
        )

    def check_the_same_song_gives_the_same_bits(self) -> None:
        made, song = self.make(), self.sound()
        first = self.rows(song, extractor=made)
        _assert_same(self.rows(song, extractor=made), first, "the same song a second time")
        _assert_same(self.rows(song), first, "the same song and another extractor")

    def check_songs_on_several_threads_do_not_mix(self) -> None:
        made = self.make()
        songs = [self.sound(seed) for seed in range(4)]
        alone = [self.rows(song, extractor=made) for song in songs]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(lambda song: self.rows(song, extractor=made), songs))
        for number, (found, expected) in enumerate(zip(together, alone, strict=True)):
            _assert_same(found, expected, f"song {number} beside others on another thread")

    def check_rows_do_not_depend_on_how_a_song_is_cut(self) -> None:
        song = self.sound()
        whole = self.rows(song)
        for cuts in ([1], [len(song) // 2], list(range(777, len(song), 777)), [len(song) - 1]):
            _assert_same(self.rows(song, cuts=cuts), whole, f"a song in {len(cuts) + 1} pieces")

    def check_leaves_the_samples_alone(self) -> None:
        song = self.sound().copy()
        before = song.copy()
        self.rows(song)
        assert np.array_equal(song, before), "the samples were written to"
        try:
            self.rows(self.sound())
        except ValueError as error:
            raise AssertionError(f"samples that are read-only are not taken: {error}") from error

    def check_silence(self) -> None:
        made = self.make()
        self.assert_rows(self.rows(np.zeros_like(self.sound()), extractor=made), made.n_dims, "silence")

    def check_one_sample(self) -> None:
        """A file of one sample has no frame; a vector kind may make one of it, or say what it lacks."""
        made = self.make()
        try:
            rows = self.rows(np.full(1, 0.5, np.float32), extractor=made)
        except InputError:
            return
        except Exception as error:
            raise AssertionError(
                f"one sample raised {type(error).__name__}: {error}; wanted no frames, a vector, or an "
                "InputError that says how much is needed"
            ) from error
        if len(rows) or self.spec.shape == "vectors":
            self.assert_rows(rows, made.n_dims, "one sample")

    def check_files_of_other_rates_through_the_host(self) -> None:
        """What featurize stores is made of the samples at the kind's rate, whatever the file's is."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            wanted = self._write_songs(root)
            store = self._featurize(root)
            stored = store[self.kind]
            made = self.make()
            assert stored.n_dims == made.n_dims, f"stored with {stored.n_dims} dimensions, not {made.n_dims}"
            for song, samples in wanted.items():
                expected = self.rows(samples, extractor=made).astype(stored.dtype).astype(np.float32)
                _assert_same(np.atleast_2d(stored[song]), expected, f"{song} through featurize")

    def check_a_new_file_is_made_like_the_stored_ones(self) -> None:
        """A model makes the features of a new file by what the store says of them; so must the extractor."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            songs = list(self._write_songs(root))
            stored = self._featurize(root)[self.kind]
            paths = [root / "audio" / f"{song}.wav" for song in songs]
            again = features_of_files(paths, Recipe.again([stored.config]))[self.kind]
            for row, song in enumerate(songs):
                found = again.frames(row) if self.spec.shape == "frames" else again.vectors()[[row]]
                as_stored = np.asarray(found).astype(stored.dtype).astype(np.float32)
                _assert_same(as_stored, np.atleast_2d(stored[song]), f"{song}, made again")

    def check_what_is_stored_is_inert(self) -> None:
        """Nothing of a store is executed when it is read: it is text and numbers."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            self._write_songs(root)
            self._featurize(root)
            for path in (root / "features").rglob("*"):
                assert path.is_dir() or path.suffix in (".json", ".tsv", ".bin"), f"{path.name} was written"

    def _write_songs(self, root: Path) -> dict[str, NDArray[np.float32]]:
        """Write files of three rates; return their samples at the kind's rate, as the host decodes them."""
        (root / "audio").mkdir()
        songs = {}
        for seed, (sr, n_channels) in enumerate([(44100, 2), (16000, 1), (round(self.sr), 1)]):
            n_samples = round(self.seconds * sr)
            wave = np.interp(
                np.arange(n_samples) / sr, np.arange(len(self.sound())) / self.sr, self.sound(seed)
            )
            path = root / "audio" / f"song{seed}.wav"
            soundfile.write(path, np.tile(wave[:, None], n_channels), sr, subtype="FLOAT")
            songs[path.stem] = np.concatenate(list(decode(path, self.sr)))
        return songs

    def _featurize(self, root: Path) -> FeatureStore:
        params = {f"{self.kind}.{name}": value for name, value in self.params.items()}
        report = featurize(root / "audio", root / "features", kinds=[self.kind], params=params)
        if report.failed:
            failed = (root / "features" / FAILED).read_text("utf-8")
            raise AssertionError(f"featurize could not use the suite's files: {failed}")
        return FeatureStore.open(root / "features")


def _config_of(kind: str, extractor: FeatureExtractor) -> FeatureConfig:
    known = registry.find_kind(kind)
    return FeatureConfig(
        kind=kind,
        shape=known.shape,
        dtype=known.dtype,
        n_dims=extractor.n_dims,
        settings=extractor.config,
    )


def _as_rows(made: NDArray[Any], spec: FeatureSpec) -> NDArray[Any]:
    if spec.shape == "frames":
        return made
    assert made.ndim == 1, f"extract gave shape {made.shape}, wanted one vector, (n_dims,)"
    return np.asarray(made[None])


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.flags.writeable = False
    return array


def _assert_same(found: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, wanted {expected.shape}"
    if not np.array_equal(found, expected):
        n_bad = int((found != expected).sum())
        raise AssertionError(f"{what}: {n_bad} of {found.size} numbers are others")
