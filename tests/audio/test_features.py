"""LogMel and MFCC: the numbers, and that no chunking changes them."""

import threading

import numpy as np
import pytest
import reference

import dcbmr

librosa = pytest.importorskip("librosa")

# Short frames leave the lowest bands without a bin; librosa warns.
pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")

SR = 22050


@pytest.fixture(scope="module")
def music():
    """Three seconds of noise, tones, silence and clicks."""
    rng = np.random.default_rng(0)
    t = np.arange(3 * SR) / SR
    signal = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t * t)
    signal += 0.05 * rng.standard_normal(len(t))
    signal[SR : SR + 4000] = 0
    signal[SR + 8000] = 1
    return signal.astype(np.float32)


def of_librosa(signal, n_fft=1024, hop_length=512, n_mels=128, **mel):
    power = librosa.feature.melspectrogram(
        y=signal.astype(float),
        sr=SR,
        n_fft=n_fft,
        hop_length=hop_length,
        center=False,
        n_mels=n_mels,
        dtype=float,
        **mel,
    )
    cepstra = librosa.feature.mfcc(S=librosa.power_to_db(power, amin=1e-10, top_db=None), n_mfcc=13)
    deltas = [librosa.feature.delta(cepstra, width=9, order=order, mode="nearest") for order in (1, 2)]
    return power.T, np.vstack([cepstra, *deltas]).T


def power_of(log_mel):
    return np.expm1(log_mel.astype(float)) / 1e4


