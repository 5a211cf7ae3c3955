"""What a plugin of features implements: an extractor, from the samples of a song to its frames or its vector.

A kind of feature is a name under which songs have frames in time, or one vector each. Who offers a kind
says what it is (:class:`FeatureSpec`) and makes what computes it (:class:`FeatureExtractor`). The host
decodes each file once, hands every extractor the samples at its rate, stores what comes out, and makes the
features of a new file in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from dcbmr.base.directory import HEADER
from dcbmr.contract.contract import resolved

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What is known of the features of a kind that were made: a store keeps it, and so does a model.

    Attributes
    ----------
    kind : str
    shape : {"frames", "vectors"}
    dtype : str
        Of the numbers as they are stored, in NumPy's spelling.
    n_dims : int
        Length of a frame or of a vector.
    settings : mapping
        All that the numbers depend on, for JSON.
    package : str
        "distribution version" of the plugin that made them; empty where nobody did, as of vectors that a
        user brought.
    licence : str
        Of the weights that made them; empty where there are none.
    """

    kind: str
    shape: Literal["frames", "vectors"]
    dtype: str
    n_dims: int
    settings: Mapping[str, Any]
    package: str = ""
    licence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for ``config.json``, where ``kind`` says what a directory holds."""
        values = asdict(self)
        return {"feature": values.pop("kind"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` gave, or what was kept before a kind knew its shape; else KeyError."""
        kind = values["feature"]
        own = {name: values[name] for name in ("dtype", "n_dims")}
        if "settings" in values:
            own |= {name: values[name] for name in ("shape", "settings", "package", "licence")}
        else:
            known = (*HEADER, "feature", "dtype", "n_dims")
            own["settings"] = {name: value for name, value in values.items() if name not in known}
            own["shape"] = "vectors" if kind == "bow" else "frames"
        return cls(kind=kind, **own)

    def made_alike(self) -> dict[str, Any]:
        """Return what must be the same in features that are used together: not who wrote them, and how."""
        return {"feature": self.kind, **self.settings, "n_dims": self.n_dims}


class FeatureStream(Protocol):
    """Samples in, rows out; what comes out does not depend on how the samples are cut."""

    def accept(self, samples: Any) -> NDArray[Any]:
        """Return the rows that became ready with more of the song, (n, n_dims), maybe none.

        Parameters
        ----------
        samples : ndarray of shape (n_samples,), float32
            Mono, at the rate ``sr``, finite; never empty. Of a kind that is made of others: a mapping of
            their names to frames, (n_frames, n_dims) float32 each, which may be none.
        """
        ...

    def finish(self) -> NDArray[Any]:
        """Return the rows that waited for what follows: the song is at its end.

        Of a kind with one vector a song, all the rows of a stream together are one: (1, n_dims).
        """
        ...


class FeatureExtractor(Protocol):
    """Computes the features of one kind.

    A class whose constructor takes annotated, keyword-only parameters (``--set NAME=VALUE``), stores them and
    does no work. One name is reserved, and filled by the host where the kind is made of others:

    ``sources`` : mapping of str to FeatureConfig
        What the frames are that it is made of: their ``n_dims``, their ``settings``.

    It has one of two methods, as its spec says: ``stream`` (``is_streaming``) or ``extract``. Both are called
    on several threads at once, each with a song of its own.

    Attributes
    ----------
    sr : float
        The sampling rate that it wants, Hz. None is asked for where the kind is made of others.
    n_dims : int
        Length of a frame or of a vector, with these parameters.
    config : dict
        All that the numbers depend on, for JSON: the parameters, the SHA-256 of weights. Two extractors with
        the same config compute the same.
    """

    @property
    def sr(self) -> float: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def config(self) -> dict[str, Any]: ...


class Streams(FeatureExtractor, Protocol):
    """An extractor that takes a song piece by piece, however long it is; spec: ``is_streaming``."""

    def stream(self) -> FeatureStream:
        """Return a stream for one song."""
        ...


class Extracts(FeatureExtractor, Protocol):
    """An extractor that takes a whole song at once."""

    def extract(self, samples: Any) -> NDArray[Any]:
        """Return the frames of a song, (n_frames, n_dims), or its vector, (n_dims,).

        Parameters
        ----------
        samples : ndarray of shape (n_samples,), float32
            Mono, at the rate ``sr``, finite. Of a kind that is made of others: a mapping of their names to
            frames, (n_frames, n_dims) float32 each.
        """
        ...


class Checks(FeatureExtractor, Protocol):
    """An extractor that can say before the work what is wrong with its parameters; spec: ``has_check``."""

    def check(self) -> None:
        """Raise InputError for a parameter out of its range, weights that are not there, and the like."""
        ...


@dataclass(frozen=True)
class FeatureSpec:
    """A kind of feature as a plugin offers it.

    Attributes
    ----------
    name : str
        What ``--kind`` takes: a letter, then letters, digits, "_" and "-".
    factory : str or callable
        The class of its extractor, or "package.module:Name", imported on first use.
    summary : str
        One line for ``dcbmr plugins``.
    shape : {"vectors", "frames"}
        Whether a song has one vector, or frames in time.
    dtype : {"<f4", "<f2"}
        How the numbers are stored: float32, or half of it where that loses nothing that matters.
    licence : str
        Of the weights that the numbers come of, if any; stored with the features, and shown.
    is_streaming : bool
        The extractor takes a song piece by piece (``stream``), not whole (``extract``).
    made_of : tuple of str
        Kinds of frames that it takes in the place of samples, as they are stored.
    joint : str or callable, optional
        What lets several kinds share work: those of the same ``joint`` are given to it together,
        ``joint({kind: extractor})``, and the streams of what it returns, one a song, return
        ``{kind: rows}``. It returns None where these extractors have nothing to share.
    has_check : bool
        It can say before the work what is wrong with its parameters: ``check``.
    """

    name: str
    factory: str | Callable[..., Any] = field(repr=False)
    summary: str
    shape: Literal["vectors", "frames"] = "vectors"
    dtype: Literal["<f4", "<f2"] = "<f4"
    licence: str = ""
    is_streaming: bool = False
    made_of: tuple[str, ...] = ()
    joint: str | Callable[..., Any] | None = field(default=None, repr=False)
    has_check: bool = False

    def resolve(self) -> Callable[..., Any]:
        """Return the class, importing its module if it is not yet."""
        return resolved(self.factory)
