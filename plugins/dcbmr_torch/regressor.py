"""What turns a network into a regressor; a network of your own is a subclass with one method.

>>> from dcbmr_torch import WindowRegressor
>>> @dataclass(kw_only=True, eq=False)
... class Recurrent(WindowRegressor):
...     hidden: int = 128
...
...     def network(self, n_dims: int, n_factors: int) -> nn.Module:
...         return MyModule(n_dims, self.hidden, n_factors)  # (B, window, n_dims) -> (B, n_factors)

Its hyper-parameters are the class's fields, those of :class:`Training` among them; it trains, predicts,
saves, loads and resumes as ``cnn`` does. The network sees standardized inputs and gives standardized factors;
examples/dcbmr-gru is a complete one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcbmr import FitRun, InputError, get_loss, load_tensors, save_tensors
from dcbmr_torch.examples import MOST_MEASURED, Examples, VectorExamples, WindowExamples
from dcbmr_torch.hyperparameters import History, Training, settings_of
from dcbmr_torch.losses import MSE
from dcbmr_torch.networks import Standardized
from dcbmr_torch.together import learning_together
from dcbmr_torch.training import (
    compute,
    memory_of,
    predict,
    resolve_device,
    songs_to_learn_from,
    torch_session,
    train,
)

if TYPE_CHECKING:
    from dcbmr import FactorTarget, SongFeatures

FORMAT_VERSION = 2
_TORCH = 340 * 2**20  # the library itself, once it computes


@dataclass(kw_only=True, eq=False)
class NetworkRegressor(Training, ABC):
    """A regressor whose model is a torch network; its parameters are those of :class:`Training`.

    Attributes
    ----------
    history : list of dict
        One per epoch, see :func:`dcbmr_torch.training.train`.
    loss_state : dict of str to tensor
        What a loss that is a Module has learned, of the best epoch; empty for others. Nothing that predicts
        needs it: it is kept for who goes on from this model.
    """

    history: History = field(init=False, default_factory=list, repr=False)
    loss_state: dict[str, Tensor] = field(init=False, default_factory=dict, repr=False)
    _network: Standardized | None = field(init=False, default=None, repr=False)

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range, or a device that is not there."""
        super().check()
        resolve_device(self.device)

    @abstractmethod
    def network(self, n_dims: int, n_factors: int) -> nn.Module:
        """Return a new network: standardized inputs (B, ..., n_dims) -> standardized factors."""

    @abstractmethod
    def examples(self, songs: SongFeatures, device: torch.device) -> Examples:
        """Return how inputs are drawn from ``songs``."""

    @abstractmethod
    def _input_shape(self, n_dims: int) -> tuple[int, ...]:
        """Return the shape of the inputs of a batch."""

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes a fit takes on a CPU beside what it is given.

        The network is laid out without any memory, to count what its layers give back.
        """
        n_outputs = 0

        def count(module: nn.Module, inputs: Any, outputs: Any) -> None:
            nonlocal n_outputs
            of_module = outputs if isinstance(outputs, tuple) else (outputs,)
            n_outputs += sum(output.numel() for output in of_module if isinstance(output, Tensor))

        with torch.device("meta"):
            network = self.network(n_dims, n_factors)
            for module in network.modules():
                if not list(module.children()):
                    module.register_forward_hook(count)
            network(torch.empty(self._input_shape(n_dims)))
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        # Weights, the best ones, gradients, two moments; outputs, their gradients, and room to make them.
        return _TORCH + 20 * n_parameters + 20 * n_outputs + 8 * n_users * n_factors + 16 * n_pairs

    def fit(self, songs: SongFeatures, target: FactorTarget, *, run: FitRun | None = None) -> Self:
        """Learn from ``songs`` and ``target``, row by row the same songs; return self.

        Raises
        ------
        InputError
            A parameter is out of range, or there is too little to learn from.
        DcbmrError
            The loss became NaN or infinite: the message names the step and its songs.
        """
        run = run or FitRun()
        self.check()
        device = resolve_device(self.device)
        with (
            torch_session(run.n_threads, device, self.random_state),
            memory_of(device, self.batch_size),
            learning_together(run.peers, device) as together,
        ):
            examples = self.examples(songs, device)
            n_factors = target.song_factors.shape[1]
            network = self._standardized(examples.n_dims, n_factors)
            learn = songs_to_learn_from(target)
            rng = np.random.default_rng([self.random_state, 0x57A7])
            loss = get_loss(self.loss, target, **self.loss_params)
            if isinstance(run.start, NetworkRegressor):
                run.start._give_start(network, loss)
            else:
                # The outputs are standardized by what they are drawn to.
                factors = loss.factors if isinstance(loss, MSE) else target.song_factors
                network.standardize(examples.statistics(learn, rng), factors[learn])
            together.share_batch_norms(network)
            network.to(device)
            if self.compile:
                network.body.compile()
            self.history = train(network, examples, target, loss, self, run, together)
            if isinstance(loss, nn.Module):
                self.loss_state = {name: value.cpu() for name, value in loss.state_dict().items()}
        self._network = network
        return self

    def _give_start(self, network: Standardized, loss: Any) -> None:
        """Copy what this one has learned into a new network and, where they are alike, its loss."""
        try:
            network.load_state_dict(self._fitted().state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the network to start from is another one: {reason}") from None
        if isinstance(loss, nn.Module) and loss.state_dict().keys() == self.loss_state.keys():
            loss.load_state_dict(self.loss_state)

    def predict(self, songs: SongFeatures) -> NDArray[np.float32]:
        """Return predictions of shape (n_songs, n_factors), in the units of ``song_factors``."""
        network = self._fitted()
        device = resolve_device(self.device)
        examples = self.examples(songs, device)
        if examples.n_dims != len(network.input_mean):
            raise InputError(
                f"the model takes {len(network.input_mean)} dimensions; "
                f"the {songs.kind!r} features came with {examples.n_dims}"
            )
        with memory_of(device, self.batch_size):
            return predict(network.to(device), examples, np.arange(examples.n_songs), self.batch_size)

    def save(self, directory: Path) -> None:
        """Write the weights, the settings and the history, and what the loss has learned, if it has."""
        network = self._fitted()
        header = {
            "n_dims": len(network.input_mean),
            "n_factors": len(network.output_mean),
            "parameters": settings_of(self),
            "history": self.history,
        }
        files = {"network": (network.state_dict(), header)}
        if self.loss_state:
            files["loss"] = self.loss_state, {"loss": self.loss}
        for name, (state, described) in files.items():
            tensors = {key: value.cpu().numpy() for key, value in state.items()}
            save_tensors(directory, tensors, described, name=name, format_version=FORMAT_VERSION)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what ``save`` wrote."""
        header, tensors = load_tensors(directory, name="network", format_version=FORMAT_VERSION)
        known = {f.name for f in fields(cls) if f.init}
        unknown = sorted(set(header["parameters"]) - known)
        if unknown:
            raise InputError(f"{directory}: {cls.__name__} has no parameter {', '.join(unknown)}")
        n_dims, n_factors = header["n_dims"], header["n_factors"]
        try:
            model = cls(**{name: _tuples(value) for name, value in header["parameters"].items()})
            network = model._standardized(n_dims, n_factors)
            network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{directory} holds no {cls.__name__} that can be read: {reason}") from error
        model.history = header["history"]
        if (directory / "loss.json").exists():
            _, learned = load_tensors(directory, name="loss", format_version=FORMAT_VERSION)
            model.loss_state = {name: torch.from_numpy(value) for name, value in learned.items()}
        model._network = network.eval()
        return model

    def _standardized(self, n_dims: int, n_factors: int) -> Standardized:
        return Standardized(self.network(n_dims, n_factors), n_dims, n_factors, self.precision)

    def _fitted(self) -> Standardized:
        if self._network is None:
            raise InputError(f"this {type(self).__name__} is not fitted: call fit, or load a saved one")
        return self._network


