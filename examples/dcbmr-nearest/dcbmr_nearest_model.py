"""A regressor in forty lines: the mean factors of the ``n_neighbours`` songs that sound most alike."""

import numpy as np
from scipy.sparse import issparse

from dcbmr import load_tensors, save_tensors


class Nearest:
    """Nearest neighbours by cosine.

    Parameters
    ----------
    n_neighbours : int
        Songs to average over.
    """

    def __init__(self, *, n_neighbours: int = 10) -> None:
        self.n_neighbours = n_neighbours

    def fit(self, songs, target, *, run=None):
        """Keep the training songs."""
        self.directions_ = _unit(songs.vectors())
        self.song_factors_ = np.array(target.song_factors)
        return self

    def predict(self, songs):
        """Return the mean factors of each song's neighbours, (n_songs, n_factors) float32."""
        cosine = _unit(songs.vectors()) @ self.directions_.T  # (n_songs, n_training_songs)
        n_neighbours = min(self.n_neighbours, cosine.shape[1])
        nearest = np.argpartition(-cosine, n_neighbours - 1, axis=1)[:, :n_neighbours]
        return self.song_factors_[np.sort(nearest, axis=1)].mean(axis=1)

    def save(self, directory):
        """Write safetensors and JSON."""
        tensors = {"directions": self.directions_, "song_factors": self.song_factors_}
        header = {"n_neighbours": self.n_neighbours}
        save_tensors(directory, tensors, header, name="nearest", format_version=1)

    @classmethod
    def load(cls, directory):
        """Read what ``save`` wrote."""
        header, tensors = load_tensors(directory, name="nearest", format_version=1)
        model = cls(n_neighbours=header["n_neighbours"])
        model.directions_, model.song_factors_ = tensors["directions"], tensors["song_factors"]
        return model


def _unit(vectors):
    # Kinds with many dimensions, as word counts, come as a sparse matrix.
    vectors = np.asarray(vectors.toarray() if issparse(vectors) else vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
