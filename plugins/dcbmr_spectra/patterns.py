"""How a song's mel bands move together, its rhythm at the beat and its harmony in any key, as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d

from dcbmr import FeatureConfig, InputError

Float64 = NDArray[np.float64]

_N_GROUPS, _N_CEPSTRA = 32, 13
_PIECE_SECONDS = 0.5
_LEAST_VARIANCE = 0.01
_RANGES_HZ = ((0.0, 120.0), (120.0, 350.0), (600.0, 2400.0), (4500.0, np.inf))
_BEATS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SLOWEST, _USUAL, _FASTEST = 40.0, 120.0, 240.0  # beats a minute
_STEP_SECONDS, _N_STEPS, _HOP_STEPS = 0.23, 64, 8
_LOWEST_HZ, _HIGHEST_HZ, _NEIGHBOURS = 110.0, 2600.0, 9


class SongPatterns:
    """Second-order patterns of a song's log-mel frames: what stats of one band at a time cannot tell.

    The mel bands are averaged in 32 groups of neighbours. A covariance is given by its matrix logarithm,
    0.01 added to every variance: covariances are compared so as if they were plain vectors (Arsigny and
    others, SIAM J. Matrix Analysis 2007); what is off the diagonal counts sqrt(2) times, for it occurs twice.

    - Timbre, 351 numbers: the covariance of means and deviations, in pieces of half a second, of the
      first 13 coefficients of the groups' cosine transform.
    - Spectrum, 528: the covariance of the groups over all frames.
    - Rhythm, 87: log2 of the tempo, and the correlations of the onset strengths of four ranges of bands
      (below 120, 120 to 350, 600 to 2400, above 4500 Hz) with one another at the same time and a quarter, a
      half, one, two and four beats later. An onset strength is what the bands rise by (Dixon, DAFx 2006); the
      beat is the lag of 40 to 240 a minute at which the autocorrelation of their sum times
      ``exp(-log2(bpm / 120)^2 / 2)`` is highest (Ellis, J. New Music Research 2007).
    - Harmony, 224: how loud the 12 pitch classes are in steps of 0.23 s (bands of 110 to 2600 Hz that are
      above their neighbours), cut into patches of 64 steps, one every 8; the median over patches of the
      sizes of their Fourier transform in two dimensions, ``log(1 + size)``. In another key, or moved in time,
      a song has the same (Marolt, IEEE Trans. Multimedia 2008; Bertin-Mahieux and Ellis, ISMIR 2012).

    Parameters
    ----------
    sources : mapping of str to FeatureConfig
        What the frames of "mel" are.

    Raises
    ------
    InputError
        The frames do not say their rate or the frequencies of their bands.
    """

    def __init__(self, *, sources: Mapping[str, FeatureConfig]) -> None:
        self.sources = sources

    @property
    def n_dims(self) -> int:
        """Length of the vector."""
        n_groups = min(_N_GROUPS, self.sources["mel"].n_dims)
        timbre = 2 * min(_N_CEPSTRA, n_groups)
        n_ranges = len(_RANGES_HZ)
        rhythm = 1 + _triangle(n_ranges - 1) + len(_BEATS) * n_ranges**2
        return _triangle(timbre) + _triangle(n_groups) + rhythm + _N_STEPS // 2 * 7

    @property
    def config(self) -> dict[str, Any]:
        """What the numbers depend on beside the frames."""
        return {"patterns": 1}

    def extract(self, samples: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the vector of a song, (n_dims,), from its frames {"mel": (n_frames, n_mels)}."""
        mel = np.asarray(samples["mel"], np.float64)
        if not len(mel):
            raise InputError("patterns need a frame of kind 'mel' at least; got none")
        groups = _averaged(mel, _N_GROUPS)
        rate = self._setting("sr") / self._setting("hop_length")
        parts = (
            _timbre(groups, rate),
            _log_covariance(groups),
            self._rhythm(mel, rate),
            self._harmony(mel, rate),
        )
        return np.concatenate(parts).astype(np.float32)

    def _rhythm(self, mel: Float64, rate: float) -> Float64:
        centres = self._edges()[1:-1]
        onsets = np.zeros((len(mel), len(_RANGES_HZ)))
        for i, (low, high) in enumerate(_RANGES_HZ):
            heard = (centres >= low) & (centres < high)
            if heard.any():
                onsets[1:, i] = np.maximum(np.diff(mel[:, heard].mean(axis=1)), 0)
        onsets = (onsets - onsets.mean(axis=0)) / (onsets.std(axis=0) + 1e-3)
        beat = _beat(onsets.sum(axis=1), rate)
        later = [_lagged(onsets, max(round(beats * beat), 1)).ravel() for beats in _BEATS]
        together = _lagged(onsets, 0)[np.triu_indices(len(_RANGES_HZ), 1)]
        return np.concatenate([[np.log2(60 * rate / beat)], together, *later])

    def _harmony(self, mel: Float64, rate: float) -> Float64:
        pitches = self._pitch_classes()
        steps = _pieces(mel, _STEP_SECONDS * rate).mean(axis=1)
        peaks = np.maximum(steps - uniform_filter1d(steps, _NEIGHBOURS, axis=1, mode="nearest"), 0)
        loud = peaks @ pitches
        loud /= loud.max(axis=1, keepdims=True) + 1e-6
        loud = np.pad(loud, ((0, max(_N_STEPS - len(loud), 0)), (0, 0)))
        starts = range(0, len(loud) - _N_STEPS + 1, _HOP_STEPS)
        sizes = [np.abs(np.fft.fft2(loud[at : at + _N_STEPS]))[: _N_STEPS // 2, :7] for at in starts]
        found: Float64 = np.log1p(np.median(sizes, axis=0)).ravel()
        return found

    def _pitch_classes(self) -> Float64:
        """Return how much of each band belongs to each pitch class, (n_mels, 12)."""
        edges = self._edges()
        centres = edges[1:-1]
        heard = (centres > _LOWEST_HZ) & (centres < _HIGHEST_HZ)
        weights = np.zeros((len(centres), 12))
        notes = 69 + 12 * np.log2(centres[heard] / 440)
        # A band as wide as its distance to the next, but not narrower than half a semitone.
        widths = np.maximum(6 * np.log2(edges[2:][heard] / centres[heard]), 0.5)
        away = (notes[:, None] - np.arange(12) + 6) % 12 - 6
        alike = np.exp(-0.5 * (away / widths[:, None]) ** 2)
        weights[heard] = alike / alike.sum(axis=1, keepdims=True)
        return weights

    def _edges(self) -> Float64:
        """Return the edges of the triangles, of which each has its centre on the next, (n_mels + 2,) Hz."""
        settings = self.sources["mel"].settings
        highest = self._setting("sr") / 2 if settings.get("fmax") is None else self._setting("fmax")
        to_mel, to_hz = _HTK if settings.get("htk") else _SLANEY
        low, high = to_mel(np.array([self._setting("fmin"), highest]))
        edges: Float64 = to_hz(np.linspace(low, high, self.sources["mel"].n_dims + 2))
        return edges

    def _setting(self, name: str) -> float:
        try:
            return float(self.sources["mel"].settings[name])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"patterns: frames of kind 'mel' do not say their {name}") from None


def _htk_mel(hz: Float64) -> Float64:
    return 2595 * np.log10(1 + hz / 700)


def _htk_hz(mel: Float64) -> Float64:
    return 700 * (10 ** (mel / 2595) - 1)


def _slaney_mel(hz: Float64) -> Float64:
    # Linear to 1000 Hz, 15 mels; then 27 mels for a factor of 6.4.
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _slaney_hz(mel: Float64) -> Float64:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


_HTK, _SLANEY = (_htk_mel, _htk_hz), (_slaney_mel, _slaney_hz)


def _triangle(size: int) -> int:
    return size * (size + 1) // 2


def _averaged(mel: Float64, n_groups: int) -> Float64:
    groups = np.array_split(np.arange(mel.shape[1]), min(n_groups, mel.shape[1]))
    return np.stack([mel[:, group].mean(axis=1) for group in groups], axis=1)


def _pieces(frames: Float64, length: float) -> Float64:
    """Return successive pieces of frames, (n_pieces, size, n_bands), at least one, less what is left over."""
    size = min(max(round(length), 1), len(frames))
    n_pieces = len(frames) // size
    return frames[: n_pieces * size].reshape(n_pieces, size, -1)


def _log_covariance(rows: Float64) -> Float64:
    centred = rows - rows.mean(axis=0)
    covariance = centred.T @ centred / len(rows)
    values, axes = np.linalg.eigh(covariance)
    logarithm = (axes * np.log(np.maximum(values, 0) + _LEAST_VARIANCE)) @ axes.T
    upper = np.triu_indices(len(covariance))
    found: Float64 = logarithm[upper] * np.where(upper[0] == upper[1], 1, np.sqrt(2))
    return found


def _timbre(groups: Float64, rate: float) -> Float64:
    cepstra = dct(groups, axis=1, norm="ortho")[:, :_N_CEPSTRA]
    pieces = _pieces(cepstra, _PIECE_SECONDS * rate)
    return _log_covariance(np.hstack([pieces.mean(axis=1), pieces.std(axis=1)]))


def _lagged(onsets: Float64, lag: int) -> Float64:
    """Return the correlations of onset strengths with one another ``lag`` frames later."""
    n_pairs = len(onsets) - lag
    if n_pairs < 1:
        return np.zeros((onsets.shape[1],) * 2)
    return onsets[:n_pairs].T @ onsets[lag:] / n_pairs


def _beat(onsets: Float64, rate: float) -> int:
    """Return the frames from a beat to the next."""
    lags = np.arange(max(round(60 * rate / _FASTEST), 1), max(round(60 * rate / _SLOWEST), 1) + 1)
    size = next_fast_len(len(onsets) + int(lags[-1]))
    autocorrelation = irfft(np.abs(rfft(onsets, size)) ** 2, size)[lags]
    likely = np.exp(-0.5 * np.log2(60 * rate / lags / _USUAL) ** 2)
    return int(lags[np.argmax(autocorrelation * likely)])
