"""The networks: plain modules from standardized input to standardized factors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcbmr import InputError


class Standardized(nn.Module):
    """A network in the units of the data: input standardized before it, factors put back after it.

    ``precision`` is that of the network alone; the loss, the weights and their updates are float32.
    """

    input_mean: Tensor
    input_scale: Tensor
    output_mean: Tensor
    output_scale: Tensor

    def __init__(self, body: nn.Module, n_dims: int, n_factors: int, precision: str = "float32") -> None:
        super().__init__()
        self.body = body
        self.precision = precision
        self.register_buffer("input_mean", torch.zeros(n_dims))
        self.register_buffer("input_scale", torch.ones(n_dims))
        self.register_buffer("output_mean", torch.zeros(n_factors))
        self.register_buffer("output_scale", torch.ones(n_factors))

    def standardize(
        self, inputs: tuple[NDArray[np.float32], NDArray[np.float32]], factors: NDArray[np.float32]
    ) -> None:
        """Take the mean and scale of the inputs, and those of the training songs' ``factors``."""
        mean, scale = inputs
        self.input_mean.copy_(torch.from_numpy(mean))
        self.input_scale.copy_(torch.from_numpy(scale))
        deviation = factors.std(0, dtype=np.float64)
        # A factor that never varies needs no scale of its own.
        deviation = np.where(deviation > 0, deviation, deviation.max() or 1.0)
        self.output_mean.copy_(torch.from_numpy(factors.mean(0, dtype=np.float64)))
        self.output_scale.copy_(torch.from_numpy(deviation))

    def forward(self, inputs: Tensor) -> Tensor:  # (B, ..., n_dims) -> (B, n_factors)
        device = inputs.device.type
        bf16 = self.precision == "bfloat16" or (self.precision == "auto" and device == "cuda")
        inputs = inputs.to(torch.float32, copy=True)  # windows come in half precision
        inputs = inputs.sub_(self.input_mean).mul_(self.input_scale)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            outputs = self.body(inputs)
        restored: Tensor = outputs.float() * self.output_scale + self.output_mean
        return restored


class Convolutions(nn.Module):
    """Convolution along time, ReLU, max-pooling, and again; (B, length, n_dims) -> (B, channels, time).

    Time is the width of images of height 1 with channels last. Windows lie in memory like that already, so
    that nothing is transposed, and the kernels for it are the faster ones on CPU and on CUDA.
    """

    def __init__(
        self, n_dims: int, channels: Sequence[int], pools: Sequence[int], width: int, batch_norm: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, pool in zip([n_dims, *channels[:-1]], channels, pools, strict=True):
            layers.append(nn.Conv2d(n_in, n_out, (1, width), bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(n_out))
            layers.append(nn.ReLU(inplace=True))
            if pool > 1:
                layers.append(nn.MaxPool2d((1, pool)))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs.transpose(1, 2).unsqueeze(2)).squeeze(2)
        return outputs


class PoolOverTime(nn.Module):
    """Mean, maximum and L2 norm over time: (B, channels, time) -> (B, 3 * channels)."""

    def forward(self, inputs: Tensor) -> Tensor:
        power = inputs.square().mean(2)
        return torch.cat([inputs.mean(2), inputs.amax(2), (power + 1e-6).sqrt()], 1)


def check_length(length: int, pools: Sequence[int], width: int) -> None:
    """Raise InputError where nothing is left of ``length`` frames after the convolutions."""
    left = length
    for pool in pools:
        left = (left - width + 1) // pool
    if left < 1:
        raise InputError(
            f"a window of {length} frames is too short for {len(pools)} convolutions of length {width} "
            f"with pooling {tuple(pools)}; take a longer window or less pooling"
        )


def dense(n_inputs: int, widths: Sequence[int], n_outputs: int, dropout: float) -> nn.Sequential:
    """ReLU layers of ``widths`` and a linear one, each after dropout where there is any."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip([n_inputs, *widths[:-1]], widths, strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True)]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    last = nn.Linear(widths[-1] if widths else n_inputs, n_outputs)
    # Start near the mean of the factors, which is the best that can be said before anything is heard.
    nn.init.normal_(last.weight, std=0.1 / math.sqrt(last.in_features))
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
