"""What a network is trained on and predicts from: one vector a song, or windows of its frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

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
Batch = tuple[Rows, Tensor]  # rows of the songs (B,) and the inputs (B, ...) on the device


class Examples(Protocol):
    """Batches of inputs for songs, which :func:`dcbmr_torch.training.train` and predict draw from."""

    song_ids: Sequence[str]
    n_songs: int
    n_dims: int
    unit: str  # what is counted per second: "windows" or "songs"

    def sample(self, rows: Rows, rng: np.random.Generator) -> Generator[Batch]:
        """Yield one training batch for each row of ``rows`` (n_batches, B), drawn with ``rng``."""
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

    def sample(self, rows: Rows, rng: np.random.Generator) -> Generator[Batch]:
        """Yield the vectors of each batch of ``rows``."""
        for batch in rows:
            yield batch, torch.from_numpy(self._take(batch)).to(self._device)

    def cover(self, rows: Rows, batch_size: int) -> Generator[Batch]:
        """Yield every song's vector once."""
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            yield batch, torch.from_numpy(self._take(batch)).to(self._device)

    def statistics(self, rows: Rows, rng: np.random.Generator) -> Statistics:
        """Return the mean of every dimension, and one scale for all: reduced dimensions differ on purpose."""
        vectors = self._take(rng.permutation(rows)[:20_000]).astype(np.float64)
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

    def sample(self, rows: Rows, rng: np.random.Generator) -> Generator[Batch]:
        """Yield a random window of every song of each batch of ``rows``."""
        starts = self._starts(rows, rng)
        return self._load(iter(zip(rows, starts, strict=True)), rows.shape[1])

    def cover(self, rows: Rows, batch_size: int) -> Generator[Batch]:
        """Yield the fewest windows that cover each song, evenly spread: consecutive where they fit."""
        songs, starts = self.covering(rows)
        cuts = range(0, len(songs), batch_size)
        pieces = ((songs[i : i + batch_size], starts[i : i + batch_size]) for i in cuts)
        return self._load(pieces, batch_size)

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

    def _load(self, pieces: Iterator[tuple[Rows, Rows]], batch_size: int) -> Generator[Batch]:
        """Read windows in a thread, ahead of the network, into a few buffers that are used in turn."""
        pinned = self._device.type == "cuda"

        def buffer() -> Tensor:
            return torch.empty((batch_size, self._length, self.n_dims), pin_memory=pinned)

        def read(piece: tuple[Rows, Rows], out: Tensor) -> Batch:
            rows, starts = piece
            part = out[: len(rows)]
            self._songs.windows(rows, starts, self._length, out=part.numpy())
            return rows, part

        yield from to_device(read_ahead(pieces, read, buffer), self._device)


def to_device(batches: Generator[Batch], device: torch.device) -> Generator[Batch]:
    """Copy pinned batches to a CUDA device; a buffer is given back only when its copy is done."""
    for rows, inputs in batches:
        if device.type == "cuda":
            copy = inputs.to(device, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
            yield rows, copy
            done.synchronize()
        else:
            yield rows, inputs


def read_ahead(
    pieces: Iterator[tuple[Rows, Rows]],
    read: Callable[[tuple[Rows, Rows], Tensor], Batch],
    buffer: Callable[[], Tensor],
    depth: int = 3,
) -> Generator[Batch]:
    """Yield ``read(piece, buffer)`` in order, read by a thread up to ``depth`` pieces ahead.

    A batch is valid until the next one is asked for: its buffer is then filled again.
    """
    free: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[Batch, Tensor] | BaseException | None] = queue.SimpleQueue()
    for _ in range(depth):
        free.put(buffer())

    def work() -> None:
        try:
            for piece in pieces:
                out = free.get()
                if out is None:
                    return
                ready.put((read(piece, out), out))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=work, name="dcbmr-read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            batch, used = item
            yield batch
            free.put(used)
    finally:
        free.put(None)  # after an early end the thread may be waiting for a buffer
        thread.join()
