"""What a plugin implements and what the host lends it.

A regressor learns to predict the factors of a song from its features; a loss is an objective that such a
regressor may minimise. The host calls a regressor only through the protocols of this module, and a plugin
needs nothing else of dcbmr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError

#: The version of all that stands here. A plugin says for which one it was made (DCBMR_CONTRACT in the module
#: of its entry point), and one made for another is skipped with a warning.
CONTRACT_VERSION = 2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array
    from torch import Tensor


@runtime_checkable
class SongFeatures(Protocol):
    """One kind of feature of the songs in hand; row ``i`` is row ``i`` of the target.

    Attributes
    ----------
    kind : str
        The name of the kind.
    song_ids : sequence of str
        The songs, in row order.
    n_dims : int
        Length of a frame or of a vector.
    dtype : dtype
        Of the numbers as they are stored: ``windows`` writes it without loss.
    n_frames : ndarray of shape (n_songs,), int64
        Frames of each song; 1 for kinds with one vector a song.
    """

    kind: str
    song_ids: Sequence[str]
    n_dims: int
    dtype: np.dtype[Any]
    n_frames: NDArray[np.int64]

    def vectors(self) -> NDArray[np.float32] | csr_array:
        """Return one vector a song, (n_songs, n_dims); only for kinds of shape "vectors"."""
        ...

    def frames(self, song: int) -> NDArray[Any]:
        """Return the frames of row ``song``, (n_frames, n_dims) float32; only for kinds of shape "frames"."""
        ...

    def windows(
        self,
        songs: NDArray[np.int64],
        starts: NDArray[np.int64],
        length: int,
        out: NDArray[np.floating] | None = None,
    ) -> NDArray[np.floating]:
        """Return a window of each of ``songs``, (B, length, n_dims); songs shorter than it wrap round.

        Parameters
        ----------
        songs : ndarray of shape (B,), int64
            Rows of the songs.
        starts : ndarray of shape (B,), int64
            First frame of each window; frames are counted round the song's end.
        length : int
            Frames in a window.
        out : ndarray of shape (B, length, n_dims), float32 or float16, C-contiguous, optional
            Where to write; a new array of float32 if None. Of a kind that is stored in half precision
            (``dtype``), float16 loses nothing and moves half as much.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)
class FactorTarget:
    """What factorize learned, restricted to the training songs.

    Every array is a read-only view, those of ``surplus`` too: the caller's own stay as writable as they were.

    Attributes
    ----------
    song_factors : ndarray of shape (n_songs, n_factors), float32
    user_factors : ndarray of shape (n_users, n_factors), float32
    surplus : csr_array of shape (n_songs, n_users), float32
        Confidence above one, s = c - 1 = alpha * log(1 + r / epsilon); songs in rows, indices sorted.
    groups : ndarray of shape (n_songs,), int64, or None
        The artist of each song, as a number, where artists are known.
    validation : ndarray of shape (n_songs,), bool
        Songs the host set aside for early stopping and model choice, by artist where known. The user
        factors have seen their plays: good enough to choose with, not to report.

    Raises
    ------
    InputError
        A shape does not fit the others: the message names it.
    """

    song_factors: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    surplus: csr_array
    groups: NDArray[np.int64] | None
    validation: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check the shapes, and put read-only views in the place of the arrays."""
        from dcbmr.base.arrays import read_only, read_only_csr

        (n_songs, n_factors), n_users = self.song_factors.shape, len(self.user_factors)
        wanted = {
            "user_factors": (n_users, n_factors),
            "surplus": (n_songs, n_users),
            "groups": (n_songs,),
            "validation": (n_songs,),
        }
        for name, shape in wanted.items():
            part = getattr(self, name)
            if part is not None and part.shape != shape:
                raise InputError(
                    f"{name} has shape {part.shape}; the {n_songs} x {n_factors} song factors and "
                    f"{n_users} users want {shape}"
                )
        for name in ("song_factors", "user_factors", "groups", "validation"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_only(getattr(self, name)))
        object.__setattr__(self, "surplus", read_only_csr(self.surplus))

    def __repr__(self) -> str:
        (n_songs, n_factors), n_users = self.song_factors.shape, len(self.user_factors)
        aside = int(self.validation.sum())
        return f"<FactorTarget: {n_songs} songs x {n_factors} factors, {n_users} users, {aside} set aside>"


class Peers(Protocol):
    """The other processes of a fit that several do together, each on songs of its own.

    ``sum`` and ``gather`` are called by all of them in the same order, and wait for the last one.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        How many there are.
    host : str
        The address of this one's machine, as the others reach it.

    Raises
    ------
    ConnectionError
        From ``sum`` and ``gather``: another process is lost. A fit raises it, too, where it finds out by
        itself. The host ends all and starts them again, with ``resume``.
    """

    rank: int
    size: int
    host: str

    def sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of every process's ``array``, which all have the same shape and dtype.

        It is added in the order of the ranks, so that all get the same bits.
        """
        ...

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Return every process's ``array`` in the order of the ranks; shapes may differ."""
        ...


