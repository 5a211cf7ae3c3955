"""Checkpoints of a fit: one safetensors file, replaced whole, in which nothing can be executed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dcbmr import DcbmrError, InputError
from dcbmr_torch.hyperparameters import History, Training, settings_of

if TYPE_CHECKING:
    from dcbmr import FitRun
    from dcbmr_torch.examples import Examples
    from dcbmr_torch.together import Together

FORMAT_VERSION = 2


def write_whole(file: Path, content: bytes) -> None:
    """Write beside, sync, rename: ``file`` is the old one or the new one, never a part."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(file)
    except OSError as error:
        raise DcbmrError(
            f"the checkpoint in {file.parent} could not be written: {error.strerror}; what was written "
            "before is kept: free some space, and resume"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


class Checkpoint:
    """The state of a fit after each epoch: what was learned, the best of it, optimizer, history.

    It lies in ``run.checkpoint`` as ``checkpoint.safetensors``, with ``log.jsonl``, one line an epoch, beside
    it, both written by the first of several processes. Without such a directory only the best weights are
    kept, in memory.
    """

    def __init__(
        self,
        run: FitRun,
        learned: nn.Module,
        optimizer: torch.optim.Optimizer,
        how: Training,
        examples: Examples,
        together: Together,
    ) -> None:
        self._run, self._learned, self._optimizer = run, learned, optimizer
        self._best: dict[str, Tensor] | None = None
        self._together = together
        self._settings = {**settings_of(how), "n_songs": examples.n_songs, "n_dims": examples.n_dims}
        self.file = run.checkpoint / "checkpoint.safetensors" if run.checkpoint is not None else None
        self.written = False

    def resume(self) -> History:
        """Restore what an earlier fit left and return its history; empty where there is nothing."""
        history: History = []
        if self.file is not None and self._run.resume:
            with self._together.as_first_sees(self.file) as file:
                if file.is_file():
                    history = self._read(file)
                    self.written = True
        if self.file is not None and self._together.rank == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(row) + "\n" for row in history)
            (self.file.parent / "log.jsonl").write_text(lines, "utf-8")
        return history

    def write(self, history: History, *, is_best: bool) -> None:
        """Keep what was learned if it is the best so far, and write everything to the directory."""
        state = self._learned.state_dict()
        if is_best:
            self._best = {name: value.detach().clone() for name, value in state.items()}
        if self.file is None or self._together.rank:
            return
        tensors = {f"last.{name}": value for name, value in state.items()}
        tensors |= {f"best.{name}": value for name, value in (self._best or {}).items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        header = {"format_version": FORMAT_VERSION, "settings": self._settings, "history": history}
        content = save(
            {name: value.contiguous().cpu() for name, value in tensors.items()},
            metadata={"dcbmr_torch": json.dumps(header)},
        )
        write_whole(self.file, content)
        with (self.file.parent / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(history[-1]) + "\n")
        self.written = True

    def restore_best(self) -> None:
        """Put the best back into what learned it."""
        if self._best is not None:
            self._learned.load_state_dict(self._best)

    def _read(self, file: Path) -> History:
        try:
            with safe_open(file, framework="pt") as opened:
                header = json.loads(opened.metadata()["dcbmr_torch"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.file} is no checkpoint of this package: {error}; delete it to start anew"
            ) from error
        if header.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{self.file}: format_version is {header.get('format_version')}, "
                f"this package reads {FORMAT_VERSION}; delete it to start anew"
            )
        for name, value in self._settings.items():
            found = header["settings"].get(name)
            if found != value:
                raise InputError(
                    f"cannot resume from {self.file}: {name} was {found!r} there and is {value!r} now; "
                    "give the same settings, or start anew without resume"
                )

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}

        self._learned.load_state_dict(part("last."))
        device = next(self._learned.parameters()).device
        self._best = {name: value.to(device) for name, value in part("best.").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        history: History = header["history"]
        return history
