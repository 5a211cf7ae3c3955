"""The outline of a song: what is near-silent, and what is one recording under two ids.

Of the log-mel frames of a song are kept, for nine bands and seventeen parts of equal length, whether the
difference of neighbouring bands rises or falls from one part to the next: 128 bits, which encoders and
resampling change little and other songs share by chance, as in Haitsma and Kalker, "A highly robust audio
fingerprinting system" (ISMIR 2002), who do so frame by frame to find excerpts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BANDS, _PARTS = 9, 17
# Of log(1 + 1e4 * power), in the loudest part and band: that of white noise at -60 dB of full scale.
_SILENT = 0.2
_STEP = 0.1  # of the mean level of a band, which is kept in a byte
IS_SILENT = "silent"

# The same recording as WAV, FLAC, MP3, Vorbis and Opus, at 16, 22.05, 44.1 and 48 kHz: at most 8 bits and 2
# steps apart. Of 210,925 pairs of different songs of 120 artists none was nearer than 29 bits.
_MOST_BITS, _MOST_STEPS = 14, 5
_SECONDS_SHARE = 0.02  # what their lengths may differ by
_NEIGHBOURS = 64  # of equal sixteenths of bits that are compared: copies of one song lie side by side


class OutlineMaker:
    """Log-mel frames in, the outline of a song out."""

    def __init__(self) -> None:
        self._levels: list[NDArray[np.float32]] = []

    def accept(self, mel: NDArray[np.float32]) -> None:
        """Take frames, (n_frames, n_mels)."""
        if len(mel):
            edges = np.linspace(0, mel.shape[1], _BANDS + 1).astype(int)
            sums = np.add.reduceat(mel, edges[:-1], axis=1)
            self._levels.append((sums / np.diff(edges)).astype(np.float32))

    def finish(self) -> str:
        """Return the outline, as text: "silent", or the number of frames and 25 bytes; empty if too short."""
        levels = np.concatenate(self._levels or [np.empty((0, _BANDS), np.float32)])
        edges = np.linspace(0, len(levels), _PARTS + 1).astype(int)
        if len(levels) < _PARTS:
            return ""
        parts = np.add.reduceat(levels, edges[:-1], axis=0, dtype=np.float64) / np.diff(edges)[:, None]
        if parts.max() < _SILENT:
            return IS_SILENT
        rises = np.diff(np.diff(parts, axis=1), axis=0) > 0
        steps = np.clip(np.round(parts.mean(axis=0) / _STEP), 0, 255).astype(np.uint8)
        return f"{len(levels)}:{np.packbits(rises).tobytes().hex()}{steps.tobytes().hex()}"


def first_of_the_same(outlines: Sequence[str]) -> NDArray[np.int64]:
    """Return for each outline the place of the first one of the same recording: its own where there is none.

    Parameters
    ----------
    outlines : sequence of str
        What :meth:`OutlineMaker.finish` gave; those of silence are like no other.

    Returns
    -------
    ndarray of shape (n_songs,), int64
    """
    first = np.arange(len(outlines))
    known = np.array([i for i, outline in enumerate(outlines) if ":" in outline], np.int64)
    if len(known) < 2:
        return first
    texts = [outlines[i].split(":") for i in known]
    n_frames = np.array([int(n) for n, _ in texts])
    content = np.frombuffer(bytes.fromhex("".join(rest for _, rest in texts)), np.uint8).reshape(
        len(known), -1
    )
    bits, steps = np.ascontiguousarray(content[:, :16]), content[:, 16:].astype(np.int16)
    for word in range(8):
        # What differs in few bits has one of eight words of sixteen alike.
        order = np.lexsort((*bits.T, *bits[:, 2 * word : 2 * word + 2].T))
        key = bits[order, 2 * word].astype(np.int64) * 256 + bits[order, 2 * word + 1]
        for apart in range(1, min(_NEIGHBOURS, len(known) - 1) + 1):
            alike = np.flatnonzero(key[apart:] == key[:-apart])
            if not len(alike):
                break
            one, other = order[alike], order[alike + apart]
            n_bits = np.bitwise_count(bits[one] ^ bits[other]).sum(axis=1)
            length = np.maximum(n_frames[one], n_frames[other])
            same = (
                (n_bits <= _MOST_BITS)
                & (np.abs(steps[one] - steps[other]).max(axis=1) <= _MOST_STEPS)
                & (np.abs(n_frames[one] - n_frames[other]) <= _SECONDS_SHARE * length + 1)
            )
            for a, b in zip(known[one[same]].tolist(), known[other[same]].tolist(), strict=True):
                _join(first, a, b)
    return np.array([_root(first, place) for place in range(len(first))], np.int64)


def _root(first: NDArray[np.int64], place: int) -> int:
    while first[place] != place:
        place = int(first[place])
    return place


def _join(first: NDArray[np.int64], a: int, b: int) -> None:
    a, b = _root(first, a), _root(first, b)
    first[max(a, b)] = min(a, b)
