"""Log-mel spectra and MFCCs, of whole signals and of streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcbmr import _core
from dcbmr.errors import DcbmrError, InputError

Frames = NDArray[np.float32]
Kind = str  # the name of a kind of feature


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """How samples become mel bands; what LogMel and MFCC share, and what a store keeps.

    Attributes
    ----------
    sr : float
        Sampling rate of the samples, Hz.
    n_fft : int
        Samples in a frame: a power of two, 128 to 8192.
    hop_length : int
        Samples between the starts of successive frames.
    n_mels : int
        Mel bands.
    fmin, fmax : float
        Edges of the lowest and the highest band, Hz; ``fmax`` None is ``sr / 2``.
    htk : bool
        The mel scale of HTK instead of Slaney's.
    norm : {"slaney", None}
        Triangles of area 1 over Hz, or of height 1.
    """

    sr: float = 22050
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float | None = None
    htk: bool = False
    norm: Literal["slaney"] | None = "slaney"


class SharedSpectrum:
    """One or both kinds of feature out of one spectrum.

    Parameters
    ----------
    kinds : iterable of {"mel", "mfcc"}
    settings : FrameSettings, optional
    n_mfcc : int
        Cepstra a frame.
    deltas : int
        Orders of differences that follow them, 0 to 2.
    """

    def __init__(
        self,
        kinds: Iterable[Kind],
        settings: FrameSettings | None = None,
        *,
        n_mfcc: int = 13,
        deltas: int = 2,
    ) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        self.settings = settings = settings or FrameSettings()
        if settings.norm not in ("slaney", None):
            raise InputError(f"norm: wanted 'slaney' or None, got {settings.norm!r}")
        if "mfcc" in self.kinds and n_mfcc < 1:
            raise InputError(f"n_mfcc: wanted 1 to n_mels, got {n_mfcc}")
        self.n_mfcc, self.deltas = n_mfcc, deltas
        try:
            self._plan = _core.FeaturePlan(
                sr=settings.sr,
                n_fft=settings.n_fft,
                hop_length=settings.hop_length,
                n_mels=settings.n_mels,
                fmin=settings.fmin,
                fmax=settings.sr / 2 if settings.fmax is None else settings.fmax,
                htk=settings.htk,
                area_norm=settings.norm == "slaney",
                log_mel="mel" in self.kinds,
                n_mfcc=n_mfcc if "mfcc" in self.kinds else 0,
                n_deltas=deltas,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
        except TypeError:
            raise InputError(f"wanted whole numbers and Hz, got {settings}, {n_mfcc=}, {deltas=}") from None

    def n_dims(self, kind: Kind) -> int:
        """Return the length of a frame of ``kind``."""
        return self.settings.n_mels if kind == "mel" else self.n_mfcc * (1 + self.deltas)

    def config(self, kind: Kind) -> dict[str, Any]:
        """Return what the frames of ``kind`` depend on, for JSON."""
        cepstra = {"n_mfcc": self.n_mfcc, "deltas": self.deltas} if kind == "mfcc" else {}
        return {**asdict(self.settings), **cepstra}

    def stream(self) -> JointStream:
        """Return a stream that hands out all kinds."""
        return JointStream(self)


class JointStream:
    """Samples in, frames of every kind of an :class:`SharedSpectrum` out. Not for two threads at once."""

    def __init__(self, extractor: SharedSpectrum) -> None:
        self._kinds = extractor.kinds
        self._online = _core.OnlineFeature(extractor._plan)
        self._finished = False

    def accept(self, samples: ArrayLike) -> dict[Kind, Frames]:
        """Return the frames that became ready with ``samples``, maybe none, of each kind."""
        self._refuse_when_finished()
        try:
            return self._named(self._online.accept(_as_samples(samples)))
        except ValueError as error:
            raise InputError(str(error)) from None

    def finish(self) -> dict[Kind, Frames]:
        """Return the frames that waited for what follows; the stream is at its end."""
        self._refuse_when_finished()
        self._finished = True
        return self._named(self._online.finish())

    def _named(self, frames: tuple[Frames | None, Frames | None]) -> dict[Kind, Frames]:
        mel, mfcc = frames
        found: dict[Kind, Frames | None] = {"mel": mel, "mfcc": mfcc}
        return {kind: rows for kind in self._kinds if (rows := found[kind]) is not None}

    def _refuse_when_finished(self) -> None:
        if self._finished:
            raise DcbmrError("this stream is finished; begin another with stream()")


class Stream:
    """Samples in, frames out, for a live source or a long file. Not for two threads at once.

    The frames do not depend on how the samples are cut: they are bit for bit those of the whole signal.
    """

    def __init__(self, extractor: SharedSpectrum) -> None:
        (self._kind,) = extractor.kinds
        self._stream = extractor.stream()

    def accept(self, samples: ArrayLike) -> Frames:
        """Return the frames that became ready.

        Parameters
        ----------
        samples : array of shape (n_samples,), float32 or float64
            Mono; finite. After an error the stream is as it was before the call.

        Returns
        -------
        ndarray of shape (n_frames, n_dims), float32
            Maybe of no rows.
        """
        return self._stream.accept(samples)[self._kind]

    def finish(self) -> Frames:
        """Return the frames that waited for what follows; nothing can be accepted after it."""
        return self._stream.finish()[self._kind]


class _Feature:
    kind: Kind
    """The name of its kind of feature."""

    def __init__(self, extractor: SharedSpectrum) -> None:
        self._extractor = extractor

    @property
    def sr(self) -> float:
        """Sampling rate of the samples, Hz."""
        return self._extractor.settings.sr

    @property
    def n_dims(self) -> int:
        """Length of a frame."""
        return self._extractor.n_dims(self.kind)

    @property
    def config(self) -> dict[str, Any]:
        """All settings, as a store keeps them."""
        return self._extractor.config(self.kind)

    def __call__(self, samples: ArrayLike) -> Frames:
        """Return the frames of a whole signal.

        Parameters
        ----------
        samples : array of shape (n_samples,), float32 or float64
            Mono, at the rate ``sr``; finite.

        Returns
        -------
        ndarray of shape (n_frames, n_dims), float32
            ``1 + (n_samples - n_fft) // hop_length`` frames, or none where there are fewer than ``n_fft``
            samples.

        Raises
        ------
        InputError
            More than one dimension, integers, NaN or infinity.
        """
        stream = self.stream()
        ready = stream.accept(samples)
        rest = stream.finish()
        return np.concatenate([ready, rest]) if len(rest) else ready

    def stream(self) -> Stream:
        """Return a new stream."""
        return Stream(self._extractor)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}({settings})"


class LogMel(_Feature):
    """Log-compressed mel spectra: ``log(1 + 1e4 * mel power)``.

    Frames of ``n_fft`` samples under a periodic Hann window, neither centred nor padded; the power
    spectrum goes through triangular mel filters, as ``librosa.feature.melspectrogram(center=False)``.

    Parameters
    ----------
    sr : float
        Sampling rate, Hz.
    n_fft : int
        Samples in a frame: a power of two, 128 to 8192.
    hop_length : int
        Samples between the starts of successive frames.
    n_mels : int
        Bands; the length of a frame.
    fmin, fmax : float
        Edges of the lowest and the highest band, Hz; ``fmax`` None is ``sr / 2``.
    htk : bool
        The mel scale of HTK instead of Slaney's.
    norm : {"slaney", None}
        Triangles of area 1 over Hz, or of height 1.
    """

    kind: Kind = "mel"

    def __init__(
        self,
        *,
        sr: float = 22050,
        n_fft: int = 1024,
        hop_length: int = 512,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        htk: bool = False,
        norm: Literal["slaney"] | None = "slaney",
    ) -> None:
        super().__init__(
            SharedSpectrum(
                ["mel"],
                FrameSettings(
                    sr=sr,
                    n_fft=n_fft,
                    hop_length=hop_length,
                    n_mels=n_mels,
                    fmin=fmin,
                    fmax=fmax,
                    htk=htk,
                    norm=norm,
                ),
            )
        )


class MFCC(_Feature):
    """Mel-frequency cepstra and their differences.

    The mel power of :class:`LogMel` in decibels, ``10 log10(max(1e-10, power))``, through an orthonormal
    DCT-II. As ``librosa.feature.mfcc``, but for librosa's floor at 80 dB below the loudest frame of a file
    (``top_db``), which no stream can know. The differences are ``librosa.feature.delta(width=9,
    mode="nearest")`` of orders 1 and 2.

    Parameters
    ----------
    n_mfcc : int
        Cepstra a frame.
    deltas : int
        Orders of differences that follow them in a frame, 0 to 2; a frame has
        ``n_mfcc * (1 + deltas)`` numbers.
    sr, n_fft, hop_length, n_mels, fmin, fmax, htk, norm
        As for :class:`LogMel`.
    """

    kind: Kind = "mfcc"

    def __init__(
        self,
        *,
        n_mfcc: int = 13,
        deltas: int = 2,
        sr: float = 22050,
        n_fft: int = 1024,
        hop_length: int = 512,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        htk: bool = False,
        norm: Literal["slaney"] | None = "slaney",
    ) -> None:
        super().__init__(
            SharedSpectrum(
                ["mfcc"],
                FrameSettings(
                    sr=sr,
                    n_fft=n_fft,
                    hop_length=hop_length,
                    n_mels=n_mels,
                    fmin=fmin,
                    fmax=fmax,
                    htk=htk,
                    norm=norm,
                ),
                n_mfcc=n_mfcc,
                deltas=deltas,
            )
        )


def share_spectrum(extractors: Mapping[str, LogMel | MFCC]) -> SharedSpectrum | None:
    """Return what makes "mel" and "mfcc" out of one spectrum; None where their spectra differ.

    Parameters
    ----------
    extractors : mapping of kind to LogMel or MFCC

    Returns
    -------
    SharedSpectrum or None
        ``stream()`` begins a song; what it accepts and returns at the end is ``{kind: frames}``.
    """
    parts = [extractor._extractor for extractor in extractors.values()]
    cepstra = next((part for part in parts if part.kinds == ("mfcc",)), parts[0])
    if any(part.settings != parts[0].settings for part in parts):
        return None
    return SharedSpectrum(extractors, parts[0].settings, n_mfcc=cepstra.n_mfcc, deltas=cepstra.deltas)


def _as_samples(samples: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(samples)
    if array.ndim != 1:
        raise InputError(f"samples: wanted one channel, shape (n_samples,), got shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"samples: wanted float32 between -1 and 1, got {array.dtype}; divide by its range")
    return np.ascontiguousarray(array, np.float32)
