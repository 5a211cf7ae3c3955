"""A regressor in forty lines: the mean factors of the ``n_neighbours`` songs that sound most alike."""

import json

import numpy as np
from safetensors.numpy import load_file, save_file


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
        save_file(tensors, directory / "songs.safetensors")
        (directory / "config.json").write_text(json.dumps({"n_neighbours": self.n_neighbours}))

    @classmethod
    def load(cls, directory):
        """Read what ``save`` wrote."""
        model = cls(**json.loads((directory / "config.json").read_text()))
        tensors = load_file(directory / "songs.safetensors")
        model.directions_, model.song_factors_ = tensors["directions"], tensors["song_factors"]
        return model


def _unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
