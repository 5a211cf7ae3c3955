"""The factors of users and songs: saved, loaded, and found for new users and songs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr import _core
from dcbmr.base.directory import new_directory, read_config, reading
from dcbmr.base.needs import Sizes
from dcbmr.base.text import read_lines, write_lines
from dcbmr.base.threads import resolve_n_threads
from dcbmr.errors import InputError
from dcbmr.factorization.half_sweep import PlayRows, Problem, fixed_factors, half_sweep, int32_indices
from dcbmr.plays.confidence import check_confidence, is_finite, surplus
from dcbmr.plays.counts import checked_counts, ids_array
from dcbmr.plays.songs import Named

if TYPE_CHECKING:
    from numpy.typing import NDArray

TENSORS = "factors.safetensors"
# Fields that say what the factors minimise, and so how the factors of new users and songs are found.
OBJECTIVE = ("alpha", "epsilon", "regularization", "unobserved_weight", "frequency_exponent")
_NAMES = ("artists", "titles")
_HEADER = ("kind", "format_version", "dcbmr_version", "n_factors")


_MOST_SCORE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Factors(Named):
    """The factors of users and songs, and the plays behind them.

    :class:`WeightedALS` makes them; those of any other factorization, put in by hand, serve as well.

    Attributes
    ----------
    user_factors : ndarray of shape (n_users, n_factors), float32
    song_factors : ndarray of shape (n_songs, n_factors), float32
        Their inner product is the score. A song without plays has zeros.
    counts : csr_array of shape (n_users, n_songs), float32
        The plays that they were fitted on.
    user_ids, song_ids : ndarray of object
        Ids, as str, of the rows; their numbers where None is given.
    heldout_songs : tuple of str
        Songs that a split kept from the fit; empty where there was none.
    artists : dict of str to str, or None
        The artist of each song, where artists are known; also of songs without factors, as those held out.
    titles : dict of str to str, or None
        The title of each song, as for artists.
    alpha, epsilon : float
        Confidence of the plays, c = 1 + alpha log(1 + r / epsilon).
    regularization, unobserved_weight, frequency_exponent : float
        As :class:`WeightedALS` has them; new users and songs are folded in with these.
    config : dict
        What else is known of the fit, such as the objective after each sweep; it is saved and not used.

    Raises
    ------
    InputError
        Shapes that do not fit each other, numbers that are not finite, ids that are there twice, and
        held-out songs that have plays.
    """

    user_factors: NDArray[np.float32]
    song_factors: NDArray[np.float32]
    counts: csr_array
    user_ids: NDArray[np.object_] = None  # type: ignore[assignment]  # numbers, once made
    song_ids: NDArray[np.object_] = None  # type: ignore[assignment]
    heldout_songs: tuple[str, ...] = ()
    artists: Mapping[str, str] | None = None
    titles: Mapping[str, str] | None = None
    alpha: float = 2.0
    epsilon: float = 1e-6
    regularization: float = 1e-5
    unobserved_weight: float = 1.0
    frequency_exponent: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_objective({name: getattr(self, name) for name in OBJECTIVE})
        checked: dict[str, Any] = {name: float(getattr(self, name)) for name in OBJECTIVE}
        for name in ("user_factors", "song_factors"):
            checked[name] = _checked_factors(getattr(self, name), name)
        users, songs = checked["user_factors"], checked["song_factors"]
        if users.shape[1] != songs.shape[1]:
            raise InputError(
                f"user_factors has {users.shape[1]} columns and song_factors {songs.shape[1]}; both must "
                "have one for each factor"
            )
        largest = [max(0.0, float(of.max(initial=0)), -float(of.min(initial=0))) for of in (users, songs)]
        if users.shape[1] * largest[0] * largest[1] > _MOST_SCORE:
            raise InputError(
                f"user_factors and song_factors, up to {largest[0]:.3g} and {largest[1]:.3g}, are so large "
                "that scores overflow float32"
            )
        checked["counts"] = checked_counts(self.counts)
        shape = (len(users), len(songs))
        if checked["counts"].shape != shape:
            raise InputError(
                f"counts has shape {checked['counts'].shape}; wanted (n_users, n_songs) = {shape}, as the "
                "factors have rows"
            )
        for name, n in zip(("user_ids", "song_ids"), shape, strict=True):
            given = getattr(self, name)
            checked[name] = ids_array(np.arange(n) if given is None else given, name)
            if len(checked[name]) != n:
                raise InputError(f"{name} has {len(checked[name])} ids for {n} rows of factors")
        checked["heldout_songs"] = tuple(self.heldout_songs)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        seen = set(self.heldout_songs).intersection(self.song_ids[self.has_plays])
        if seen:
            raise InputError(
                f"{len(seen)} of heldout_songs have plays in counts, as {min(seen)!r}: they were not held out"
            )

    def __repr__(self) -> str:
        n_users, n_songs = self.counts.shape
        return (
            f"Factors(n_users={n_users}, n_songs={n_songs}, n_factors={self.song_factors.shape[1]}, "
            f"n_pairs={self.counts.nnz}, n_heldout_songs={len(self.heldout_songs)})"
        )

    @cached_property
    def surplus(self) -> csr_array:
        """Confidence above one of the plays, (n_users, n_songs) float32."""
        return surplus(self.counts, alpha=self.alpha, epsilon=self.epsilon)

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
        return self._fold_in(counts, "song_factors", n_threads)

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
        return self._fold_in(counts, "user_factors", n_threads)

    @cached_property
    def _fixed(self) -> dict[str, _core.FixedFactors]:
        return {}

    def _fold_in(self, counts: csr_array, fixed: str, n_threads: int | None) -> NDArray[np.float32]:
        """Solve rows of ``counts``; ``fixed`` names the factors of its columns."""
        others: NDArray[np.float32] = getattr(self, fixed)
        counts = checked_counts(counts)
        if counts.shape[1] != len(others):
            raise InputError(
                f"counts must have {len(others)} columns, as the factors have; got {counts.shape[1]}"
            )
        problem = Problem(
            regularization=self.regularization,
            unobserved_weight=self.unobserved_weight,
            frequency_exponent=self.frequency_exponent,
            cg_steps=0,
            n_threads=resolve_n_threads(n_threads),
        )
        if fixed not in self._fixed:
            self._fixed[fixed] = fixed_factors(others, problem)
        out = np.zeros((counts.shape[0], others.shape[1]), dtype=np.float32)
        plays = int32_indices(surplus(counts, alpha=self.alpha, epsilon=self.epsilon))
        half_sweep(PlayRows(plays), self._fixed[fixed], problem, out, objective=False)
        return out

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the factors as a directory: safetensors, lists of ids, and ``config.json``."""
        from safetensors.numpy import save_file

        tensors = {
            "user_factors": self.user_factors,
            "song_factors": self.song_factors,
            "counts.data": self.counts.data,
            "counts.indices": self.counts.indices.astype(np.int32, copy=False),
            "counts.indptr": self.counts.indptr.astype(np.int64),
        }
        with saving(self, directory, overwrite=overwrite) as file:
            save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, file)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        from safetensors.numpy import load_file

        directory = Path(directory)
        config = read_config(directory, kind="factors")
        with reading(directory):
            tensors = load_file(directory / TENSORS)
            users, songs, heldout = (
                list(read_lines(directory / f"{name}.txt"))
                for name in ("user_ids", "song_ids", "heldout_songs")
            )
            counts = csr_array(
                (tensors["counts.data"], tensors["counts.indices"], tensors["counts.indptr"]),
                shape=(len(users), len(songs)),
            )
            counts.check_format()
            return cls(
                user_factors=tensors["user_factors"],
                song_factors=tensors["song_factors"],
                counts=counts,
                user_ids=users,  # type: ignore[arg-type]
                song_ids=songs,  # type: ignore[arg-type]
                heldout_songs=tuple(heldout),
                artists=_read_names(directory, "artists", songs),
                titles=_read_names(directory, "titles", songs),
                **{name: config.pop(name) for name in OBJECTIVE},
                config={name: value for name, value in config.items() if name not in _HEADER},
            )


