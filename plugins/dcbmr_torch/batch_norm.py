"""Batch norm of a batch that several processes have parts of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

Sum = Callable[[Tensor], Tensor]  # of tensors of one shape over the processes


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose statistics are of the inputs of all processes; its state is that of the one given.

    ``nn.SyncBatchNorm`` does the same on CUDA alone.

    Parameters
    ----------
    one : _BatchNorm
    sum_of : callable
        Returns the sum of the processes' tensors.
    """

    def __init__(self, one: nn.modules.batchnorm._BatchNorm, sum_of: Sum) -> None:
        super().__init__(one.num_features, one.eps, one.momentum, one.affine, one.track_running_stats)
        self.load_state_dict(one.state_dict())
        self._sum_of = sum_of

    def _check_input_dim(self, input: Tensor) -> None:  # the one replaced knew: here any will do
        pass

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        """Normalize (B, channels, ...)."""
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        weight = self.weight if self.affine else torch.ones(self.num_features, device=input.device)
        bias = self.bias if self.affine else torch.zeros(self.num_features, device=input.device)
        output, mean, variance, n = _Normalized.apply(  # type: ignore[no-untyped-call]
            input, weight, bias, self.eps, self._sum_of
        )
        if self.training and self.running_mean is not None:
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_((variance * (n / (n - 1).clamp(min=1))).to(variance.dtype), share)
        result: Tensor = output
        return result


class _Normalized(torch.autograd.Function):
    """Output, and the mean, the variance and the number of all processes' values of each channel."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float, sum_of: Sum
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [dim for dim in range(inputs.dim()) if dim != 1]
        n = inputs.numel() // inputs.shape[1]
        own_variance, own_mean = torch.var_mean(inputs.float(), dims, correction=0)
        own_mean, own_variance = own_mean.double(), own_variance.double()
        # Var = E[x^2] - E[x]^2: in float64, as the parts' sums are.
        sums = torch.stack([own_mean, own_variance + own_mean.square()]) * n
        sums = sum_of(torch.cat([sums.flatten(), sums.new_tensor([n])]))
        total = sums[-1]
        mean, power = sums[:-1].view(2, -1) / total
        variance = (power - mean.square()).clamp(min=0)
        mean, variance = mean.float(), variance.float()
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.eps, ctx.sum_of, ctx.total = eps, sum_of, total
        ctx.mark_non_differentiable(mean, variance, total)
        return batch_norm(inputs, mean, variance, weight, bias, False, 0.0, eps), mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        # With x^ = (x - mean) / deviation, and sums over all N values of a channel,
        #     dx = weight / deviation * (g - sum(g) / N - x^ * sum(g x^) / N)
        # of which the first term, sum(g x^) and sum(g) are what a norm with a fixed mean has.
        inputs, weight, mean, variance = ctx.saved_tensors
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0].contiguous(memory_format=_format_of(inputs)),
            inputs, weight, mean, variance, None, None, False, ctx.eps, [True, True, True],
        )  # fmt: skip
        sums = ctx.sum_of(torch.stack([of_weight, of_bias]).double()) / ctx.total
        deviation = (variance.double() + ctx.eps).sqrt()
        slope = -weight * sums[0] / deviation.square()
        offset = -weight * sums[1] / deviation - slope * mean
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        by_statistics = torch.addcmul(
            offset.to(direct.dtype).view(shape), inputs, slope.to(direct.dtype).view(shape)
        )
        return direct.add_(by_statistics), of_weight, of_bias, None, None


def _format_of(inputs: Tensor) -> torch.memory_format:
    if inputs.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
