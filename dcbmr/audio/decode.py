"""Audio files as a stream of mono blocks at one sampling rate.

Channels are mixed by their mean. Samples beyond ±1 (floating point files, lossy codecs) are kept as they
are, neither clipped nor scaled. Resampling is soxr's "HQ".
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcbmr import _core
from dcbmr.base.crashes import in_hand
from dcbmr.errors import InputError

Block = NDArray[np.float32]

SNDFILE_ENDINGS = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aiff", ".aif", ".aifc"}
    | {".au", ".snd", ".caf", ".w64", ".rf64", ".voc"}
)
AV_ENDINGS = frozenset(
    {".m4a", ".m4b", ".mp4", ".aac", ".wma", ".ac3", ".ape", ".mka", ".tta", ".webm", ".wv"}
)
AUDIO_ENDINGS = SNDFILE_ENDINGS | AV_ENDINGS

_BLOCK_SAMPLES = 1 << 17  # of all channels together
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # the most there can be
# Far beyond any sound, also in the units of 32-bit integers; sums of its squares are still finite in float32.
_LOUDEST = 2.0**40
_RATES = range(1000, 1_000_001)  # Hz; a damaged header may say anything


class AudioError(InputError):
    """A file that cannot be used.

    Attributes
    ----------
    path : str
    cause : str
        What is wrong, in words that other files share.
    reason : str
        The cause and its details: the message without the path.
    """

    def __init__(self, path: str | os.PathLike[str], cause: str, details: str = "") -> None:
        super().__init__(path, cause, details)  # as it was called, so that it can be copied
        self.path, self.cause, self.reason = os.fspath(path), cause, cause + details

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _Source:
    rate: int
    blocks: Iterator[Block]  # (n_samples,), mono


def decode(
    path: str | os.PathLike[str],
    sr: float = 22050,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    damage: list[str] | None = None,
) -> Iterator[Block]:
    """Yield the samples of a file block by block; memory does not depend on its length.

    Parameters
    ----------
    path : path-like
        Everything that libsndfile reads (of chained Ogg streams the first); m4a, AAC, WMA and other
        containers where PyAV is installed.
    sr : float
        Wanted sampling rate, Hz.
    offset : float
        Seconds to skip at the beginning.
    duration : float, optional
        Seconds to read at most; None for all.
    damage : list of str, optional
        Gets what the decoder says of damage that it could read over, as frames of an MP3 that were lost: some
        hundred lines at most, none for a file that is whole.

    Yields
    ------
    ndarray of shape (n_samples,), float32
        Mono, never empty.

    Raises
    ------
    InputError
        The file cannot be read, is truncated (which most formats tell, but no MP3 without a Xing header),
        holds no samples, or NaN or infinite ones; it changed while it was read; ``offset`` lies beyond its
        end.
    """
    blocks = decode_at(path, (sr,), offset=offset, duration=duration, damage=damage)
    yield from (block for _, block in blocks)


def decode_at(
    path: str | os.PathLike[str],
    rates: Sequence[float],
    *,
    offset: float = 0.0,
    duration: float | None = None,
    damage: list[str] | None = None,
) -> Iterator[tuple[float, Block]]:
    """Yield the samples of a file block by block, each at several rates; the file is decoded once.

    Parameters
    ----------
    path, offset, duration, damage
        As for :func:`decode`.
    rates : sequence of float
        Wanted sampling rates, Hz.

    Yields
    ------
    float, ndarray of shape (n_samples,), float32
        One of ``rates``, and samples at it.
    """
    for sr in rates:
        if not (np.isfinite(sr) and sr > 0):
            raise InputError(f"sr: wanted a positive number of Hz, got {sr}")
    check_piece(offset, duration)
    path = os.fspath(path)  # and not a Path, which keeps the names of all files in memory for a while
    with in_hand.holding(path):
        yield from _decode_at(path, rates, offset, duration, [] if damage is None else damage)


def _decode_at(
    path: str, rates: Sequence[float], offset: float, duration: float | None, damage: list[str]
) -> Iterator[tuple[float, Block]]:
    before = _check_file(path)
    opener = _open_av if _ending(path) in AV_ENDINGS else _open_sndfile
    with opener(path, offset, duration, damage) as source:
        if source.rate not in _RATES:
            raise AudioError(path, "has an impossible sampling rate", f": {source.rate} Hz")
        n_samples = 0
        resamplers = [(sr, _resampler(source.rate, sr)) for sr in rates]
        for block in source.blocks:
            if len(block) and not (block.max() <= _LOUDEST and block.min() >= -_LOUDEST):
                raise _not_sound(path, block, offset + n_samples / source.rate, source.rate)
            n_samples += len(block)
            for sr, resample in resamplers:
                if len(ready := resample(block, False)):
                    yield sr, ready
        if n_samples == 0:
            raise AudioError(path, "holds no samples", f" from {offset:g} s on" if offset else "")
        for sr, resample in resamplers:
            if len(ready := resample(np.empty(0, np.float32), True)):
                yield sr, ready
    after = _check_file(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise AudioError(path, "changed while it was read")


def check_piece(offset: float, duration: float | None) -> None:
    """Raise InputError for seconds that no file has."""
    if not (np.isfinite(offset) and offset >= 0):
        raise InputError(f"offset: wanted seconds from 0 on, got {offset}")
    if duration is not None and not 0 < duration < np.inf:
        raise InputError(f"duration: wanted a positive number of seconds or None, got {duration}")


def is_audio(path: str | os.PathLike[str]) -> bool:
    """Return whether the ending of a file is one of audio."""
    return _ending(path) in AUDIO_ENDINGS


def _ending(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(path)[1].lower()


def _check_file(path: str) -> os.stat_result:
    """Return what the system says of a file that may be read."""
    if path in in_hand.left_out:
        raise AudioError(path, "was being read when a library crashed", f": {in_hand.left_out[path]}")
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):  # else to open it may take forever
            open(path, "rb").close()
    except OSError as error:
        raise AudioError(path, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise AudioError(path, "cannot be read: a path has no zero byte") from None
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(path, "is not a file")
    if found.st_size == 0:
        raise AudioError(path, "is empty (0 bytes)")
    return found


def _ends_before(path: str, offset: float, seconds: float) -> AudioError:
    return AudioError(path, "ends before the offset", f" of {offset:g} s, at {seconds:.3f} s")


def _not_sound(path: str, block: Block, begin: float, rate: int) -> AudioError:
    """Return what is said of a block that begins at a second, with a sample that is none."""
    at = int(np.argmin(np.abs(block) <= _LOUDEST))
    where = f", at {begin + at / rate:.3f} s"
    if np.isfinite(block[at]):
        return AudioError(path, f"holds a sample beyond {_LOUDEST:g}", where + f": {block[at]:g}")
    return AudioError(path, "holds a sample that is NaN or infinite", where)


def _truncated(path: str, promised: float, found: float) -> AudioError:
    return AudioError(
        path, "is truncated", f": it says that it has {promised:.3f} s, {found:.3f} s are there"
    )


def _resampler(rate: float, sr: float) -> Any:
    if rate == sr:
        return lambda block, last: block
    import soxr

    return soxr.ResampleStream(rate, sr, 1, dtype="float32", quality="HQ").resample_chunk


def _mixed(channels: list[NDArray[np.float32]]) -> Block:
    if len(channels) == 1:
        return channels[0].copy()  # the decoder's buffer is used again
    mono = channels[0] + channels[1]
    for channel in channels[2:]:
        mono += channel
    mono *= np.float32(1 / len(channels))
    return mono


# libmpg123 says on stderr what it lost of the sound. It says more there: of tags, which are no sound, and of
# a length in the header that does not match, as where something was appended.
_LOSS = re.compile(r"\[\S*libmpg123/(?!id3)\S+\] error: (.*)|Note: (Skipped \d+ bytes) in input")
_MOST_LINES = 100  # or a few more


@contextmanager
def _listening(damage: list[str]) -> Iterator[None]:
    """Catch what a decoder writes to stderr on this thread, and keep of it what tells of lost sound."""
    _core.catch_stderr()
    try:
        yield
    finally:
        said = _core.caught_stderr()
        if said and len(damage) < _MOST_LINES:
            lines = _LOSS.findall(said.decode("utf-8", "replace"))
            damage.extend(error or skipped for error, skipped in lines)


@contextmanager
def _open_sndfile(path: str, offset: float, duration: float | None, damage: list[str]) -> Iterator[_Source]:
    import soundfile

    try:
        with _listening(damage):
            opened = soundfile.SoundFile(os.fsencode(path))
        with opened as file:
            _refuse_truncated(path, file.extra_info)
            if file.format == "OGG":
                _refuse_truncated_ogg(path)
            yield _Source(file.samplerate, _sndfile_blocks(path, file, offset, duration, damage))
    except soundfile.LibsndfileError as error:
        said = error.error_string.strip().rstrip(".")
        # So it calls a file, too, in which it finds no frame of MP3.
        says = "" if said.startswith("File does not exist") else f" (it says: {said})"
        raise AudioError(path, "is damaged or no audio that libsndfile reads", says) from None


def _refuse_truncated(path: str, log: str) -> None:
    """Raise where the header promises more bytes than there are.

    Headers of streams, which were written before the length was known, promise nothing: 0 or about 2**31
    or 2**32.
    """
    for promised, found in re.findall(r": (\d+) \(should be (\d+)\)", log):
        if int(found) < int(promised) < 0x7FFF0000:
            raise AudioError(path, "is truncated", f": its header says {promised} bytes, {found} are there")


def _refuse_truncated_ogg(path: str) -> None:
    """Raise where the last page is cut or does not end its stream, as that of a whole file must (RFC 3533).

    libsndfile takes the pages that are there for the whole. A recording of a live stream may lack its end,
    too; nothing tells it from a file that was cut between two pages.
    """
    with open(path, "rb") as file:
        file.seek(-min(os.stat(path).st_size, _OGG_PAGE_BYTES), os.SEEK_END)
        tail = file.read()
    begin = tail.rfind(b"OggS")
    page = tail[begin:] if begin >= 0 else b""
    n_lengths = page[26] if len(page) > 26 else 255
    if len(page) < 27 + n_lengths + sum(page[27 : 27 + n_lengths]):
        raise AudioError(path, "is truncated", ": its last page is not whole")
    if not page[5] & 4:
        cure = "if it is a live recording, copy it with ffmpeg -c copy"
        raise AudioError(path, "is truncated", f": its last page does not end the stream; {cure}")


def _sndfile_blocks(
    path: str, file: Any, offset: float, duration: float | None, damage: list[str]
) -> Iterator[Block]:
    rate = file.samplerate
    start = round(offset * rate)
    if start:
        if start >= file.frames:
            raise _ends_before(path, offset, file.frames / rate)
        with _listening(damage):
            file.seek(start)
    promised = file.frames - start
    wanted = promised if duration is None else min(promised, round(duration * rate))
    n_block = max(1, _BLOCK_SAMPLES // file.channels)
    buffer = np.empty((n_block, file.channels), np.float32)
    n_read = 0
    while n_read < wanted:
        with _listening(damage):
            block = file.read(out=buffer[: min(wanted - n_read, n_block)])
        if len(block) == 0:
            raise _truncated(path, promised / rate, n_read / rate)
        n_read += len(block)
        yield _mixed([block[:, channel] for channel in range(file.channels)])


@contextmanager
def _open_av(path: str, offset: float, duration: float | None, damage: list[str]) -> Iterator[_Source]:
    try:
        import av
    except ImportError:
        raise AudioError(path, f"{_ending(path)} needs PyAV: pip install 'dcbmr[av]'") from None
    try:
        with av.open(path, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise AudioError(path, "holds no audio stream")
            # A stream whose codec is unknown, or has no decoder here, lacks what others have.
            rate = getattr(container.streams.audio[0], "rate", None)
            if not rate:
                raise AudioError(path, "holds no audio that PyAV decodes")
            yield _Source(rate, _av_blocks(path, container, offset, duration))
    except av.FFmpegError as error:
        says = f" (it says: {error.strerror})"
        raise AudioError(path, "is damaged or no audio that PyAV reads", says) from None


def _av_blocks(path: str, container: Any, offset: float, duration: float | None) -> Iterator[Block]:
    import av

    stream = container.streams.audio[0]
    skip = round(offset * stream.rate)
    wanted = None if duration is None else round(duration * stream.rate)
    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    n_seen = n_out = 0
    for frame in container.decode(stream):
        for part in planar.resample(frame):
            block = _mixed(list(part.to_ndarray()))
            n_seen += len(block)
            block = block[max(0, len(block) - max(0, n_seen - skip)) :]
            if wanted is not None:
                block = block[: wanted - n_out]
            n_out += len(block)
            if len(block):
                yield block
            if wanted is not None and n_out >= wanted:
                return
    # FFmpeg finds other cuts itself, but takes what is left of a Matroska or WebM file for the whole.
    if "matroska" in container.format.name and len(container.streams) == 1 and container.duration:
        promised, found = container.duration / av.time_base, n_seen / stream.rate
        if found < promised - 0.5:
            raise _truncated(path, promised, found)
    if n_seen <= skip and skip:
        raise _ends_before(path, offset, n_seen / stream.rate)


def length_of(path: str | os.PathLike[str]) -> float | None:
    """Return the seconds that a file says it has; None where that is not known without decoding it."""
    import soundfile

    path = os.fspath(path)
    try:
        with in_hand.holding(path), _listening([]):
            _check_file(path)
            return float(soundfile.info(os.fsencode(path)).duration)
    except (soundfile.LibsndfileError, OSError, AudioError):
        return None
