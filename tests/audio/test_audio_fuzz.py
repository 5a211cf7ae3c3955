"""Damaged files and odd chunks: an InputError or finite samples, and never another frame."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dcbmr
from dcbmr.audio.decode import decode
from dcbmr.audio.frames import SharedSpectrum

quiet = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
RNG = np.random.default_rng(0)
NOISE = (0.1 * RNG.standard_normal((6000, 2))).astype(np.float32)
SIGNAL = (0.1 * RNG.standard_normal(12_000)).astype(np.float32)
EXTRACTOR = SharedSpectrum(["mel", "mfcc"])


def encoded(**options):
    file = io.BytesIO()
    soundfile.write(file, NOISE, options.pop("sr", 44100), **options)
    return file.getvalue()


FILES = {
    "wav": encoded(format="WAV"),
    "float.wav": encoded(format="WAV", subtype="FLOAT"),
    "flac": encoded(format="FLAC"),
    "ogg": encoded(format="OGG", subtype="VORBIS"),
    "opus": encoded(format="OGG", subtype="OPUS", sr=48000),
    "mp3": encoded(format="MP3"),
}


def decoded(path):
    """The samples of a file, or none with the reason in an InputError that names it."""
    try:
        return np.concatenate(list(decode(path, duration=30.0)))
    except dcbmr.InputError as error:
        return np.empty(0, np.float32) if str(path) in str(error) else pytest.fail(str(error))


def of_whole(samples):
    stream = EXTRACTOR.stream()
    ready, rest = stream.accept(samples), stream.finish()
    return {kind: np.concatenate([ready[kind], rest[kind]]) for kind in ready}


@pytest.mark.parametrize("ending", FILES)
@quiet
@given(data=st.data())
def test_damaged_files(tmp_path, ending, data):
    content = bytearray(FILES[ending])
    for _ in range(data.draw(st.integers(1, 8), label="changes")):
        at = data.draw(st.integers(0, len(content) - 1), label="at")
        content[at] = data.draw(st.integers(0, 255), label="byte")
    content = content[: data.draw(st.integers(1, len(content)), label="length")]
    if data.draw(st.booleans(), label="tail"):
        content += data.draw(st.binary(max_size=200), label="bytes")
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(content)
    samples = decoded(path)
    assert samples.ndim == 1
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()


@quiet
@given(content=st.binary(max_size=400), ending=st.sampled_from(["wav", "mp3", "flac", "ogg", "m4a", "aiff"]))
def test_bytes_that_are_no_audio(tmp_path, content, ending):
    path = tmp_path / f"noise.{ending}"
    path.write_bytes(content)
    assert np.isfinite(decoded(path)).all()


@quiet
@given(
    cuts=st.lists(st.integers(0, len(SIGNAL)), max_size=40),
    length=st.integers(0, len(SIGNAL)),
)
def test_any_chunks_equal_the_whole(cuts, length):
    signal = SIGNAL[:length]
    stream = EXTRACTOR.stream()
    parts = [stream.accept(part) for part in np.split(signal, sorted(min(cut, length) for cut in cuts))]
    parts.append(stream.finish())
    for kind, whole in of_whole(signal).items():
        np.testing.assert_array_equal(np.concatenate([part[kind] for part in parts]), whole)


@quiet
@given(
    n_fft=st.sampled_from([128, 256, 512, 1024, 2048]),
    hop_length=st.integers(1, 3000),
    cut=st.integers(0, len(SIGNAL)),
    n_mels=st.integers(1, 140),
    deltas=st.integers(0, 2),
)
def test_any_settings_count_their_frames(n_fft, hop_length, cut, n_mels, deltas):
    options = {"n_fft": n_fft, "hop_length": max(hop_length, 16), "n_mels": n_mels}
    n_frames = 1 + (len(SIGNAL) - n_fft) // options["hop_length"]
    mel, mfcc = dcbmr.LogMel(**options), dcbmr.MFCC(n_mfcc=min(13, n_mels), deltas=deltas, **options)
    assert mel(SIGNAL).shape == (n_frames, n_mels)
    assert mfcc(SIGNAL).shape == (n_frames, min(13, n_mels) * (1 + deltas))
    for feature in (mel, mfcc):
        stream = feature.stream()
        parts = [stream.accept(SIGNAL[:cut]), stream.accept(SIGNAL[cut:]), stream.finish()]
        np.testing.assert_array_equal(np.concatenate(parts), feature(SIGNAL))
