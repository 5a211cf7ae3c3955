"""A vector a song: its tempo, and how its chroma and its spectral contrast are distributed."""

import librosa
import numpy as np

from dcbmr import InputError

# What librosa's defaults need: six octaves of contrast above 200 Hz, and a frame of 2048 samples.
_LOWEST_SR, _SHORTEST = 16000, 2048


class Harmony:
    """Statistics of librosa's ``chroma_stft``, ``spectral_contrast`` and ``tempo``.

    Parameters
    ----------
    sr : int
        Sampling rate, Hz; at least 16,000.
    n_chroma : int
        Pitch classes of an octave.
    """

    def __init__(self, *, sr: int = 22050, n_chroma: int = 12) -> None:
        self.sr, self.n_chroma = sr, n_chroma

    @property
    def n_dims(self) -> int:
        """The tempo, then means and deviations of chroma and of seven bands of contrast."""
        return 1 + 2 * (self.n_chroma + 7)

    @property
    def config(self) -> dict:
        """All that the numbers depend on: another librosa may compute others."""
        return {"sr": self.sr, "n_chroma": self.n_chroma, "librosa": librosa.__version__}

    def check(self) -> None:
        """Refuse a rate that is too low for the bands of contrast."""
        if self.sr < _LOWEST_SR:
            raise InputError(f"sr: wanted at least {_LOWEST_SR} Hz, for the bands of contrast; got {self.sr}")

    def extract(self, samples) -> np.ndarray:
        """Return the vector of a song, (n_dims,) float32."""
        if len(samples) < _SHORTEST:
            raise InputError(f"wanted at least {_SHORTEST} samples at {self.sr} Hz; got {len(samples)}")
        power = np.abs(librosa.stft(samples)) ** 2
        chroma = librosa.feature.chroma_stft(S=power, sr=self.sr, n_chroma=self.n_chroma, tuning=0.0)
        contrast = librosa.feature.spectral_contrast(S=np.sqrt(power), sr=self.sr)
        tempo = librosa.feature.tempo(y=samples, sr=self.sr)
        parts = [tempo, chroma.mean(axis=1), chroma.std(axis=1), contrast.mean(axis=1), contrast.std(axis=1)]
        return np.concatenate(parts).astype(np.float32)