@pytest.mark.parametrize("n_fft", [128, 256, 512, 1024, 2048, 4096, 8192])
def test_agrees_with_librosa(music, n_fft, isa):
    power, mfcc = of_librosa(music, n_fft=n_fft)
    ours = power_of(dcbmr.LogMel(n_fft=n_fft)(music))
    # Relative to the band, down to what a float32 spectrum resolves beside the loudest band.
    assert np.all(np.abs(ours - power) <= 1e-4 * power + 1e-11 * power.max(axis=1, keepdims=True) + 2e-11)
    np.testing.assert_allclose(dcbmr.MFCC(n_fft=n_fft)(music), mfcc, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize("band", [(0.0, None, 128), (50.0, 8000.0, 40), (0.0, 11025.0, 17)])
def test_mel_scales_and_norms(music, htk, norm, band):
    fmin, fmax, n_mels = band
    options = {"htk": htk, "norm": norm, "fmin": fmin, "fmax": fmax, "n_mels": n_mels}
    power, mfcc = of_librosa(music, **options)
    ours = power_of(dcbmr.LogMel(**options)(music))
    assert ours.shape == power.shape
    assert np.all(np.abs(ours - power) <= 1e-4 * power + 1e-11 * power.max(axis=1, keepdims=True) + 2e-11)
    np.testing.assert_allclose(dcbmr.MFCC(**options)(music), mfcc, atol=1e-3, rtol=1e-5)


def test_agrees_with_the_reference(music):
    np.testing.assert_allclose(dcbmr.LogMel()(music), reference.log_mel(music), atol=2e-5)
    np.testing.assert_allclose(dcbmr.MFCC()(music), reference.mfcc(music), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("hop_length", [1, 160, 512, 1024, 1500, 5000])
@pytest.mark.parametrize("kind", [dcbmr.LogMel, dcbmr.MFCC])
@pytest.mark.parametrize("chunk", [1, 7, 511, 512, 513, 1024, 4097, 10**6])
def test_chunks_equal_the_whole(music, kind, hop_length, chunk):
    n = min(len(music), 6000 if chunk < 100 or hop_length < 100 else len(music))
    feature = kind(hop_length=hop_length)
    whole = feature(music[:n])
    stream = feature.stream()
    parts = [stream.accept(music[:0])]
    for begin in range(0, n, chunk):
        parts += [stream.accept(music[begin : min(begin + chunk, n)]), stream.accept([])]
    parts.append(stream.finish())
    streamed = np.concatenate(parts)
    assert len(whole) == 1 + (n - 1024) // hop_length
    np.testing.assert_array_equal(streamed, whole)


def test_a_frame_does_not_depend_on_its_neighbours(music, isa):
    feature = dcbmr.LogMel()
    whole = feature(music)
    for t in (0, 1, 17, len(whole) - 1):
        np.testing.assert_array_equal(feature(music[512 * t : 512 * t + 1024])[0], whole[t])


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1535, 1536, 1024 + 512 * 3, 1024 + 512 * 9])
def test_lengths(music, n):
    expected = max(0, 1 + (n - 1024) // 512)
    assert dcbmr.LogMel()(music[:n]).shape == (expected, 128)
    assert dcbmr.MFCC()(music[:n]).shape == (expected, 39)
    if expected:
        np.testing.assert_allclose(dcbmr.MFCC()(music[:n]), of_librosa(music[:n])[1], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("deltas", [0, 1, 2])
@pytest.mark.parametrize("n_mfcc", [1, 8, 13, 20, 128])
def test_mfcc_sizes(music, n_mfcc, deltas):
    feature = dcbmr.MFCC(n_mfcc=n_mfcc, deltas=deltas)
    frames = feature(music)
    assert frames.shape[1] == feature.n_dims == n_mfcc * (1 + deltas)
    full = dcbmr.MFCC(n_mfcc=128)(music)
    for order in range(1 + deltas):
        np.testing.assert_allclose(
            frames[:, order * n_mfcc : (order + 1) * n_mfcc],
            full[:, order * 128 : order * 128 + n_mfcc],
            atol=2e-4,
        )


def test_both_kinds_from_one_pass(music):
    stream = dcbmr.share_spectrum({"mel": dcbmr.LogMel(), "mfcc": dcbmr.MFCC()}).stream()
    ready, rest = stream.accept(music), stream.finish()
    np.testing.assert_array_equal(ready["mel"], dcbmr.LogMel()(music))
    assert rest["mel"].shape == (0, 128)
    np.testing.assert_array_equal(np.concatenate([ready["mfcc"], rest["mfcc"]]), dcbmr.MFCC()(music))
    assert dcbmr.share_spectrum({"mel": dcbmr.LogMel(n_mels=40), "mfcc": dcbmr.MFCC()}) is None


def test_silence_and_direct_current():
    assert not dcbmr.LogMel()(np.zeros(5000, np.float32)).any()
    quiet = dcbmr.MFCC()(np.zeros(5000, np.float32))
    np.testing.assert_allclose(quiet[:, 0], -100 * np.sqrt(128), atol=5e-4)
    assert np.abs(quiet[:, 1:]).max() < 1e-3
    for level in (1.0, 1e30, 1e-30):
        assert np.isfinite(dcbmr.LogMel()(np.full(5000, 0.5 * min(level, 1e3), np.float32))).all()


def test_takes_other_layouts(music):
    expected = dcbmr.LogMel()(music)
    np.testing.assert_array_equal(dcbmr.LogMel()(music.astype(np.float64)), expected)
    strided = np.repeat(music, 2)[::2]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(dcbmr.LogMel()(strided), expected)
    frozen = music.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(dcbmr.LogMel()(frozen), expected)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 5000), np.float32), r"wanted one channel, shape \(n_samples,\), got shape \(2, 5000\)"),
        (np.zeros(5000, np.int16), "wanted float32 between -1 and 1, got int16"),
        (np.array([0.0, np.nan]), "sample 1 is NaN or infinite"),
        (np.r_[np.zeros(70000), np.inf, np.nan], "sample 70000 is NaN or infinite"),
    ],
)
def test_bad_samples(samples, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.LogMel()(samples)


def test_a_refused_chunk_leaves_the_stream_as_it_was(music):
    stream = dcbmr.MFCC().stream()
    parts = [stream.accept(music[:3000])]
    with pytest.raises(dcbmr.InputError):
        stream.accept(np.array([np.nan], np.float32))
    parts += [stream.accept(music[3000:]), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(parts), dcbmr.MFCC()(music))
    with pytest.raises(dcbmr.DcbmrError, match="finished"):
        stream.accept(music)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 1000}, "n_fft: wanted a power of two from 128 to 8192, got 1000"),
        ({"n_fft": 64}, "got 64"),
        ({"n_fft": 1024.5}, "whole numbers"),
        ({"hop_length": 0}, "hop_length: wanted at least 1, got 0"),
        ({"n_mels": 0}, "n_mels: wanted 1 to 4096, got 0"),
        ({"fmin": 5000.0, "fmax": 4000.0}, "wanted 0 <= fmin < fmax <= sr / 2"),
        ({"fmax": 12000.0}, "fmax <= sr / 2"),
        ({"sr": float("nan")}, "sr: wanted a positive number"),
        ({"norm": "l1"}, "norm: wanted 'slaney' or None, got 'l1'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.LogMel(**options)


def test_bad_mfcc_settings():
    for n_mfcc in (0, 129):
        with pytest.raises(dcbmr.InputError, match=f"n_mfcc: wanted 1 to n_mels, got {n_mfcc}"):
            dcbmr.MFCC(n_mfcc=n_mfcc)
    with pytest.raises(dcbmr.InputError, match="deltas: wanted 0, 1 or 2, got 3"):
        dcbmr.MFCC(deltas=3)


def test_config_makes_the_same_extractor(music):
    for feature in (dcbmr.LogMel(htk=True, n_mels=40), dcbmr.MFCC(n_mfcc=20, deltas=1, norm=None)):
        np.testing.assert_array_equal(type(feature)(**feature.config)(music), feature(music))


def test_a_stream_refuses_a_second_thread():
    samples = np.random.default_rng(3).standard_normal(22050 * 100).astype(np.float32)
    wanted = dcbmr.LogMel()(samples)
    refused = 0
    for _ in range(100):  # a busy machine may not let the two meet at once
        stream, found = dcbmr.LogMel().stream(), []

        def work(stream=stream, found=found):
            while not found:
                try:
                    found.append(stream.accept(samples))
                except RuntimeError:  # the other thread was in first
                    continue

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            try:
                stream.accept(samples[:0])
            except RuntimeError as error:
                assert "in use by another thread" in str(error)  # noqa: PT017
                refused += 1
        np.testing.assert_array_equal(found[0], wanted)
        if refused:
            break
    assert refused > 0
