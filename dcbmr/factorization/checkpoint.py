"""The state of a factorization after a sweep, as a directory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.sparse import csr_array

from dcbmr.base.directory import new_directory, read_config
from dcbmr.base.settings import check_settings
from dcbmr.errors import InputError
from dcbmr.factorization.factors import TENSORS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHECKPOINT = "als-checkpoint"
_FREE = ("n_iterations", "tolerance")  # settings that a resumed run may change


def identity_of_plays(surplus: csr_array) -> dict[str, Any]:
    """Return what tells plays apart."""
    digest = 0
    for part in (surplus.indptr, surplus.indices, surplus.data):
        digest = zlib.crc32(part.data, digest)
    return {"shape": list(surplus.shape), "n_plays": int(surplus.nnz), "crc32_of_plays": digest}


class Checkpoint:
    """The state of a fit, kept and found again.

    Parameters
    ----------
    path : Path
    settings : mapping
        Of the factorization.
    plays : mapping
        What :func:`identity_of_plays` says of them.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], plays: Mapping[str, Any]) -> None:
        self._path = path
        self._identity = {name: value for name, value in settings.items() if name not in _FREE} | dict(plays)

    def save(
        self,
        user_factors: NDArray[np.float32],
        song_factors: NDArray[np.float32],
        objective: list[dict[str, float]],
    ) -> None:
        """Write the state anew."""
        from safetensors.numpy import save_file

        config = {**self._identity, "objective": objective}
        with new_directory(self._path, kind=_CHECKPOINT, config=config, overwrite=True) as folder:
            save_file({"user_factors": user_factors, "song_factors": song_factors}, folder / TENSORS)

    def load(self) -> tuple[NDArray[np.float32], NDArray[np.float32], list[dict[str, float]]] | None:
        """Return user factors, song factors and the objective of each sweep; None where there is no state."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not self._path.exists():
            return None
        config = read_config(self._path, kind=_CHECKPOINT)
        check_settings(
            self._identity,
            {name: config.get(name) for name in self._identity},
            "the unfinished factorization was begun",
            remedy="give the same plays and settings, or --overwrite to start anew",
        )
        try:
            tensors = load_file(self._path / TENSORS)
            return tensors["user_factors"], tensors["song_factors"], config["objective"]
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{self._path} is damaged: {type(error).__name__}: {error}") from error
