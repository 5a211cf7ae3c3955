"""The factors of users and songs: saved, loaded, and found for new users and songs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr import _core
from dcbmr.base.directory import new_directory, read_config
from dcbmr.base.text import read_lines, write_lines
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.factorization.half_sweep import Problem, fixed_factors, half_sweep, int32_indices
from dcbmr.plays.confidence import surplus
from dcbmr.plays.counts import checked_counts, ids_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

TENSORS = "factors.safetensors"


@dataclass(frozen=True)
class Factors:
    """What factorize learned.

    Attributes
    ----------
    user_ids, song_ids : ndarray of object
        Ids, as str, of the rows.
    user_factors : ndarray of shape (n_users, n_factors), float32
    song_factors : ndarray of shape (n_songs, n_factors), float32
    counts : csr_array of shape (n_users, n_songs), float32
        The plays that they were fitted on.
    config : dict
        Settings of :class:`WeightedALS`, and the objective after each sweep.
    heldout_songs : tuple of str
        Songs that the plays were split from before; empty where that is not known.
    """

    user_ids: NDArray[np.object_]
    song_ids: NDArray[np.object_]
    user_factors: NDArray[np.float32]
    song_factors: NDArray[np.float32]
    counts: csr_array
    config: dict[str, Any] = field(default_factory=dict)
    heldout_songs: tuple[str, ...] = ()

    @cached_property
    def surplus(self) -> csr_array:
        """Confidence above one of the plays, (n_users, n_songs) float32."""
        return surplus(self.counts, self.config["alpha"], self.config["epsilon"])

    @cached_property
    def has_plays(self) -> NDArray[np.bool_]:
        """Which songs anybody played, (n_songs,); the others have zeros for factors."""
        played = np.zeros(len(self.song_ids), bool)
        played[self.counts.indices[self.counts.data > 0]] = True
        return played

    def fold_in_users(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return the exact factors of users out of their plays, the songs' factors fixed.

        Parameters
        ----------
        counts : csr_array of shape (n, n_songs)
            Plays, columns in the order of ``song_ids``.
        n_threads : int or None
            None for every core.

        Returns
        -------
        ndarray of shape (n, n_factors), float32
            Zeros for a user without plays.
        """
        return self._fold_in(counts, self._fixed_songs, len(self.song_ids), n_threads)

    def fold_in_songs(self, counts: csr_array, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return the exact factors of songs out of their plays, the users' factors fixed.

        Parameters
        ----------
        counts : csr_array of shape (n, n_users)
            Plays, columns in the order of ``user_ids``.
        n_threads : int or None
            None for every core.

        Returns
        -------
        ndarray of shape (n, n_factors), float32
            Zeros for a song without plays.
        """
        return self._fold_in(counts, self._fixed_users, len(self.user_ids), n_threads)

    @cached_property
    def _fixed_songs(self) -> _core.FixedFactors:
        return fixed_factors(self.song_factors, resolve_n_threads(None))

    @cached_property
    def _fixed_users(self) -> _core.FixedFactors:
        return fixed_factors(self.user_factors, resolve_n_threads(None))

    def _fold_in(
        self, counts: csr_array, others: _core.FixedFactors, n_others: int, n_threads: int | None
    ) -> NDArray[np.float32]:
        counts = checked_counts(counts)
        if counts.shape[1] != n_others:
            raise InputError(
                f"counts must have {n_others} columns, as the factors have; got {counts.shape[1]}"
            )
        out = np.zeros((counts.shape[0], self.song_factors.shape[1]), dtype=np.float32)
        plays = int32_indices(surplus(counts, self.config["alpha"], self.config["epsilon"]))
        exact = replace(Problem.of(self.config, n_threads), cg_steps=0)
        half_sweep(plays, others, exact, out, objective=False)
        return out

    def save(self, directory: str | Path, overwrite: bool = False) -> None:
        """Write the factors as a directory: safetensors, lists of ids, and ``config.json``."""
        from safetensors.numpy import save_file

        tensors = {
            "user_factors": self.user_factors,
            "song_factors": self.song_factors,
            "counts.data": self.counts.data,
            "counts.indices": self.counts.indices.astype(np.int32, copy=False),
            "counts.indptr": self.counts.indptr.astype(np.int64),
        }
        with new_directory(
            Path(directory), kind="factors", config=self.config, overwrite=overwrite
        ) as folder:
            save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / TENSORS)
            write_lines(folder / "user_ids.txt", self.user_ids)
            write_lines(folder / "song_ids.txt", self.song_ids)
            write_lines(folder / "heldout_songs.txt", self.heldout_songs)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        directory = Path(directory)
        config = read_config(directory, kind="factors")
        try:
            tensors = load_file(directory / TENSORS)
            users, songs, heldout = (
                _read_ids(directory / f"{name}.txt") for name in ("user_ids", "song_ids", "heldout_songs")
            )
            n_factors = config["n_factors"]
            counts = csr_array(
                (tensors["counts.data"], tensors["counts.indices"], tensors["counts.indptr"]),
                shape=(len(users), len(songs)),
            )
            counts.check_format()
            for side, ids in (("user_factors", users), ("song_factors", songs)):
                if tensors[side].shape != (len(ids), n_factors):
                    raise ValueError(f"{side} has shape {tensors[side].shape}, not {(len(ids), n_factors)}")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(f"{directory} is damaged: {type(error).__name__}: {error}") from error
        return cls(
            user_ids=users,
            song_ids=songs,
            user_factors=tensors["user_factors"],
            song_factors=tensors["song_factors"],
            counts=counts,
            config=config,
            heldout_songs=tuple(heldout),
        )


def _read_ids(path: Path) -> NDArray[np.object_]:
    return ids_array(list(read_lines(path)), path.name)
