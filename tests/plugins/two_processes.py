"""A fit that two plain processes do together: this one and one that it starts; and a loss within batches."""

import multiprocessing

import numpy as np
import torch
from dcbmr_torch.cnn import CNN
from dcbmr_torch.mlp import MLP
from planted import planted_order

from dcbmr import FitRun
from dcbmr.testing.regressors.together import PipePeers

MODELS = {"cnn": CNN, "mlp": MLP}

# A loss that compares each song with the others of its batch: its own factors are those it is nearest to.
IN_BATCH = """
    import numpy as np
    import torch
    from dcbmr import LossSpec, hookimpl

    DCBMR_CONTRACT = 2

    class InBatch(torch.nn.Module):
        def __init__(self, target):
            super().__init__()
            self.register_buffer("factors", torch.from_numpy(np.array(target.song_factors)), persistent=False)
            self.scale = torch.nn.Parameter(torch.zeros(()))

        def forward(self, predicted, songs):
            scores = predicted @ self.factors[songs].T * self.scale.exp()
            return torch.nn.functional.cross_entropy(scores, torch.arange(len(songs)))

    @hookimpl
    def dcbmr_losses():
        return [LossSpec("in_batch", InBatch, "its own factors among those of the batch")]
"""


def data(regressor):
    songs, target = planted_order()
    if regressor == "mlp":  # a vector a song: how often each band follows another
        songs.kind, songs._arrays = "stats", [(a[:-1].T @ a[1:]).ravel()[:30] for a in songs._arrays]
        songs.n_dims, songs.n_frames = 30, np.ones(len(songs.song_ids), np.int64)
    return songs, target


def fit(regressor, settings, run):
    torch.set_num_threads(1)
    return MODELS[regressor](**settings).fit(*data(regressor), run=run)


def _other(pipe):
    peers = PipePeers(1, pipe)
    while given := pipe.recv():
        regressor, settings, how = given
        model = fit(regressor, settings, FitRun(**how, peers=peers))
        pipe.send(model.history)


class Other:
    """The second process, which waits for fits; a context."""

    def __enter__(self):
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_other, args=(theirs,))
        self._process.start()
        return self

    def __exit__(self, *_):
        self._pipe.send(None)
        self._process.join(30)
        assert self._process.exitcode == 0

    def fit(self, regressor, settings, **how):
        """Fit in both processes; return the first one's model and the second one's history."""
        self._pipe.send((regressor, settings, how))
        model = fit(regressor, settings, FitRun(**how, peers=PipePeers(0, self._pipe)))
        return model, self._pipe.recv()
