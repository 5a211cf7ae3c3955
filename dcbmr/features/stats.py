"""Summary statistics: one vector a song, made of its log-mel frames and its MFCCs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr import _core
from dcbmr.contract.features import FeatureConfig
from dcbmr.errors import InputError

# As csrc/stats.h and csrc/stats.cpp have them.
_MAX_GROUPS, _MAX_SLOW_GROUPS, _MAX_CEPSTRA = 32, 16, 13
_MODULATION_HZ = ("0-0.5", "0.5-1", "1-2", "2-4", "4-8", "8-16", "16-")
_SLOWEST, _FASTEST, _TEMPO_BANDS = 30, 300, 16
_SHARES = (10, 50, 90)


class SongStatistics:
    """Statistics of a song's frames: timbre, its range and its movement, rhythm and tempo.

    The mel bands are averaged in ``G`` = 32 groups of neighbours ``x[t, g]``; the first 13 cepstra are
    ``c[t, i]``. All is computed as the frames come, in memory that does not grow with a song. Means are over
    the frames; a variance below 1e-4 is as good as none, and is added to where it divides.

    - ``mel_mean``, ``mel_deviation``, ``mel_skewness`` of each group: mean, standard deviation,
      ``E[(x - mean)^3] / (variance + 1e-4)^1.5``.
    - ``mel_p10``, ``mel_p50``, ``mel_p90``: percentiles of each group, out of a histogram whose bins are 1/32
      wide, 0 to 32, linear within a bin.
    - ``mel_change``: mean of ``|x[t, g] - x[t - 1, g]|``.
    - ``mfcc_mean``, ``mfcc_skewness`` of each cepstrum, ``mfcc_deviation`` of each and of its differences,
      and ``mfcc_p10``, ``mfcc_p50``, ``mfcc_p90`` (bins of ``sqrt(n_mels) / 16``, of a range of ``+- 128
      sqrt(n_mels)``).
    - ``mfcc_correlation[i,j]``: covariance of two cepstra over the root of the product of their variances (+
      1e-4). Covariance with means is the model of timbre of Mandel and Ellis (ISMIR 2005).
    - ``modulation[g,hz]``: the modulation spectrum of 16 groups of neighbouring ``g``. Windows of about 6 s
      (a power of two of frames), half overlapping, less their mean and under a Hann window, go through a
      Fourier transform; of the powers over the window's energy the mean is taken over the windows and over
      the frequencies from the one to the other, and ``log(1e-3 + mean)`` of it. What a last window lacks
      is left out; a song shorter than a window is one with zeros behind it. (Pampalk, Rauber and Merkl, ACM
      Multimedia 2002, "fluctuation patterns"; McKinney and Breebaart, ISMIR 2003.)
    - ``onset_mean``, ``onset_deviation``, ``onset_skewness`` of the onset strength ``o[t]``, the spectral
      flux: the mean over the groups of ``max(0, x[t, g] - x[t - 1, g])`` (Dixon, DAFx 2006). ``onset_rate``:
      its peaks a second that reach its mean and deviation together, to the bin of 1/32.
    - ``beat[bpm]``: the highest autocorrelation of ``o`` among the lags of some tempi, a coarse beat
      histogram (Tzanetakis and Cook, IEEE TSAP 2002): ``sum_t (o[t] - mean)(o[t - lag] - mean)`` over ``n
      (variance + 1e-4)``; 0 where none is above it.
    - ``tempo_octave``: log2 of the beats a minute at which autocorrelation times ``exp(-log2(bpm / 120)^2 /
      2)`` is highest, from 40 to 240 (Ellis, J. New Music Research 2007), and ``tempo_strength``, the
      autocorrelation there; log2(120) and 0 where none is positive.

    Parameters
    ----------
    sources : mapping of str to FeatureConfig
        What the frames of "mel" and "mfcc" are.

    Attributes
    ----------
    names : tuple of str
        What each number of the vector is.

    Raises
    ------
    InputError
        The frames have too few or too many a second, or lack ``sr`` and ``hop_length`` among their settings.
    """

    def __init__(self, *, sources: Mapping[str, FeatureConfig]) -> None:
        self.sources = sources

    @property
    def n_dims(self) -> int:
        """Length of the vector."""
        return len(self.names)

    @property
    def config(self) -> dict[str, Any]:
        """What the numbers depend on beside the frames."""
        return {"statistics": 1}

    @property
    def names(self) -> tuple[str, ...]:
        """What each number of the vector is; see the class."""
        sizes = self._sizes()
        n_groups, n_slow = min(_MAX_GROUPS, sizes["n_mels"]), min(_MAX_SLOW_GROUPS, sizes["n_mels"])
        cepstra = range(min(_MAX_CEPSTRA, sizes["n_mfcc"]))
        orders = ("", "'", "''")[: 1 + sizes["n_deltas"]]
        groups = range(n_groups)
        tempi = [round(_SLOWEST * (_FASTEST / _SLOWEST) ** (i / _TEMPO_BANDS)) for i in range(_TEMPO_BANDS)]
        of_mel = ("mean", "deviation", "skewness", *(f"p{share}" for share in _SHARES), "change")
        return (
            *(f"mel_{what}[{g}]" for what in of_mel for g in groups),
            *(f"mfcc_mean[{i}]" for i in cepstra),
            *(f"mfcc_deviation[{i}{order}]" for order in orders for i in cepstra),
            *(f"mfcc_skewness[{i}]" for i in cepstra),
            *(f"mfcc_p{share}[{i}]" for share in _SHARES for i in cepstra),
            *(f"mfcc_correlation[{i},{j}]" for i in cepstra for j in range(i)),
            *(f"modulation[{g},{hz}]" for g in range(n_slow) for hz in _MODULATION_HZ),
            *(f"onset_{what}" for what in ("mean", "deviation", "skewness", "rate")),
            *(f"beat[{bpm}]" for bpm in tempi),
            "tempo_octave",
            "tempo_strength",
        )

    def stream(self) -> StatisticsStream:
        """Return a stream for one song."""
        try:
            online = _core.OnlineStats(**self._sizes(), frame_rate=self._frame_rate())
        except ValueError as error:
            raise InputError(f"statistics: {error}") from None
        return StatisticsStream(online, self.n_dims)

    def _sizes(self) -> dict[str, int]:
        n_mfcc = int(self._setting("mfcc", "n_mfcc"))
        return {
            "n_mels": self.sources["mel"].n_dims,
            "n_mfcc": n_mfcc,
            "n_deltas": self.sources["mfcc"].n_dims // n_mfcc - 1,
        }

    def _frame_rate(self) -> float:
        return float(self._setting("mel", "sr") / self._setting("mel", "hop_length"))

    def _setting(self, kind: str, name: str) -> float:
        try:
            return float(self.sources[kind].settings[name])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"statistics: frames of kind {kind!r} do not say their {name}") from None


class StatisticsStream:
    """Frames of a song in, its statistics out. Not for two threads at once."""

    def __init__(self, online: _core.OnlineStats, n_dims: int) -> None:
        self._online, self._none = online, np.empty((0, n_dims), np.float32)
        self._n_frames = {"mel": 0, "mfcc": 0}

    def accept(self, samples: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Take more frames, {kind: (n_frames, n_dims) float32}; the vector comes at the end."""
        self._online.accept_mel(np.ascontiguousarray(samples["mel"]))
        self._online.accept_mfcc(np.ascontiguousarray(samples["mfcc"]))
        for kind, frames in samples.items():
            self._n_frames[kind] += len(frames)
        return self._none

    def finish(self) -> NDArray[np.float32]:
        """Return the vector, (1, n_dims), of a song that has a frame at least; else none, (0, n_dims)."""
        if not all(self._n_frames.values()):
            return self._none
        return self._online.finish()[None]
