"""Patterns of mel frames: against their definitions, what they must not hear, and as a kind of feature."""

import numpy as np
import pytest
import soundfile
from dcbmr_spectra.patterns import SongPatterns
from scipy.linalg import expm

import dcbmr

SETTINGS = {"sr": 22050, "n_fft": 1024, "hop_length": 512, "fmin": 0.0, "fmax": None, "htk": False}
TIMBRE, SPECTRUM, TEMPO = slice(0, 351), slice(351, 879), 879
TOGETHER, LATER, HARMONY = slice(880, 886), slice(886, 966), slice(966, 1190)


def made_for(n_mels=128, **settings):
    mel = dcbmr.FeatureConfig(
        kind="mel", shape="frames", dtype="<f2", n_dims=n_mels, settings=SETTINGS | settings
    )
    return SongPatterns(sources={"mel": mel})


def drawn(n_frames, n_mels=128, seed=0):
    rng = np.random.default_rng(seed)
    level = 1 + np.cos(2 * np.pi * np.arange(n_frames) / 20)[:, None]
    return (level * rng.gamma(2, 1, (n_frames, n_mels))).astype(np.float32)


def pattern(frames, **settings):
    found = made_for(frames.shape[1], **settings).extract({"mel": frames})
    assert found.dtype == np.float32
    return found


def frames_of(tmp_path, samples):
    soundfile.write(tmp_path / "song.wav", samples, 22050, subtype="FLOAT")
    dcbmr.featurize(tmp_path / "song.wav", tmp_path / "f", kinds=("mel",), overwrite=True)
    return dcbmr.FeatureStore.open(tmp_path / "f")["mel"]["song"]


def covariance(rows):
    return sum(np.outer(row, row) for row in rows - rows.mean(axis=0)) / len(rows)


def of_logarithm(found, size):
    """Return the covariance of which the numbers are the logarithm, with 0.01 added to each variance."""
    logarithm = np.zeros((size, size))
    numbers = iter(found.astype(np.float64))
    for i in range(size):
        for j in range(i, size):
            logarithm[i, j] = logarithm[j, i] = next(numbers) / (1 if i == j else 2**0.5)
    return expm(logarithm)


def test_covariances_are_those_of_the_definitions():
    mel = drawn(300)
    found = pattern(mel)
    groups = mel.astype(np.float64).reshape(300, 32, 4).mean(axis=2)
    wanted = covariance(groups) + 0.01 * np.eye(32)
    np.testing.assert_allclose(of_logarithm(found[SPECTRUM], 32), wanted, atol=1e-4)
    angles = np.pi / 32 * np.outer(np.arange(13), np.arange(32) + 0.5)
    cepstra = groups @ (np.cos(angles) * np.sqrt(np.where(np.arange(13) == 0, 1, 2) / 32)[:, None]).T
    pieces = [cepstra[at : at + 22] for at in range(0, 300 - 21, 22)]
    rows = np.array([[*piece.mean(axis=0), *piece.std(axis=0)] for piece in pieces])
    wanted = covariance(rows) + 0.01 * np.eye(26)
    np.testing.assert_allclose(of_logarithm(found[TIMBRE], 26), wanted, atol=1e-4)


@pytest.mark.parametrize("bpm", [90, 112, 132, 160])
def test_the_beat_of_a_drum_is_heard(tmp_path, bpm):
    samples = 1e-3 * np.random.default_rng(0).standard_normal(22050 * 20).astype(np.float32)
    beat, t = 22050 * 60 / bpm, np.arange(2000) / 22050
    for at in np.arange(0, len(samples) - 22050, beat).astype(int):
        for start, hz in ((at, 80), (at + round(beat / 2), 8000)):
            samples[start : start + 2000] += 0.3 * np.hanning(2000) * np.sin(2 * np.pi * hz * t)
    found = pattern(frames_of(tmp_path, samples))
    assert 2 ** found[TEMPO] == pytest.approx(bpm, rel=0.04)
    low, high = 0, 3
    a_half, a_beat = (found[LATER].reshape(5, 4, 4)[i] for i in (1, 2))
    assert a_beat[low, low] > 0.5 > 0.1 > a_half[low, low]
    assert a_half[low, high] > 0.3 > 0.1 > a_beat[low, high]


def chords(roots, kinds, seconds=0.46):
    t = np.arange(round(22050 * seconds)) / 22050
    third = {"major": 4, "minor": 3}
    notes = [(root, root + third[kind], root + 7) for root, kind in zip(roots, kinds, strict=True)]
    sound = [sum(np.sin(2 * np.pi * 440 * 2 ** (note / 12) * t) for note in chord) for chord in notes]
    return 0.1 * np.concatenate(sound * 12).astype(np.float32)


def test_harmony_is_the_same_in_another_key_and_later(tmp_path):
    roots, kinds = [0, 5, 7, 0, 9, 5, 7, 7], ["major"] * 4 + ["minor"] + ["major"] * 3

    def harmony(samples):
        return pattern(frames_of(tmp_path, samples))[HARMONY]

    song = harmony(chords(roots, kinds))
    in_another_key = harmony(chords([root + 3 for root in roots], kinds))
    later = harmony(chords(roots[3:] + roots[:3], kinds[3:] + kinds[:3]))
    of_another = harmony(chords([0, 1, 2, 3, 4, 5, 6, 8], ["minor"] * 8))
    away = [float(np.linalg.norm(song - other)) for other in (in_another_key, later, of_another)]
    assert max(away[:2]) < 0.7 * away[2], away


@pytest.mark.parametrize("settings", [{}, {"htk": True}, {"fmin": 50.0, "fmax": 8000.0}])
def test_bands_lie_where_the_mel_scale_has_them(settings):
    librosa = pytest.importorskip("librosa")
    chosen = {"fmin": 0.0, "fmax": 11025.0, "htk": False, **settings}
    np.testing.assert_allclose(made_for(**settings)._edges(), librosa.mel_frequencies(130, **chosen))


@pytest.mark.parametrize("n_frames", [1, 2, 30, 2000])
@pytest.mark.parametrize("n_mels", [1, 20, 128])
def test_any_length_and_number_of_bands_has_a_vector(n_frames, n_mels):
    for frames in (drawn(n_frames, n_mels), np.zeros((n_frames, n_mels), np.float32)):
        found = pattern(frames)
        assert found.shape == (made_for(n_mels).n_dims,)
        assert np.isfinite(found).all()


def test_frames_that_do_not_say_their_rate_are_refused():
    with pytest.raises(dcbmr.InputError, match="frames of kind 'mel' do not say their hop_length"):
        pattern(drawn(30), hop_length=None)
