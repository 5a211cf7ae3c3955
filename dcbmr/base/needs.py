"""What work needs of the machine, told from the sizes of its input, and what there is."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from dcbmr.errors import InputError

GIB = 2**30
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": GIB}
# Measured (tests/base/test_needs.py): the interpreter with its libraries, and without pyarrow, which what
# trains has no use for; a pair of user and song in the matrices that a command holds at a time; an id as a
# str in a list and a table of places.
_PROGRAM = 200 * 2**20
_WITHOUT_PYARROW = 90 * 2**20
_PREDICTING = 110 * 2**20
_JUDGING = 260 * 2**20
_TUNING = 60 * 2**20
_REPORTING = 280 * 2**20
_MAPPED = 4500
_PAIR = 32
_ID = 200


@dataclass(frozen=True)
class Sizes:
    """How large plays and their factors are."""

    n_users: int
    n_songs: int
    n_pairs: int
    n_factors: int

    @property
    def factors(self) -> int:
        """Bytes of the factors of all users and songs."""
        return 4 * self.n_factors * (self.n_users + self.n_songs)

    @property
    def plays(self) -> int:
        """Bytes of the plays and their ids in memory."""
        return _PAIR * self.n_pairs + _ID * (self.n_users + self.n_songs)


@dataclass(frozen=True)
class Need:
    """What a command takes at its peak, in bytes; right within a factor of 1.5 or so."""

    memory: float
    disk: float


def of_factorize(sizes: Sizes) -> Need:
    """Plays in three forms; factors, and one side rotated; on disk a checkpoint, the next one, the result."""
    return Need(_PROGRAM + sizes.plays + 2 * sizes.factors, 3 * sizes.factors + 12 * sizes.n_pairs)


def of_factorize_on_workers(sizes: Sizes) -> Need:
    """Return it where plays lie with workers: ids and factors; plays on disk in two forms, and as kept."""
    ids = _ID * (sizes.n_users + sizes.n_songs)
    return Need(_PROGRAM + ids + 2 * sizes.factors, 3 * sizes.factors + (40 + 8) * sizes.n_pairs)


def of_split(sizes: Sizes) -> Need:
    """Plays, and the two parts that they are cut into; their factors do not matter."""
    return Need(_PROGRAM + 2.2 * sizes.plays, 4 * sizes.n_pairs)


def of_tune(sizes: Sizes, trial: Need) -> Need:
    """Return it for trials, beside which plays stand once whole and once without those held out."""
    return Need(trial.memory + _TUNING + 1.5 * sizes.plays, trial.disk)


def of_report(sizes: Sizes, n_songs: int, predicting: Need | None = None) -> Need:
    """Return it for a page of so many songs, some of which a model predicts before."""
    beside = predicting.memory - _PREDICTING if predicting else 0
    memory = _REPORTING + sizes.plays + 2.5 * sizes.factors + _MAPPED * n_songs + beside
    return Need(memory, 250 * n_songs)


@dataclass(frozen=True)
class FeatureNeed:
    """What the features of songs take.

    Attributes
    ----------
    n_songs, n_dims : int
        Songs, and numbers of a song's vector or of a frame.
    held : float
        Bytes that they are once they are made; frames stay on disk.
    making : float
        Bytes at the peak until then, beside nothing of them.
    """

    n_songs: int
    n_dims: int
    held: float
    making: float


def of_sample(n_frames: int, n_dims: int, n_words: int) -> float:
    """Return the bytes that a codebook is learned in: frames, some to begin from, their words, distances."""
    in_float64 = min(n_frames, 1 << 16)  # a block, to find deviations
    frames = 4 * (n_frames + min(n_frames, 64 * n_words)) + 16 * in_float64
    return n_dims * (frames + 40 * n_words) + 16 * n_frames


def of_codebook(n_frames: int, n_dims: int, n_words: int, *, is_streamed: bool) -> Need:
    """Return it for a sample of frames; of what streams by, twice as many are held as are kept."""
    sample = of_sample(n_frames, n_dims, n_words) + (4 * n_frames * n_dims if is_streamed else 0)
    return Need(_WITHOUT_PYARROW + sample, 8 * n_words * n_dims)


def of_train(sizes: Sizes, features: FeatureNeed, fit: float) -> Need:
    """Return it for plays in five forms, features, and a fit that takes so many bytes beside them."""
    return Need(
        _WITHOUT_PYARROW
        + sizes.plays
        + 8 * sizes.n_pairs
        + sizes.factors
        + max(features.making, features.held + fit),
        2 * (sizes.factors + 12 * sizes.n_pairs),
    )


def of_predict(features: FeatureNeed, fit: float, width: int) -> Need:
    """Return it for the predictions of songs; to predict takes no more than to fit."""
    predicted = 4 * width * features.n_songs
    memory = _PREDICTING + _ID * features.n_songs + max(features.making, features.held + fit) + 2 * predicted
    return Need(memory, predicted + 20 * features.n_songs)


def of_evaluate(sizes: Sizes, n_heldout: int, n_rows: int, predicting: Need | None = None) -> Need:
    """Return it for the ranks of held-out pairs in each row, and their resamples.

    ``sizes`` are those of the training plays and of one row's factors; models predict before they rank.
    """
    beside = predicting.memory - _PREDICTING if predicting else 0
    ranks = n_heldout * (32 * n_rows + 350)
    memory = _JUDGING + 3 * sizes.plays + n_rows * sizes.factors + ranks + beside
    return Need(memory, 32 * n_heldout * n_rows)


def of_lists(sizes: Sizes, k: int, *, n_newer: int = 0) -> Need:
    """Return it for the lists of all users: factors as read and as ranked by, plays, a block of rows."""
    memory = _PROGRAM + sizes.plays + 2.5 * sizes.factors + _of_newer(sizes, n_newer)
    return Need(memory, 8 * k * sizes.n_users)


def of_export(sizes: Sizes, *, n_newer: int = 0) -> Need:
    """Return it for vectors of all users and songs, which stand beside the factors."""
    memory = _PROGRAM + sizes.plays / 2 + 2.5 * sizes.factors + _of_newer(sizes, n_newer)
    return Need(memory, 1.1 * sizes.factors)


def _of_newer(sizes: Sizes, n_newer: int) -> float:
    """Return the bytes more where so many newer pairs stand beside those of the factors, and are joined."""
    return 40 * n_newer + 24 * sizes.n_pairs + 2 * _ID * (sizes.n_users + sizes.n_songs) if n_newer else 0


def check_need(need: Need, output: Path, *, force: bool) -> None:
    """Raise InputError where memory or disk will not do; only warn if ``force``.

    Where the system does not say what there is, nothing is checked.
    """
    place = Path(os.path.realpath(output))
    above = next(folder for folder in (place, *place.parents) if folder.is_dir())
    for what, needed, there in (
        ("memory", need.memory, available_memory()),
        (f"disk in {above}", need.disk, shutil.disk_usage(above).free),
    ):
        if there is None or needed <= there:
            continue
        said = f"this takes about {_in_words(needed)} of {what}, and {_in_words(there)} are free"
        if not force:
            raise InputError(f"{said}; --force tries all the same")
        warnings.warn(said, stacklevel=2)


def _in_words(n_bytes: float) -> str:
    unit = next((unit for unit in ("GiB", "MiB") if n_bytes >= _UNITS[unit]), "KiB")
    return f"{n_bytes / _UNITS[unit]:.1f} {unit}"


def available_memory() -> int | None:
    """Return how many bytes of memory can still be taken; None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
        free = [int(re.findall(r"^MemAvailable:\s*(\d+) kB", text, re.M)[0]) * 1024]
    except (OSError, IndexError):
        return None
    groups = Path("/sys/fs/cgroup")
    for limit, used, state in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            most, taken = (int((groups / name).read_text()) for name in (limit, used))
            cached = re.findall(r"^(?:total_)?inactive_file (\d+)", (groups / state).read_text(), re.M)
            free.append(most - taken + int(cached[-1]))
        except (OSError, ValueError, IndexError):  # no such limit, or "max"
            continue
    return min(free)
