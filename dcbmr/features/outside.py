"""Other people's extractors: what they return is checked, and how long they take; a fault costs the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError
from dcbmr.base.aside import Aside, GivenUpError
from dcbmr.contract.faults import fault_of, told
from dcbmr.contract.features import FeatureConfig
from dcbmr.errors import InputError

_LARGEST_HALF = float(np.finfo(np.float16).max)


class Outside:
    """The stream of a plugin's extractor for one song, whose every fault is the song's: an AudioError.

    Parameters
    ----------
    begin : callable
        Begins the stream itself, which takes samples and returns ``{kind: rows}``.
    configs : mapping of str to FeatureConfig
        What its plugin says of the rows of each kind.
    package : str
        Its plugin's name and version, for the messages.
    path : str
        The song's file.
    cancelled : Event
    timeout_s : float
        What it may take for the song.
    """

    def __init__(
        self,
        begin: Callable[[], Any],
        configs: Mapping[str, FeatureConfig],
        *,
        package: str,
        path: str,
        cancelled: Event,
        timeout_s: float,
    ) -> None:
        self._begin, self._configs = begin, configs
        self._package, self._path = package, path
        self._cancelled, self._timeout_s = cancelled, timeout_s
        self._aside = Aside(timeout_s, cancelled)
        self._stream: Any = None
        self._n_rows = dict.fromkeys(configs, 0)

    def accept(self, samples: Any) -> dict[str, NDArray[Any]]:
        """Return the rows that became ready with more of the song."""
        return self._checked(self._call(lambda stream, own: stream.accept(own), _copied(samples)))

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return the rows that waited for what follows."""
        return self._checked(self._call(lambda stream: stream.finish()))

    def close(self) -> None:
        """Let go of the thread that it works on."""
        self._aside.close()

    def _call(self, what: Callable[..., Any], *args: Any) -> Any:
        try:
            if self._stream is None:
                self._stream = self._aside(self._begin)
            return self._aside(what, self._stream, *args)
        except GivenUpError:
            if self._cancelled.is_set():
                raise AudioError(self._path, "was interrupted") from None
            raise AudioError(
                self._path, f"{self._package} took longer than {self._timeout_s:g} s for {self._kinds}"
            ) from None
        except InputError as error:
            raise AudioError(
                self._path, f"{self._package} makes no {self._kinds} of it", f": {error}"
            ) from None
        except Exception as error:
            self._fail(told(error))

    @property
    def _kinds(self) -> str:
        return " and ".join(map(repr, self._configs))

    def _fail(self, why: str) -> NoReturn:
        raise AudioError(self._path, f"{self._package} failed to make {self._kinds}", f": {why}") from None

    def _checked(self, found: Any) -> dict[str, NDArray[Any]]:
        if not isinstance(found, Mapping) or set(found) - set(self._configs):
            self._fail(f"it returned {found!r:.80}, wanted rows of {self._kinds}")
        for kind, rows in found.items():
            if why := self._fault(self._configs[kind], rows):
                self._fail(why)
            self._n_rows[kind] += len(rows)
            if self._configs[kind].shape == "vectors" and self._n_rows[kind] > 1:
                self._fail(f"it returned {self._n_rows[kind]} vectors of a song, wanted one")
        return dict(found)

    def _fault(self, config: FeatureConfig, rows: Any) -> str | None:
        """Say what is wrong with rows of a kind."""
        is_vector = config.shape == "vectors" and getattr(rows, "shape", ())[:1] == (1,)
        row = (config.n_dims,)
        if fault := fault_of(rows[0], row) if is_vector else fault_of(rows, ("n", *row)):
            return f"it returned {fault}"
        if not np.isfinite(rows).all():
            return f"it returned {np.sum(~np.isfinite(rows))} numbers that are NaN or infinite"
        if config.dtype == "<f2" and rows.size and np.abs(rows).max() > _LARGEST_HALF:
            return f"it returned {np.abs(rows).max():g}, too large for half precision"
        return None


def _copied(samples: Any) -> Any:
    """Return samples that a plugin may do with what it likes: others are given the same ones."""
    if isinstance(samples, Mapping):
        return {kind: frames.copy() for kind, frames in samples.items()}
    return samples.copy()