@dataclass(frozen=True)
class FitRun:
    """What the host lends a long fit.

    Attributes
    ----------
    checkpoint : Path or None
        A directory the fit may write its checkpoints to; None to write none.
    resume : bool
        Continue from what lies in ``checkpoint``, if anything does. A fit that reports ``validation_map``
        reports that of the epochs in it once more: whoever noted it may have been killed with the fit.
    n_threads : int or None
        Threads to use; None for every core of the process.
    report : Progress
        ``report(stage, step, n_steps, figures)`` shows progress. It raises to cancel the fit, which the fit
        lets through. One that reports ``validation_map``, the mAP on the songs of ``target.validation``,
        after each epoch lets `dcbmr tune` cancel it early where others were better.
    peers : Peers or None
        Who learns together with this fit; None when it is alone. Only where the spec says ``has_peers``. The
        first of them writes the checkpoint, and its model is kept.
    start : Regressor or None
        A fitted regressor of the same class to start from, which is left as it is; only where the spec says
        ``has_warm_start``. What is resumed goes before it.
    """

    checkpoint: Path | None = None
    resume: bool = False
    n_threads: int | None = None
    report: Progress = silent
    peers: Peers | None = None
    start: Regressor | None = None


@runtime_checkable
class Regressor(Protocol):
    """Predicts song factors from features.

    A class whose constructor takes annotated, keyword-only hyper-parameters and only stores them. Four
    names are reserved, and filled by the host where the constructor declares them:

    ``loss`` : str
        The objective, from ``--loss``.
    ``loss_params`` : mapping of str to value, empty by default
        Parameters of the objective, from ``--set loss.NAME=VALUE``. A regressor that takes registered losses
        declares it and makes its loss by ``dcbmr.get_loss(loss, target, **loss_params)``; one that computes
        its objectives itself does not.
    ``device`` : str
        One of its spec's ``devices``, from ``--device``.
    ``random_state`` : int
        The seed of every random choice, from ``--seed``.

    A regressor may be more than that, which its spec declares: :class:`HasCheck`, :class:`HasMemory`,
    :class:`HasUsers`, :class:`HasActivations`.
    """

    def fit(self, songs: SongFeatures, target: FactorTarget, *, run: FitRun | None = None) -> Self:
        """Learn from ``songs`` and ``target``, row by row the same songs; return self."""
        ...

    def predict(self, songs: SongFeatures) -> NDArray[np.float32]:
        """Return predictions of shape (n_songs, width), in the units of ``song_factors``."""
        ...

    def save(self, directory: Path) -> None:
        """Write the fitted model into an existing, empty directory: safetensors and JSON, never pickle."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what ``save`` wrote; import and execute nothing that the directory names."""
        ...


class HasCheck(Regressor, Protocol):
    """A regressor that can say before the work what is wrong with its parameters; spec: ``has_check``."""

    def check(self) -> None:
        """Raise InputError for a hyper-parameter out of its range, or a device that is not there.

        ``dcbmr.get_regressor`` calls it on what it made, so that nobody waits for features to be prepared
        before a mistake is named.
        """
        ...


class HasMemory(Regressor, Protocol):
    """A regressor that can tell how much memory its fit takes; its spec says ``has_memory``."""

    def memory(self, *, n_songs: int, n_dims: int, n_users: int, n_pairs: int, n_factors: int) -> float:
        """Return how many bytes ``fit`` takes at its peak beside what it is given; rather more than less.

        `dcbmr train` compares them with what the machine has, before features are prepared.

        Parameters
        ----------
        n_songs, n_dims : int
            Songs, and numbers of a song's vector or of a frame.
        n_users, n_pairs, n_factors : int
            Of the target: rows of ``user_factors``, plays in ``surplus``, factors.
        """
        ...


class HasUsers(Regressor, Protocol):
    """A model with users of its own, as metric learning has; its spec says ``has_users``.

    Its predictions have the width of these users, and the inner product of the two is the score.
    """

    def user_factors(self, counts: csr_array) -> NDArray[np.float32]:
        """Return factors of users, (n_users, width), from their plays.

        Parameters
        ----------
        counts : csr_array of shape (n_users, n_songs), float32
            Plays; the columns are the songs given to fit.
        """
        ...


