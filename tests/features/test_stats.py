"""Summary statistics: against their definitions, cut anyhow, and as a kind of feature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
import soundfile

import dcbmr
from dcbmr.contract.features import FeatureConfig
from dcbmr.features.featurize import features_of_files
from dcbmr.features.recipe import Recipe
from dcbmr.features.stats import SongStatistics
from dcbmr.features.store import FeatureStore


def made_for(n_mels=128, n_mfcc=13, deltas=2, hop_length=512):
    frames = {"sr": 22050, "hop_length": hop_length}
    cepstra = {**frames, "n_mfcc": n_mfcc, "deltas": deltas}
    mel = FeatureConfig(kind="mel", shape="frames", dtype="<f2", n_dims=n_mels, settings=frames)
    n_dims = n_mfcc * (1 + deltas)
    mfcc = FeatureConfig(kind="mfcc", shape="frames", dtype="<f4", n_dims=n_dims, settings=cepstra)
    return SongStatistics(sources={"mel": mel, "mfcc": mfcc})


def drawn(extractor, n_frames, seed=0):
    rng = np.random.default_rng(seed)
    n_mels, n_mfcc = (extractor.sources[kind].n_dims for kind in ("mel", "mfcc"))
    level = 1 + np.cos(2 * np.pi * np.arange(n_frames) / 20)[:, None]
    mel = (level * rng.gamma(2, 1, (n_frames, n_mels))).astype(np.float16).astype(np.float32)
    return {"mel": mel, "mfcc": rng.normal(-20, 40, (n_frames, n_mfcc)).astype(np.float32)}


def vector(extractor, frames):
    stream = extractor.stream()
    stream.accept(frames)
    return stream.finish()[0]


@pytest.mark.parametrize("n_frames", [1, 2, 100, 256, 900])
@pytest.mark.parametrize("sizes", [{}, {"n_mels": 40, "n_mfcc": 20, "deltas": 1}, {"hop_length": 128}])
def test_statistics_are_those_of_the_definitions(n_frames, sizes):
    extractor = made_for(**sizes)
    frames = drawn(extractor, n_frames)
    found = vector(extractor, frames)
    wanted = reference.statistics(
        frames["mel"], frames["mfcc"], sizes.get("n_mfcc", 13), 22050 / sizes.get("hop_length", 512)
    )
    assert len(extractor.names) == len(set(extractor.names)) == extractor.n_dims == len(wanted)
    for name, value, definition in zip(extractor.names, found, wanted, strict=True):
        assert value == pytest.approx(definition, rel=2e-4, abs=2e-4), name


def test_they_do_not_depend_on_how_frames_are_cut():
    extractor = made_for()
    frames = drawn(extractor, 700)
    stream = extractor.stream()
    for t in range(0, 700, 37):  # and the kinds keep different paces
        stream.accept({"mel": frames["mel"][t : t + 37], "mfcc": frames["mfcc"][max(0, t - 4) : t + 33]})
    stream.accept({"mel": frames["mel"][:0], "mfcc": frames["mfcc"][699:]})
    np.testing.assert_array_equal(stream.finish()[0], vector(extractor, frames))


def test_in_the_pass_over_the_audio_they_are_those_of_the_stored_frames(tmp_path):
    rng = np.random.default_rng(0)
    for i, seconds in enumerate((0.2, 12)):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * rng.standard_normal(int(22050 * seconds)), 22050)
    for n_threads in (1, 2):
        dcbmr.featurize(
            tmp_path, tmp_path / f"f{n_threads}", kinds=("mel", "mfcc", "stats"), n_threads=n_threads
        )
    store, other = (FeatureStore.open(tmp_path / f"f{n}") for n in (1, 2))
    extractor = SongStatistics(sources={kind: store[kind].config for kind in ("mel", "mfcc")})
    for song in ("0", "1"):
        frames = {kind: store[kind][song] for kind in ("mel", "mfcc")}
        np.testing.assert_array_equal(store["stats"][song], vector(extractor, frames))
        np.testing.assert_array_equal(store["stats"][song], other["stats"][song])
    dcbmr.featurize(tmp_path, tmp_path / "alone", kinds=("stats",))
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "alone")["stats"]["1"], store["stats"]["1"])


def test_a_file_has_the_statistics_that_a_store_of_it_has(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(22050 * 9), 22050)
    dcbmr.featurize(path, tmp_path / "f", kinds=("stats",))
    store = FeatureStore.open(tmp_path / "f")["stats"]
    made = features_of_files([path], Recipe.again([store.config]))["stats"]
    np.testing.assert_array_equal(made.vectors()[0], store["song"])


def test_too_few_frames_a_second_are_refused():
    with pytest.raises(dcbmr.InputError, match="frames a second"):
        made_for(hop_length=40_000).stream()


def test_frames_that_do_not_say_their_rate_are_refused():
    extractor = made_for()
    silent = replace(extractor.sources["mel"], settings={"sr": 22050})
    with pytest.raises(dcbmr.InputError, match="frames of kind 'mel' do not say their hop_length"):
        SongStatistics(sources={**extractor.sources, "mel": silent}).stream()
