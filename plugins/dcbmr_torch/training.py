"""The one training loop, which every network of this package runs.

Everything that is random in an epoch is a function of (random_state, epoch): the songs' order, their
windows, dropout. So a checkpoint needs no generator's state beyond the number of the epoch, and a fit that
was killed continues to the same losses. On CPU, with the same number of threads, they are the same bits;
on CUDA, atomic additions and the libraries' choice of algorithms leave the last bits free.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import dcbmr
from dcbmr import DcbmrError, InputError, evaluate_ranking
from dcbmr_torch.checkpoint import Checkpoint
from dcbmr_torch.examples import Examples, Rows
from dcbmr_torch.hyperparameters import History, Training
from dcbmr_torch.networks import Standardized
from dcbmr_torch.together import Together

if TYPE_CHECKING:
    from dcbmr import FactorTarget, FitRun, Loss

# Bounds on what every epoch is judged by: enough songs and users for a mean that tells epochs apart.
MAX_JUDGED_SONGS = 4_000
MAX_JUDGED_USERS = 20_000
REPORT_EVERY_S = 0.5
NAN_CHECK_EVERY = {"cpu": 1, "cuda": 50}  # steps; on CUDA every look at a loss waits for the device
FETCH_EVERY = 16  # batches of predictions, for the same reason
SMALLER = "take a smaller network, or another device"


def train(
    network: Standardized,
    examples: Examples,
    target: FactorTarget,
    loss: Loss,
    how: Training,
    run: FitRun,
    together: Together,
) -> History:
    """Train ``network`` in place and leave in it the weights of the best epoch.

    Parameters
    ----------
    network : Standardized
        On its device, with the standardization of its inputs and outputs set, and compiled if it shall be.
    examples : Examples
        Inputs of the songs of ``target``, row by row.
    target : FactorTarget
        ``validation`` is never learned from: it chooses the epoch. Where it is empty the last one is kept.
    loss : Loss
        In song_factors units, as every loss. Of a Module, the parameters are learned beside the network's,
        and left as they were in the best epoch.
    how : Training
        Hyper-parameters.
    run : FitRun
        Progress, checkpoints and resumption.
    together : Together
        The processes that have a part of each batch.

    Returns
    -------
    list of dict
        One per epoch: epoch, loss (mean over the training songs, before each step), validation_loss,
        validation_map (mAP@500), learning_rate, seconds, and windows_per_s or songs_per_s.
    """
    device = network.output_mean.device
    learn = songs_to_learn_from(target)
    batch_size = min(how.batch_size, len(learn))
    if batch_size < together.size:
        raise InputError(
            f"{together.size} workers cannot share batches of {batch_size} songs; take fewer workers, or a "
            "larger batch_size"
        )
    mine = together.mine(batch_size)
    n_batches = len(learn) // batch_size  # the few songs left over wait for the next epoch's order
    n_steps = how.epochs * n_batches
    judge = Judge(examples, target, loss, how, together)
    learned = nn.ModuleDict({"network": network})
    if isinstance(loss, nn.Module):
        learned["loss"] = loss.to(device)
    # Each by itself: what a loss learns is none of the network's. A Module may as well learn nothing.
    clipped = [parameters for module in learned.values() if (parameters := list(module.parameters()))]
    scale = gradient_scale(network, loss, learn[:batch_size])
    optimizer = make_optimizer(learned, how)
    checkpoint = Checkpoint(run, learned, optimizer, how, examples, together)
    history = checkpoint.resume()
    for row in history:  # whoever notes what is reported may have been killed before they had it all
        run.report("fit", int(row["epoch"] + 1) * n_batches, n_steps, _reported(row))
    shown = 0.0

    def learn_from(inputs: Tensor, songs: Tensor) -> Tensor:
        value = loss(together.whole(network(inputs), batch_size), songs)
        optimizer.zero_grad(set_to_none=True)
        (scale * value).backward()
        together.sum_gradients(network)
        for parameters in clipped:
            nn.utils.clip_grad_norm_(parameters, how.clip)
        optimizer.step()
        return value.detach()

    run.report("fit", len(history) * n_batches, n_steps, {})
    for epoch in range(len(history), how.epochs):
        if judge.patience_is_over(history):
            break
        rng = np.random.default_rng([how.random_state, epoch])
        torch.manual_seed(int(rng.integers(2**63)) ^ together.rank)  # each leaves out other units
        together.agree(learned)
        rows = rng.permutation(learn)[: n_batches * batch_size].reshape(n_batches, batch_size)
        losses = torch.zeros(n_batches, device=device)
        began = time.perf_counter()
        learned.train()
        on_device = torch.from_numpy(rows).to(device)  # all at once: a copy in every step would wait
        for batch, (_, inputs) in enumerate(examples.sample(rows, rng, mine)):
            step = epoch * n_batches + batch
            rate = learning_rate_at(step / n_steps, how.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            value = None
            with suppress(torch.OutOfMemoryError):
                value = learn_from(inputs, on_device[batch])
            if value is None:  # not in the handler of the error, which holds what the step had in memory
                optimizer.zero_grad(set_to_none=True)
                if together.size > 1:  # the others do not try what fits
                    raise InputError(
                        f"out of memory on {inputs.device} with {len(inputs)} songs of batch_size "
                        f"{batch_size}; take a smaller one, or more workers"
                    )
                raise InputError(what_fits(network, loss, inputs, on_device[batch]))
            losses[batch] = value
            if (batch + 1) % NAN_CHECK_EVERY[device.type] == 0 or batch + 1 == n_batches:
                stop_if_nan(losses[: batch + 1], epoch * n_batches, rows, target, how, checkpoint, examples)
            now = time.perf_counter()
            if now - shown > REPORT_EVERY_S:
                shown = now
                speed = (batch + 1) * batch_size / (now - began)
                figures = {"loss": float(losses[: batch + 1].mean()), f"{examples.unit}_per_s": speed}
                run.report("fit", step + 1, n_steps, figures)
        seconds = time.perf_counter() - began
        learned.eval()
        figures = {
            "loss": float(losses.mean()),
            **judge(network),
            f"{examples.unit}_per_s": rows.size / seconds,
        }
        row = {"epoch": epoch, **figures, "learning_rate": rate, "seconds": seconds}
        history.append(together.row_of_first(row))
        checkpoint.write(history, is_best=judge.best(history) == epoch)
        run.report("fit", (epoch + 1) * n_batches, n_steps, _reported(history[-1]))
    checkpoint.restore_best()
    learned.eval()
    return history


def _reported(row: Mapping[str, float]) -> dict[str, float]:
    """Return what people see of an epoch."""
    return {name: value for name, value in row.items() if name not in ("epoch", "learning_rate", "seconds")}


def songs_to_learn_from(target: FactorTarget) -> Rows:
    """Return the rows that are not set aside; InputError where they are too few."""
    learn = np.flatnonzero(~target.validation)
    if len(learn) < 2:
        raise InputError(
            f"a network needs at least 2 songs to learn from, beside validation; got {len(learn)}"
        )
    return learn


def learning_rate_at(progress: float, peak: float, warm_up: float = 0.05) -> float:
    """Return the rate at ``progress`` in [0, 1): a linear rise to ``peak``, then a cosine down to zero."""
    if progress < warm_up:
        return peak * (0.05 + 0.95 * progress / warm_up)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def make_optimizer(learned: nn.ModuleDict, how: Training) -> torch.optim.Optimizer:
    """Return the optimizer of the network, whose matrices alone decay, and of the loss, if it learns."""
    parameters = [p for p in learned["network"].parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if "loss" in learned:
        of_loss = [p for p in learned["loss"].parameters() if p.requires_grad]
        groups.append({"params": of_loss, "weight_decay": getattr(learned["loss"], "weight_decay", 0.0)})
    if how.optimizer == "nesterov":
        return torch.optim.SGD(groups, lr=how.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=how.learning_rate, fused=True)


def gradient_scale(network: Standardized, loss: Loss, songs: Rows) -> float:
    """Return what to multiply a loss with so that clipping means the same for all of them.

    With it, the gradient of a song's loss by its standardized outputs has a root mean square length of 1
    over ``songs``, where every prediction is the mean of the factors.
    """
    outputs = network.output_mean.expand(len(songs), -1).clone().requires_grad_()
    value = loss(outputs, torch.from_numpy(songs).to(outputs.device))
    (gradient,) = torch.autograd.grad(value, outputs)
    length = float((gradient * network.output_scale * len(songs)).square().sum(1).mean().sqrt())
    return 1 / length if math.isfinite(length) and length > 0 else 1.0


def stop_if_nan(
    losses: Tensor,
    first_step: int,
    rows: Rows,
    target: FactorTarget,
    how: Training,
    checkpoint: Checkpoint,
    examples: Examples,
) -> None:
    """Raise DcbmrError when a loss is not finite: the step, its songs, and what to go on from."""
    finite = torch.isfinite(losses)
    if bool(finite.all()):
        return
    bad = int((~finite).nonzero()[0])
    songs = [examples.song_ids[row] for row in rows[bad]]
    named = ", ".join(songs[:8]) + (f" and {len(songs) - 8} more" if len(songs) > 8 else "")
    good = f"last good checkpoint: {checkpoint.file}" if checkpoint.written else "no checkpoint was written"
    raise DcbmrError(
        f"{_named(how)} became {float(losses[bad])} at step {first_step + bad + 1} (songs {named}); {good}. "
        f"Lower learning_rate (now {how.learning_rate:g}) or clip (now {how.clip:g}), and look at those songs"
    )


def _named(how: Training) -> str:
    return f"loss {how.loss!r} of {dcbmr.losses()[how.loss].package}"


def what_fits(network: torch.nn.Module, loss: Loss, inputs: Tensor, songs: Tensor) -> str:
    """Say which batch size fits into the device's memory, found by halving the one that does not."""
    size = len(songs)
    while size > 1:
        size //= 2
        try:
            loss(network(inputs[:size]), songs[:size]).backward()
        except torch.OutOfMemoryError:
            continue
        finally:
            network.zero_grad(set_to_none=True)
        return f"out of memory on {inputs.device} with batch_size {len(songs)}; batch_size {size} fits"
    return f"out of memory on {inputs.device} even with batch_size 1; {SMALLER}"


