"""What a network is trained on and predicts from: one vector a song, or windows of its frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from dcbmr import InputError

if TYPE_CHECKING:
    from dcbmr import SongFeatures

Rows = NDArray[np.int64]
Statistics = tuple[NDArray[np.float32], NDArray[np.float32]]
Piece = tuple[Rows, Rows]  # songs and first frames of the windows of a batch
Batch = tuple[Rows, Tensor]  # rows of the songs (B,) and the inputs (B, ...) on the device

_ALL = slice(None)
MOST_MEASURED = 20_000  # songs that means and scales of vectors are taken from


class Examples(Protocol):
    """Batches of inputs for songs, which :func:`dcbmr_torch.training.train` and predict draw from."""

    song_ids: Sequence[str]
    n_songs: int
    n_dims: int
    unit: str  # what is counted per second: "windows" or "songs"

    def sample(self, rows: Rows, rng: np.random.Generator, mine: slice = _ALL) -> Generator[Batch]:
        """Yield one training batch for each row of ``rows`` (n_batches, B), drawn with ``rng``.

        Of each batch the songs ``mine`` alone; they are what they are in the whole batch.
        """
        ...

    def cover(self, rows: Rows, batch_size: int) -> Generator[Batch]:
        """Yield everything that the songs ``rows`` have, in order; a song may come several times."""
        ...

    def statistics(self, rows: Rows, rng: np.random.Generator) -> Statistics:
        """Return the mean and the scale, each (n_dims,), that standardize the inputs of ``rows``."""
        ...


class VectorExamples:
    """One vector a song."""

    unit = "songs"

    def __init__(self, songs: SongFeatures, device: torch.device) -> None:
        self.song_ids, self.n_songs, self.n_dims = songs.song_ids, len(songs.song_ids), songs.n_dims
        self._vectors = songs.vectors()  # (n_songs, n_dims), dense or CSR
        self._device = device

    def _take(self, rows: Rows) -> NDArray[np.float32]:
        taken = self._vectors[rows]
        return np.ascontiguousarray(taken.toarray() if issparse(taken) else taken, np.float32)

    def sample(self, rows: Rows, rng: np.random.Generator, mine: slice = _ALL) -> Generator[Batch]:
        """Yield the vectors of each batch of ``rows``."""
        for batch in rows[:, mine]:
            yield batch, torch.from_numpy(self._take(batch)).to(self._device)

    def cover(self, rows: Rows, batch_size: int) -> Generator[Batch]:
        """Yield every song's vector once."""
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            yield batch, torch.from_numpy(self._take(batch)).to(self._device)

    def statistics(self, rows: Rows, rng: np.random.Generator) -> Statistics:
        """Return the mean of every dimension, and one scale for all: reduced dimensions differ on purpose."""
        vectors = self._take(rng.permutation(rows)[:MOST_MEASURED]).astype(np.float64)
        deviation = np.sqrt(vectors.var(0).mean())
        scale = np.full(self.n_dims, 1 / deviation if deviation > 0 else 1.0)
        return vectors.mean(0).astype(np.float32), scale.astype(np.float32)


