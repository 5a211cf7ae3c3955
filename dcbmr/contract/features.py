"""What a plugin of features implements: an extractor, from the samples of a song to its frames or its vector.

A kind of feature is a name under which songs have frames in time, or one vector each. Who offers a kind
says what it is (:class:`FeatureSpec`) and makes what computes it (:class:`FeatureExtractor`). The host
decodes each file once, hands every extractor the samples at its rate, stores what comes out, and makes the
features of a new file in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
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
        All that the numbers depend on, for JSON: the ``config`` of the extractor.
    params : mapping, optional
        What makes that extractor again: every parameter of its constructor, for JSON. None where that is not
        known, or nothing made them.
    made_of : mapping of str to FeatureConfig
        Of a kind that is made of frames of others: what these were.
    package : str
        "distribution version" of the plugin that made them; empty where nobody did, as of vectors that a
        user brought.
    licence : str
        Of the weights that made them; empty where there are none.
    is_embedding : bool
        Of vectors: their dimensions are coordinates in one space, see :class:`FeatureSpec`.
    contract : int, optional
        The version of the contract that the plugin was made for; None where nobody made them, or it was not
        kept.
    """

    kind: str
    shape: Literal["frames", "vectors"]
    dtype: str
    n_dims: int
    settings: Mapping[str, Any]
    params: Mapping[str, Any] | None = None
    made_of: Mapping[str, FeatureConfig] = field(default_factory=dict)
    package: str = ""
    licence: str = ""
    is_embedding: bool = False
    contract: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for ``config.json``, where ``kind`` says what a directory holds."""
        values = {own.name: getattr(self, own.name) for own in fields(self)}
        values["made_of"] = [source.to_json() for source in self.made_of.values()]
        return {"feature": values.pop("kind"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` gave, or what was kept before kinds knew their shape.

        KeyError where something is missing, TypeError where it is of another kind.
        """
        if "settings" not in values:
            values = _from_before(values)
        own = {name: values[name] for name in ("shape", "dtype", "n_dims", "settings", "params")}
        for name, kinds in (("params", dict | None), ("settings", dict)):
            if not isinstance(own[name], kinds):
                raise TypeError(f"{name} of {values['feature']!r:.80} are {own[name]!r:.80}")
        sources = [cls.from_json(source) for source in values["made_of"]]
        return cls(
            kind=values["feature"],
            **own,
            made_of={source.kind: source for source in sources},
            package=values["package"],
            licence=values["licence"],
            is_embedding=values.get("is_embedding", False),  # which older ones do not say
            contract=values.get("contract"),
        )

    def made_alike(self) -> dict[str, Any]:
        """Return what must be the same in features that are used together: not who wrote them, and how."""
        sources = {name: source.made_alike() for name, source in self.made_of.items()}
        return {"feature": self.kind, **self.settings, **sources, "n_dims": self.n_dims}


_DTYPES_OF_BEFORE = {"mel": "<f2", "mfcc": "<f4", "bow": "<u4"}


def _from_before(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was kept of mel, mfcc and bow when settings lay beside the layout."""
    layout = ("feature", "dtype", "n_dims")
    settings = {name: value for name, value in values.items() if name not in (*HEADER, *layout)}
    made = {
        "feature": values["feature"],
        "dtype": _DTYPES_OF_BEFORE[values["feature"]],  # which models did not keep
        "n_dims": values["n_dims"],
        "params": None,
        "made_of": [],
        "package": "",
        "licence": "",
    }
    if values["feature"] != "bow":
        return {**made, "shape": "frames", "settings": settings}
    words = {name: settings.pop(name) for name in ("n_words", "codebook")}
    n_dims = settings["n_mfcc"] * (1 + settings["deltas"])
    mfcc = {"feature": "mfcc", "dtype": "<f4", "n_dims": n_dims, "shape": "frames", "settings": settings}
    return {**made, "shape": "vectors", "settings": words, "made_of": [{**made, **mfcc}]}


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
    """Computes the features of one kind: a :class:`StreamingExtractor` or a :class:`WholeExtractor`.

    A class whose constructor takes annotated, keyword-only parameters (``--set NAME=VALUE``), stores them and
    does no work. They are kept with the features, and make the extractor again for a new file: numbers, texts
    (of a path, too), true or false, or tuples of these. One name is reserved, and filled by the host where
    the kind is made of others:

    ``sources`` : mapping of str to FeatureConfig
        What the frames are that it is made of: their ``n_dims``, their ``settings``.

    One extractor serves all songs, several at once on different threads. What it has to load once, such as
    weights, is loaded in ``check``, which is called before them (``has_check``).

    Attributes
    ----------
    sr : float
        The sampling rate that it wants, Hz. Nobody asks for it where the kind is made of others.
    n_dims : int
        Length of a frame or of a vector, with these parameters.
    config : dict
        All that the numbers depend on, for JSON: the parameters, but the SHA-256 of weights in the place of
        their path. What has the same config computes the same; what has another is not used together. Of
        frames, ``sr``, ``hop_length`` and ``n_fft`` in it let ``explain`` say when a frame is.
    """

    @property
    def sr(self) -> float: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def config(self) -> dict[str, Any]: ...


class StreamingExtractor(FeatureExtractor, Protocol):
    """An extractor that takes a song piece by piece, however long it is; spec: ``is_streaming``."""

    def stream(self) -> FeatureStream:
        """Return a stream for one song."""
        ...


class WholeExtractor(FeatureExtractor, Protocol):
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


class CheckedExtractor(FeatureExtractor, Protocol):
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
    is_embedding : bool
        Of vectors: their dimensions are coordinates in one space, as a network's embedding has them or a PCA,
        so that their sizes tell something. Before a regressor takes vectors their mean is taken off and all
        dimensions are multiplied with one number; otherwise each is divided by its own deviation, since
        dimensions of different units are not to be compared.
    package : str
        "distribution version" of the plugin that offers it, filled by the host.
    """

    name: str
    factory: str | Callable[..., Any] = field(repr=False)
    summary: str
    shape: Literal["vectors", "frames"] = "vectors"
    dtype: str = "<f4"
    licence: str = ""
    is_streaming: bool = False
    made_of: tuple[str, ...] = ()
    joint: str | Callable[..., Any] | None = field(default=None, repr=False)
    has_check: bool = False
    is_embedding: bool = False
    package: str = field(default="", kw_only=True)

    def resolve(self) -> Callable[..., Any]:
        """Return the class, importing its module if it is not yet."""
        return resolved(self.factory)
