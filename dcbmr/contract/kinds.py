"""The kinds of features that the host makes itself, and what a kind may be called.

All others are offered by plugins: :func:`dcbmr.contract.registry.kinds` knows them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dcbmr.errors import InputError

# It becomes a folder's name, and stands before the dot of --set KIND.NAME=VALUE.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class FeatureKind:
    """One kind of feature.

    Attributes
    ----------
    name : str
        What ``--kind`` takes.
    summary : str
        One line about it.
    shape : {"frames", "vectors"}
        Whether a song has frames in time or one vector.
    dtype : str
        Of the numbers as they are stored, in NumPy's spelling.
    made_of : tuple of str
        The kinds that it is made of; none where it is made of samples.
    """

    name: str
    summary: str
    shape: Literal["frames", "vectors"]
    dtype: str
    made_of: tuple[str, ...] = ()


# Made with what is learned from training songs. Words are stored as pairs (codeword, count).
HOST_KINDS = (
    FeatureKind("bow", "counts of the codewords nearest to a song's MFCCs", "vectors", "<u4", ("mfcc",)),
    FeatureKind("bow_pca", "these counts, reduced by principal components", "vectors", "<f4", ("bow",)),
)


def is_kind_name(name: object) -> bool:
    """Say whether a kind may be called so: a letter, then letters, digits, "_" and "-"; 64 at most."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_kind_name(name: str) -> None:
    """Raise InputError where no kind can be called so."""
    if not is_kind_name(name):
        raise InputError(
            f"kind {name!r}: wanted a letter, then letters, digits, '_' and '-', at most 64 of them"
        )