class Judge:
    """The figures on the validation songs that choose the epoch."""

    def __init__(
        self, examples: Examples, target: FactorTarget, loss: Loss, how: Training, together: Together
    ) -> None:
        rng = np.random.default_rng([how.random_state, 0x1D6E])
        rows = np.sort(rng.permutation(np.flatnonzero(target.validation))[:MAX_JUDGED_SONGS])
        plays = target.surplus[rows].T.tocsr()  # (n_users, n_judged)
        users = np.flatnonzero(np.diff(plays.indptr))
        users = np.sort(rng.permutation(users)[:MAX_JUDGED_USERS])
        self._heldout, self._user_factors = plays[users], target.user_factors[users]
        self._examples, self._rows, self._loss, self._how = examples, rows, loss, how
        self._together = together

    def __call__(self, network: Standardized) -> dict[str, float]:
        """Return validation_loss and validation_map; nothing where no song is set aside."""
        if len(self._rows) == 0:
            return {}
        device, total, n = network.output_mean.device, 0.0, len(self._rows)
        mine = self._together.mine(n)
        part = predict(network, self._examples, self._rows[mine], self._how.batch_size)
        predicted = self._together.whole(torch.from_numpy(part).to(device), n).cpu().numpy()
        for begin in range(0, len(predicted), 256):  # for all at once a loss may take much memory
            songs = torch.from_numpy(self._rows[begin : begin + 256]).to(device)
            with torch.no_grad():
                value = self._loss(torch.from_numpy(predicted[begin : begin + 256]).to(device), songs)
            total += len(songs) * float(value)
        figures = {"validation_loss": total / len(predicted)}
        if not np.isfinite(predicted).all() or not np.isfinite(figures["validation_loss"]):
            raise DcbmrError(
                f"the predictions of the validation songs, or their {_named(self._how)}, are no longer "
                f"finite; lower learning_rate (now {self._how.learning_rate:g})"
            )
        if self._heldout.shape[0]:
            figures["validation_map"] = float(
                evaluate_ranking(self._user_factors, predicted, self._heldout).map_at_k
            )
        return figures

    def _figures(self, history: History) -> list[float]:
        if self._how.choose_by == "map" and "validation_map" in history[-1]:
            return [row["validation_map"] for row in history]
        if "validation_loss" in history[-1]:
            return [-row["validation_loss"] for row in history]
        return [row["epoch"] for row in history]  # nothing to choose by: the last

    def best(self, history: History) -> int:
        """Return the epoch with the best figure, the first of equals."""
        return int(np.argmax(self._figures(history)))

    def patience_is_over(self, history: History) -> bool:
        """Say whether ``patience`` epochs went by without a better figure."""
        patience = self._how.patience
        return 0 < patience <= len(history) - 1 - self.best(history) if history else False


