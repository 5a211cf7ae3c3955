"""What the host makes of an extractor: a store, and features of new files like those in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from dcbmr.audio.decode import decode
from dcbmr.features.features_writer import FAILED
from dcbmr.features.featurize import features_of_files, featurize
from dcbmr.features.recipe import Recipe
from dcbmr.features.store import FeatureStore
from dcbmr.testing.features.subject import Subject, assert_same

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_files_of_other_rates_through_the_host(subject: Subject) -> None:
    """What featurize stores is made of the samples at the kind's rate, whatever the file's is."""
    with _stored(subject) as made:
        stored, extractor = made.store[subject.kind], subject.make()
        assert stored.n_dims == extractor.n_dims, (
            f"stored with {stored.n_dims} dimensions, and n_dims is {extractor.n_dims}; let it depend on the "
            "parameters alone"
        )
        for song, samples in made.samples.items():
            rows = subject.rows(samples, extractor=extractor)
            expected = rows.astype(stored.dtype).astype(np.float32)
            cure = "let the numbers depend on the samples and the parameters alone"
            assert_same(np.atleast_2d(stored[song]), expected, f"{song} through featurize", cure)


def check_a_new_file_is_made_like_the_stored_ones(subject: Subject) -> None:
    """A model makes the features of a new file by what the store says of them; so must the extractor."""
    with _stored(subject) as made:
        stored = made.store[subject.kind]
        paths = [made.root / "audio" / f"{song}.wav" for song in made.samples]
        again = features_of_files(paths, Recipe.again([stored.config]))[subject.kind]
        for row, song in enumerate(made.samples):
            found = again.frames(row) if subject.spec.shape == "frames" else again.vectors()[[row]]
            as_stored = np.asarray(found).astype(stored.dtype).astype(np.float32)
            cure = "let the numbers depend on the samples and the constructor's parameters alone"
            assert_same(as_stored, np.atleast_2d(stored[song]), f"{song}, made again", cure)


def check_what_is_stored_is_inert(subject: Subject) -> None:
    """Nothing of a store is executed when it is read: it is text and numbers."""
    with _stored(subject) as made:
        for path in (made.root / "features").rglob("*"):
            assert path.is_dir() or path.suffix in (".json", ".tsv", ".bin"), (
                f"{path.name} was written into the store; an extractor writes nothing"
            )


@dataclass
class _Stored:
    root: Path
    samples: dict[str, NDArray[np.float32]]
    store: FeatureStore


@contextmanager
def _stored(subject: Subject) -> Iterator[_Stored]:
    """Give a folder with ``audio``, three files, and ``features``, what featurize makes of them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        samples = _write_songs(subject, root / "audio")
        params = {f"{subject.kind}.{name}": value for name, value in subject.params.items()}
        report = featurize(root / "audio", root / "features", kinds=[subject.kind], params=params)
        if report.failed:
            failed = (root / "features" / FAILED).read_text("utf-8")
            raise AssertionError(
                f"featurize could not use the suite's files: {failed}; take any sound of "
                f"{subject.seconds:g} s, or give feature_checks longer ones by seconds=..."
            )
        yield _Stored(root, samples, FeatureStore.open(root / "features"))


def _write_songs(subject: Subject, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Write files of three rates; return their samples at the kind's rate, as the host decodes them."""
    folder.mkdir()
    songs = {}
    for seed, (sr, n_channels) in enumerate([(44100, 2), (16000, 1), (round(subject.sr), 1)]):
        sound = subject.sound(seed)
        n_samples = round(subject.seconds * sr)
        wave = np.interp(np.arange(n_samples) / sr, np.arange(len(sound)) / subject.sr, sound)
        path = folder / f"song{seed}.wav"
        soundfile.write(path, np.tile(wave[:, None], n_channels), sr, subtype="FLOAT")
        songs[path.stem] = np.concatenate(list(decode(path, subject.sr)))
    return songs
