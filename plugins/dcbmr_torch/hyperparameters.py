"""How a network is trained: the hyper-parameters that every network of this package has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from dcbmr import InputError

History = list[dict[str, float]]


@dataclass(kw_only=True, eq=False)
class Training:
    """How a network is trained; the base of every regressor here.

    Parameters
    ----------
    loss : str
        Any registered loss.
    loss_params : mapping of str to value
        Its parameters.
    device : {"auto", "cpu", "cuda"}
        "auto" is CUDA where there is one.
    random_state : int
        Seed of every random choice.
    epochs : int
        Most passes over the training songs. The learning rate falls to zero over all of them.
    batch_size : int
        Songs in a step, and inputs at a time in predicting; fewer there where the memory is too small.
    optimizer : {"adamw", "nesterov"}
        AdamW, or stochastic gradient descent with Nesterov momentum 0.9 as the paper's family used.
    learning_rate : float
        Its peak: reached after a twentieth of the steps, then down to zero by a cosine.
    weight_decay : float
        Decoupled from the learning rate's gradient (AdamW); on matrices only, not on biases and norms.
    clip : float
        Gradients longer than this are shortened to it. The loss is scaled so that its gradient by the
        standardized outputs has length 1 at the start, whatever the loss and its units.
    patience : int
        Epochs without a better validation figure before the fit stops; 0 for never.
    choose_by : {"map", "loss"}
        The figure on the validation songs by which the epoch whose weights are kept is chosen.
    precision : {"auto", "float32", "bfloat16"}
        In which the network computes: "auto" is bfloat16 on CUDA, for its tensor cores, and float32
        elsewhere. Weights, losses and updates are float32 whatever it is. float32 on CUDA is what torch
        makes of it: TF32 in convolutions, full precision in other products.
    compile : bool
        Have torch compile the network before it learns, which takes a minute or so and a C++ compiler;
        ``benchmarks/cnn.py --compile no yes`` says whether it pays.
    """

    loss: str = "mse"
    loss_params: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    random_state: int = 0
    epochs: int = 40
    batch_size: int = 64
    optimizer: Literal["adamw", "nesterov"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    patience: int = 15
    choose_by: Literal["map", "loss"] = "map"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive; got {getattr(self, name)}")
        for name in ("weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative; got {getattr(self, name)}")
        choices = {
            "optimizer": ("adamw", "nesterov"),
            "choose_by": ("map", "loss"),
            "precision": ("auto", "float32", "bfloat16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")


def settings_of(how: Training) -> dict[str, Any]:
    """Return the hyper-parameters as JSON gives them back; the device is no part of a model."""
    settings = {f.name: getattr(how, f.name) for f in fields(how) if f.init and f.name != "device"}
    parsed: dict[str, Any] = json.loads(json.dumps(settings))
    return parsed