def predict(network: Standardized, examples: Examples, rows: Rows, batch_size: int) -> np.ndarray:
    """Return the mean prediction over the inputs of each song, (len(rows), n_factors) float32."""
    total = np.zeros((len(rows), len(network.output_mean)))
    count = np.zeros(len(rows), np.int64)
    place = np.empty(examples.n_songs, np.int64)
    place[rows] = np.arange(len(rows))
    network.eval()
    for songs, outputs in compute(network, examples, rows, batch_size):
        first = np.flatnonzero(np.diff(songs, prepend=-1))  # the inputs of a song follow each other
        at = place[songs[first]]
        total[at] += np.add.reduceat(outputs, first, dtype=np.float64)
        count[at] += np.diff(first, append=len(songs))
    return (total / count[:, None]).astype(np.float32)


def compute(
    function: Callable[[Tensor], Tensor], examples: Examples, rows: Rows, batch_size: int
) -> Generator[tuple[Rows, NDArray[np.float32]]]:
    """Yield ``function`` of all inputs of the songs ``rows``, in order: their songs (n,) and values (n, ...).

    Where the memory of the device is too small for a batch, it and the following ones are halved.
    """
    waiting: list[tuple[Rows, Tensor]] = []

    def fetched() -> tuple[Rows, NDArray[np.float32]]:
        songs, values = zip(*waiting, strict=True)
        waiting.clear()
        return np.concatenate(songs), torch.cat(values).cpu().numpy()

    fits = batch_size
    with torch.no_grad():
        for songs, inputs in examples.cover(rows, batch_size):
            values = None
            while values is None:
                with suppress(torch.OutOfMemoryError):
                    values = torch.cat([function(part) for part in inputs.split(fits)])
                if values is None:
                    fits = min(fits, len(inputs)) // 2
                    if fits == 0:
                        raise InputError(f"out of memory on {inputs.device} even for one input; {SMALLER}")
            waiting.append((songs, values))
            if len(waiting) == FETCH_EVERY:
                yield fetched()
        if waiting:
            yield fetched()


def resolve_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu" or "cuda" means here."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be one of auto, cpu, cuda; got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: this torch sees no CUDA device; take --device auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def torch_session(n_threads: int | None, device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch and set its threads and choices; all are as they were before when the block ends."""
    before, searched = torch.get_num_threads(), torch.backends.cudnn.benchmark
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    torch.backends.cudnn.benchmark = True  # time every algorithm for a shape once, keep the fastest
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.benchmark = searched


@contextmanager
def memory_of(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turn an error of too little memory, which no smaller batch was tried for, into advice."""
    try:
        yield
    except RuntimeError as error:
        # On the processor it has no class of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        reason = ". ".join(str(error).split(". ")[:2])
        raise InputError(
            f"out of memory on {device} with batch_size {batch_size}; take a smaller one, or see whether "
            f"another program has the memory ({reason})"
        ) from error