class WindowExamples:
    """Windows of ``length`` frames: at random to learn from, one after the other to predict from."""

    unit = "windows"

    def __init__(self, songs: SongFeatures, length: int, device: torch.device) -> None:
        self.song_ids, self.n_songs, self.n_dims = songs.song_ids, len(songs.song_ids), songs.n_dims
        self._songs, self._length, self._device = songs, length, device
        self._n_frames = np.asarray(songs.n_frames, np.int64)
        if (self._n_frames < 1).any():
            empty = int(np.flatnonzero(self._n_frames < 1)[0])
            raise InputError(f"song {songs.song_ids[empty]!r} has no frames; leave it out")

    def _starts(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """First frames, uniform over every place where the window fits; a shorter song wraps round."""
        return rng.integers(0, np.maximum(self._n_frames[rows] - self._length, 0) + 1)

    def sample(self, rows: Rows, rng: np.random.Generator, mine: slice = _ALL) -> Generator[Batch]:
        """Yield a random window of every song of each batch of ``rows``."""
        starts = self._starts(rows, rng)[:, mine]
        rows = rows[:, mine]
        return self._load(iter(zip(rows, starts, strict=True)), rows.shape[1])

    def cover(self, rows: Rows, batch_size: int) -> Generator[Batch]:
        """Yield the fewest windows that cover each song, evenly spread: consecutive where they fit."""
        songs, starts = self.covering(rows)
        cuts = range(0, len(songs), batch_size)
        pieces = ((songs[i : i + batch_size], starts[i : i + batch_size]) for i in cuts)
        return self._load(pieces, min(batch_size, len(songs)))

    def covering(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return (song, start) of the windows that cover the songs ``rows``."""
        n_frames = self._n_frames[rows]
        n_windows = -(-n_frames // self._length)
        number = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        slack = np.maximum(n_frames - self._length, 0)
        gaps = np.maximum(n_windows - 1, 1)
        return np.repeat(rows, n_windows), number * np.repeat(slack, n_windows) // np.repeat(gaps, n_windows)

    def statistics(self, rows: Rows, rng: np.random.Generator) -> Statistics:
        """Return the mean and the inverse deviation of every band over random windows of ``rows``."""
        chosen = rng.permutation(np.resize(rows, max(len(rows), 512)))[:2048]
        total, squares, count = np.zeros(self.n_dims), np.zeros(self.n_dims), 0
        for batch in np.array_split(chosen, -(-len(chosen) // 64)):
            windows = self._songs.windows(batch, self._starts(batch, rng), self._length)
            frames = windows.reshape(-1, self.n_dims).astype(np.float64)
            total, squares, count = total + frames.sum(0), squares + (frames**2).sum(0), count + len(frames)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        # A band that never moves says nothing; a floor keeps its noise from being blown up.
        floor = max(1e-2 * float(deviation.max(initial=0)), 1e-6)
        return mean.astype(np.float32), (1 / np.maximum(deviation, floor)).astype(np.float32)

    def _load(self, pieces: Iterator[Piece], batch_size: int) -> Generator[Batch]:
        # As they are stored: half precision loses nothing then and is half as much to move.
        dtype = torch.float16 if self._songs.dtype == np.float16 else torch.float32
        shape = (batch_size, self._length, self.n_dims)
        n_readers = 4 if self._device.type == "cuda" else 1  # a GPU takes more than one core can read

        def read(piece: Piece, slot: Slot) -> Batch:
            rows, starts = piece
            return rows, slot.fill(
                len(rows), lambda out: self._songs.windows(rows, starts, self._length, out=out)
            )

        if self._device.type == "cpu":
            all_read = yield from read_while_quick(pieces, read, Slot(shape, dtype, self._device))
            if all_read:
                return
        slots = [Slot(shape, dtype, self._device) for _ in range(n_readers + 2)]
        yield from read_ahead(pieces, read, slots, n_readers)


class Slot:
    """Room for a batch in memory and, where that is another place, on the device.

    On CUDA a batch goes by a stream of its own, while the network computes on the current one; two events
    say when it has arrived, and when it is no longer used.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self._device, self._cuda = device, device.type == "cuda"
        self._host = torch.empty(shape, dtype=dtype, pin_memory=self._cuda)
        self._inputs = torch.empty(shape, dtype=dtype, device=device) if self._cuda else self._host
        if self._cuda:
            self._stream = torch.cuda.Stream(device)
            self._arrived, self._used = torch.cuda.Event(), torch.cuda.Event()
            self._arrived.record(self._stream)
            self.release()  # what had this memory before may still be computing

    def fill(self, n: int, read: Callable[[NDArray[Any]], object]) -> Tensor:
        """Have the first ``n`` places written by ``read``, and return them on the device; in any thread."""
        self.settle()
        read(self._host[:n].numpy())
        if self._cuda:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(self._used)
                self._inputs[:n].copy_(self._host[:n], non_blocking=True)
                self._arrived.record(self._stream)
        return self._inputs[:n]

    def acquire(self) -> None:
        """Let the current stream wait until the batch has arrived."""
        if self._cuda:
            torch.cuda.current_stream(self._device).wait_event(self._arrived)

    def release(self) -> None:
        """Note that what the current stream was given by now is the last that uses the batch."""
        if self._cuda:
            self._used.record(torch.cuda.current_stream(self._device))

    def settle(self) -> None:
        """Wait until nothing is on its way."""
        if self._cuda:
            self._arrived.synchronize()


def read_while_quick(
    pieces: Iterator[Piece], read: Callable[[Piece, Slot], Batch], slot: Slot
) -> Generator[Batch, None, bool]:
    """Yield ``read(piece, slot)`` in order until that takes a tenth of the time; return whether it is all.

    What the system has in memory is read sooner than a thread beside the network's could hand it over.
    """
    began, reading = time.perf_counter(), 0.0
    for piece in pieces:
        asked = time.perf_counter()
        batch = read(piece, slot)
        reading += time.perf_counter() - asked
        yield batch
        if reading > 0.1 * (time.perf_counter() - began):
            return False
    return True


def read_ahead(
    pieces: Iterator[Piece], read: Callable[[Piece, Slot], Batch], slots: Sequence[Slot], n_readers: int
) -> Generator[Batch]:
    """Yield ``read(piece, slot)`` in order, read by threads as far ahead as there are slots.

    A batch is valid until the next one is asked for: its slot is then filled again.
    """
    with ThreadPoolExecutor(n_readers, "dcbmr-read-ahead") as readers:
        ahead = deque(
            (readers.submit(read, piece, slot), slot) for slot, piece in zip(slots, pieces, strict=False)
        )
        try:
            while ahead:
                batch, slot = ahead.popleft()
                result = batch.result()
                slot.acquire()
                yield result
                slot.release()
                for piece in islice(pieces, 1):
                    ahead.append((readers.submit(read, piece, slot), slot))
        finally:
            readers.shutdown(cancel_futures=True)
            for slot in slots:  # after an early end something may still be on its way to memory in use
                slot.settle()