@contextmanager
def saving(factors: Factors, directory: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Give the file to write tensors to; what else there is of the directory is written after that."""
    config = {
        **factors.config,
        "n_factors": factors.song_factors.shape[1],
        **{name: getattr(factors, name) for name in OBJECTIVE},
    }
    with new_directory(Path(directory), kind="factors", config=config, overwrite=overwrite) as folder:
        yield folder / TENSORS
        write_lines(folder / "user_ids.txt", factors.user_ids)
        write_lines(folder / "song_ids.txt", factors.song_ids)
        write_lines(folder / "heldout_songs.txt", factors.heldout_songs)
        names = {name: of for name in _NAMES if (of := getattr(factors, name)) is not None}
        others = sorted(set().union(*names.values()) - set(factors.song_ids))
        for name, of in names.items():
            for file, songs in ((name, factors.song_ids), (f"other_{name}", others)):
                texts = (of.get(song, "").replace("\n", " ") for song in songs)
                write_lines(folder / f"{file}.txt", texts)
        if names:
            write_lines(folder / "other_song_ids.txt", others)


def sizes_of(directory: Path) -> Sizes:
    """Return how large the factors are that a directory holds, itself or as those of a model.

    Only headers are read; what is wrong with the directory is said by who loads it.
    """
    from safetensors import safe_open

    file = next((f for f in (directory / TENSORS, directory / "factors" / TENSORS) if f.is_file()), None)
    if file is None:
        return Sizes(0, 0, 0, 0)
    with safe_open(file, framework="np") as opened:
        names = ("user_factors", "song_factors", "counts.data")
        (n_users, n_factors), (n_songs, _), (n_pairs,) = (opened.get_slice(n).get_shape() for n in names)
    return Sizes(n_users, n_songs, n_pairs, n_factors)


def _read_names(directory: Path, name: str, song_ids: Sequence[str]) -> dict[str, str] | None:
    """Return artists, or titles, of songs; None where none are kept, as titles are not by older ones."""
    if not (directory / f"{name}.txt").exists():
        return None
    pairs = list(zip(song_ids, read_lines(directory / f"{name}.txt"), strict=True))
    if (directory / "other_song_ids.txt").exists():  # as it is not in older ones
        others = (read_lines(directory / f"other_{what}.txt") for what in ("song_ids", name))
        pairs += zip(*others, strict=True)
    return {song: text for song, text in pairs if text}


def check_objective(settings: Mapping[str, Any]) -> None:
    """Raise InputError unless the settings named in ``OBJECTIVE`` are in their range."""
    check_confidence(settings["alpha"], settings["epsilon"])
    if not (is_finite(settings["regularization"]) and settings["regularization"] > 0):
        raise InputError(f"regularization must be a positive number; got {settings['regularization']!r}")
    if not (is_finite(settings["unobserved_weight"]) and 0 < settings["unobserved_weight"] <= 1):
        raise InputError(f"unobserved_weight must lie in (0, 1]; got {settings['unobserved_weight']!r}")
    if not (is_finite(settings["frequency_exponent"]) and settings["frequency_exponent"] >= 0):
        raise InputError(f"frequency_exponent must be at least 0; got {settings['frequency_exponent']!r}")


def _checked_factors(factors: Any, name: str) -> NDArray[np.float32]:
    """Return factors as float32 in C order; InputError unless they are a finite matrix."""
    given = np.asarray(factors)
    if given.ndim != 2 or given.shape[1] == 0 or given.dtype.kind not in "biuf":
        raise InputError(
            f"{name} must be a matrix of numbers with a row for each id and a column for each factor; got "
            f"shape {given.shape} and dtype {given.dtype}"
        )
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(given, np.float32)
    # Two passes that make nothing as large as the matrix; a NaN comes through both.
    if len(matrix) and not (np.isfinite(matrix.max()) and np.isfinite(matrix.min())):
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        raise InputError(
            f"{name} must be finite in float32; {len(bad)} of {len(matrix)} rows are not, the first is row "
            f"{bad[0]}"
        )
    return matrix
