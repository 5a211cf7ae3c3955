"""Networks for dcbmr: the regressors ``mlp`` and ``cnn``, their losses, and the one training loop.

A network of your own is a subclass of :class:`VectorRegressor`, on one vector a song, or of
:class:`WindowRegressor`, on windows of frames: these two names are public, and nothing else of this package.
Importing it loads no torch: the factories are named by strings, and these names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dcbmr import LossSpec, RegressorSpec, hookimpl

if TYPE_CHECKING:
    from dcbmr_torch.regressor import VectorRegressor, WindowRegressor

__all__ = ["VectorRegressor", "WindowRegressor"]

DCBMR_CONTRACT = 2

# Where `dcbmr tune` looks.
_OF_NETWORKS = {"learning_rate": (3e-5, 1e-2), "weight_decay": (1e-4, 1.0), "dropout": (0.0, 0.8)}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dcbmr_torch' has no attribute {name!r}")
    return getattr(import_module("dcbmr_torch.regressor"), name)


@hookimpl
def dcbmr_regressors() -> list[RegressorSpec]:
    """Return the two networks."""
    return [
        RegressorSpec(
            "mlp",
            "dcbmr_torch.mlp:MLP",
            "one hidden layer of ReLU units on a vector a song",
            losses=None,
            has_check=True,
            has_memory=True,
            has_warm_start=True,
            has_peers=True,
            devices=("auto", "cpu", "cuda"),
            space={**_OF_NETWORKS, "hidden": (100, 4000)},
        ),
        RegressorSpec(
            "cnn",
            "dcbmr_torch.cnn:CNN",
            "convolutions over time on windows of frames, averaged over a song",
            shape="frames",
            kind="mel",
            losses=None,
            has_check=True,
            has_memory=True,
            has_activations=True,
            has_warm_start=True,
            has_peers=True,
            devices=("auto", "cpu", "cuda"),
            space=_OF_NETWORKS,
        ),
    ]


@hookimpl
def dcbmr_losses() -> list[LossSpec]:
    """Return the paper's two objectives, and a ranking loss, which it names as future work."""
    return [
        LossSpec("mse", "dcbmr_torch.losses:MSE", "squared error of the song factors"),
        LossSpec(
            "softmax",
            "dcbmr_torch.ranking:Softmax",
            "likelihood of all users' plays, a softmax over songs",
        ),
        LossSpec("wpe", "dcbmr_torch.losses:WPE", "weighted error of the predicted plays of all users"),
    ]
