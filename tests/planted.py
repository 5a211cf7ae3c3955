"""Songs whose right answer is known, and networks small enough to learn it in a second."""

import numpy as np
from scipy.sparse import csr_array

from dcbmr import FactorTarget

SHORT = {"epochs": 12, "batch_size": 16, "learning_rate": 3e-3, "patience": 0, "choose_by": "loss"}
SMALL_CNN = {
    **SHORT,
    "window": 16,
    "channels": (16, 16),
    "pools": (2, 1),
    "filter_length": 4,
    "hidden": (32,),
}
SMALL_MLP = {**SHORT, "hidden": 32, "dropout": 0.2}


class Songs:
    """SongFeatures of arrays in memory, written to be read."""

    def __init__(self, kind, arrays):
        self.kind, self._arrays = kind, arrays
        self.song_ids = [f"song {i}" for i in range(len(arrays))]
        self.n_dims = arrays[0].shape[-1]
        self.dtype = np.dtype(np.float16 if kind == "mel" else np.float32)
        self.n_frames = np.array([len(a) if a.ndim == 2 else 1 for a in arrays])

    def vectors(self):
        return np.stack(self._arrays)

    def frames(self, song):
        return self._arrays[song]

    def windows(self, songs, starts, length, out=None):
        out = np.empty((len(songs), length, self.n_dims), np.float32) if out is None else out
        for row, (song, start) in enumerate(zip(songs, starts, strict=True)):
            frames = self._arrays[song]
            out[row] = frames[(start + np.arange(length)) % len(frames)]
        return out


def make_target(factors, likes):
    """Users with one taste each, who play exactly the songs that have what they like."""
    users = np.repeat(np.eye(factors.shape[1], dtype=np.float32), 20, 0)
    surplus = 2 * np.repeat(likes, 20, 1).astype(np.float32)
    validation = np.arange(len(factors)) % 5 == 0
    return FactorTarget(factors, users, csr_array(surplus), None, validation)


def planted_order():
    """Songs of one sound and its octave: every other frame, or by twos. The frames are the same."""
    rng = np.random.default_rng(2)
    trait = rng.integers(0, 2, 160)
    arrays = []
    for t in trait:
        pattern = np.tile([0, 1, 0, 1] if t else [0, 0, 1, 1], 12)
        arrays.append(np.roll(np.eye(8)[pattern], rng.integers(4), 0) + 0.3 * rng.normal(size=(48, 8)))
    likes = np.c_[trait == 1, trait == 0]
    factors = (likes + 0.1 * rng.normal(size=likes.shape)).astype(np.float32)
    return Songs("mel", [a.astype(np.float32) for a in arrays]), make_target(factors, likes)