class HasActivations(Regressor, Protocol):
    """A model on windows of frames that can say what they do to it; its spec says ``has_activations``."""

    def activations(
        self, songs: SongFeatures, rows: NDArray[np.int64], *, layer: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int, NDArray[np.float32]]:
        """Return what the windows that cover some songs do to the model.

        Parameters
        ----------
        songs : SongFeatures
        rows : ndarray of shape (n,), int64
            Which of them.
        layer : int, optional
            One of its layers, from 1, the nearest to the input first; None for the factors.

        Returns
        -------
        rows, starts : ndarray of shape (n_windows,), int64
            Song and first frame of each window, song after song.
        length : int
            Frames in a window.
        values : ndarray of shape (n_windows, n_units), float32
            Of the factors, what each window says for them: the mean over the windows of a song is its
            prediction.
        """
        ...


class Loss(Protocol):
    """Objective of a batch: the mean over its songs of a sum over factors, or over users.

    ``factory(target, **params)`` makes one for a :class:`FactorTarget`; its parameters are annotated and
    keyword-only. It may be a torch Module with parameters that are learned beside the regressor's: they are
    moved to its device, optimized in a group of their own (without weight decay, or with the Module's
    attribute ``weight_decay``), checkpointed, set back to the best epoch's and saved with the model. What
    follows from the target is no state of it: a buffer that is not persistent.
    """

    def __call__(self, predicted: Tensor, songs: Tensor) -> Tensor:
        """Return a scalar on ``predicted.device``.

        Parameters
        ----------
        predicted : tensor of shape (B, n_factors), float32
            In the units of ``song_factors``.
        songs : tensor of shape (B,), int64
            Rows of the target, on the same device.
        """
        ...


def resolved(factory: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(factory, str):
        return factory
    module, _, name = factory.partition(":")
    resolved: Callable[..., Any] = getattr(import_module(module), name)
    return resolved


@dataclass(frozen=True)
class RegressorSpec:
    """A regressor as a plugin offers it.

    Attributes
    ----------
    name : str
        What ``--regressor`` takes.
    factory : str or callable
        The class, or "package.module:Name", imported on first use.
    summary : str
        One line for ``dcbmr plugins``.
    shape : {"vectors", "frames"}
        What a song has to have: the regressor works on any kind of feature of this shape.
    kind : str
        The kind of that shape that it is given unless another is asked for.
    losses : tuple of str, or None
        The objectives the regressor takes as its argument ``loss``: None for any registered loss, empty
        where there is nothing to choose.
    has_check : bool
        It can say before the work what is wrong with its parameters: :class:`HasCheck`.
    has_memory : bool
        It can say before the work how much memory its fit takes: :class:`HasMemory`.
    has_users : bool
        The model has users of its own: :class:`HasUsers`.
    has_activations : bool
        It can say what its units respond to: :class:`HasActivations`.
    has_warm_start : bool
        Its fit starts from ``run.start`` where there is one.
    has_peers : bool
        Its fit learns together with ``run.peers`` where there are any.
    devices : tuple of str
        What its argument ``device`` takes, where it declares one; others are refused.
    space : mapping of str to tuple
        Where `dcbmr tune` looks for its parameters, unless it is told where: two numbers, the lower first,
        are the ends of a range, on a scale of logarithms where the lower is above 0; anything else are values
        to choose among.
    package : str
        "distribution version" of the plugin that offers it, filled by the host.
    """

    name: str
    factory: str | Callable[..., Any] = field(repr=False)
    summary: str
    shape: Literal["vectors", "frames"] = "vectors"
    kind: str = "bow_pca"
    losses: tuple[str, ...] | None = ()
    has_check: bool = False
    has_memory: bool = field(default=False, kw_only=True)
    has_users: bool = False
    has_activations: bool = False
    has_warm_start: bool = False
    has_peers: bool = field(default=False, kw_only=True)
    devices: tuple[str, ...] = ("cpu",)
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False, kw_only=True)
    package: str = field(default="", kw_only=True)

    def resolve(self) -> Callable[..., Any]:
        """Return the class, importing its module if it is not yet."""
        return resolved(self.factory)


@dataclass(frozen=True)
class LossSpec:
    """A loss as a plugin offers it.

    Attributes
    ----------
    name : str
        What ``--loss`` takes.
    factory : str or callable
        ``factory(target, **params)``, or "package.module:Name", imported on first use.
    summary : str
        One line for ``dcbmr plugins``.
    package : str
        "distribution version" of the plugin that offers it, filled by the host.
    """

    name: str
    factory: str | Callable[..., Any] = field(repr=False)
    summary: str
    package: str = field(default="", kw_only=True)

    def resolve(self) -> Callable[..., Any]:
        """Return the factory, importing its module if it is not yet."""
        return resolved(self.factory)
