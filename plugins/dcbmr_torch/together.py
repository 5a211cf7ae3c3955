"""Networks that several processes train together: each computes its songs of every batch.

The outputs of all are brought together before the loss, which every process computes of the whole batch, so
that a loss may compare the songs of a batch with each other; each goes back with the gradients of its own
outputs, and the gradients of the weights are summed. Batch norms take their statistics of the whole batch. So
N processes follow one, within the noise of summation; only dropout draws other units.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dcbmr_torch.batch_norm import WholeBatchNorm

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from dcbmr import Peers


class Together:
    """The processes of a fit, of which there may be one; all call the same methods in the same order.

    Attributes
    ----------
    rank, size : int
        Which of how many this one is.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self._device = rank, size, device

    def mine(self, n: int) -> slice:
        """Return which of ``n`` rows are for this process."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def whole(self, part: Tensor, n: int) -> Tensor:
        """Return the ``n`` rows of which ``part`` are :meth:`mine`, and all processes have theirs."""
        if self.size == 1:
            return part
        with _lost():
            result: Tensor = _Whole.apply(part, self.mine(n), n)  # type: ignore[no-untyped-call]
        return result

    def sum_gradients(self, module: nn.Module) -> None:
        """Put into each gradient its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _lost():
            dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def agree(self, module: nn.Module) -> None:
        """Give all processes the weights of the first: other processors may round otherwise."""
        if self.size == 1:
            return
        with _lost():
            for value in module.state_dict().values():
                dist.broadcast(value, 0)

    def row_of_first(self, row: dict[str, float]) -> dict[str, float]:
        """Return the row of a history that the first process has, by which all choose and stop."""
        if self.size == 1:
            return row
        found: dict[str, float] = json.loads(self._of_first(json.dumps(row).encode()))
        return found

    @contextmanager
    def as_first_sees(self, file: Path) -> Iterator[Path]:
        """Give a file, or none, as the first process sees it: shared disks show others older states."""
        if self.size == 1:
            yield file
            return
        content = self._of_first(file.read_bytes() if self.rank == 0 and file.is_file() else b"")
        with TemporaryDirectory() as folder:
            copy = Path(folder) / file.name
            if content:
                copy.write_bytes(content)
            yield copy

    def share_batch_norms(self, network: nn.Module) -> None:
        """Have the batch norms of a network take the statistics of the songs of all processes."""
        if self.size == 1:
            return
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.modules.batchnorm._BatchNorm):
                    setattr(parent, name, WholeBatchNorm(child, self._sum))

    def _sum(self, values: Tensor) -> Tensor:
        with _lost():
            dist.all_reduce(values)
        return values

    def _of_first(self, content: bytes) -> bytes:
        size = torch.tensor([len(content)], device=self._device)
        with _lost():
            dist.broadcast(size, 0)
            sent = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).to(self._device)
            if self.rank:
                sent = torch.empty(int(size), dtype=torch.uint8, device=self._device)
            dist.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, mine: slice, n: int) -> Tensor:
        ctx.mine = mine
        whole = part.new_zeros(n, *part.shape[1:])
        whole[mine] = part
        dist.all_reduce(whole)  # the others have zeros there: nothing is rounded
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.mine], None, None


@contextmanager
def learning_together(peers: Peers | None, device: torch.device) -> Iterator[Together]:
    """Connect the processes of a fit.

    After an error they stay connected until they end: whoever waits for this one shall not take its leaving
    for the error.
    """
    if peers is None or peers.size == 1:
        yield Together()
        return
    with _lost():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=_meet(peers),
            rank=peers.rank,
            world_size=peers.size,
        )
    yield Together(peers.rank, peers.size, device)
    dist.destroy_process_group()


def _meet(peers: Peers) -> Store:
    """Return the store by which the processes find each other; it is kept by the first."""
    store: Any = dist.TCPStore  # type: ignore[attr-defined]
    kept, where = None, b""
    if peers.rank == 0:
        kept = store(peers.host, 0, is_master=True, wait_for_workers=False)
        where = f"{peers.host} {kept.port}".encode()
    first, *_ = peers.gather(np.frombuffer(where, np.uint8))
    host, port = first.tobytes().decode().split()
    met: Store = kept or store(host, int(port), is_master=False)
    return met


@contextmanager
def _lost() -> Iterator[None]:
    """Say of a failed exchange what it is: the host starts all processes again."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"another process of the fit cannot be reached: {error}") from error