def _tuples(value: Any) -> Any:
    """Return a value read from JSON with tuples in the place of lists."""
    if isinstance(value, dict):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@dataclass(kw_only=True, eq=False)
class VectorRegressor(NetworkRegressor):
    """A network on one vector a song: kinds of shape "vectors".

    A subclass is a dataclass (``kw_only=True, eq=False``) with the method :meth:`network`; its fields are its
    hyper-parameters, beside those that every network has (epochs, batch_size, learning_rate, ...). It may
    have a :meth:`check` that calls ``super().check()``.
    """

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes a fit takes on a CPU beside what it is given."""
        # To standardize them, vectors are copied, and again in float64, and once more less their mean.
        measured = 20 * min(n_songs, MOST_MEASURED) * n_dims
        return measured + super().memory(
            n_songs=n_songs, n_dims=n_dims, n_users=n_users, n_pairs=n_pairs, n_factors=n_factors
        )

    def _input_shape(self, n_dims: int) -> tuple[int, ...]:
        """Return (batch_size, n_dims)."""
        return self.batch_size, n_dims

    def examples(self, songs: SongFeatures, device: torch.device) -> Examples:
        """Return the songs' vectors."""
        return VectorExamples(songs, device)


@dataclass(kw_only=True, eq=False)
class WindowRegressor(NetworkRegressor):
    """A network on windows of frames: kinds of shape "frames".

    A subclass is one as of :class:`VectorRegressor`; its network takes windows, (B, window, n_dims).

    Parameters
    ----------
    window : int
        Frames in a window; 129 are 3 seconds at 22,050 Hz with hops of 512 samples.
    """

    window: int = 129

    def check(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check()
        if self.window < 1:
            raise InputError(f"window must be at least 1 frame; got {self.window}")

    def _input_shape(self, n_dims: int) -> tuple[int, ...]:
        """Return (batch_size, window, n_dims)."""
        return self.batch_size, self.window, n_dims

    def examples(self, songs: SongFeatures, device: torch.device) -> Examples:
        """Return the songs' windows."""
        return WindowExamples(songs, self.window, device)

    def activations(
        self, songs: SongFeatures, rows: NDArray[np.int64], *, layer: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int, NDArray[np.float32]]:
        """Return what the windows that cover some songs do to the network.

        Parameters
        ----------
        songs : SongFeatures
        rows : ndarray of shape (n,), int64
            Which of them.
        layer : int, optional
            The n-th ReLU of the network, from 1: its largest output over a window's time. None for the
            factors.

        Returns
        -------
        rows, starts : ndarray of shape (n_windows,), int64
            Song and first frame of each window, song after song.
        length : int
            Frames in a window.
        values : ndarray of shape (n_windows, n_units), float32
        """
        network = self._fitted()
        device = resolve_device(self.device)
        examples = WindowExamples(songs, self.window, device)
        layers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
        if layer is not None and not 1 <= layer <= len(layers):
            raise InputError(f"layer {layer}: the network has layers 1 to {len(layers)}")
        seen: dict[str, Tensor] = {}

        def see(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen["last"] = output.flatten(2).amax(2).float() if output.dim() > 2 else output

        def respond(inputs: Tensor) -> Tensor:
            network(inputs)
            return seen["last"]

        hook = (network if layer is None else layers[layer - 1]).register_forward_hook(see)
        network.eval().to(device)
        try:
            with memory_of(device, self.batch_size):
                values = [value for _, value in compute(respond, examples, rows, self.batch_size)]
        finally:
            hook.remove()
        return *examples.covering(rows), self.window, np.concatenate(values)
