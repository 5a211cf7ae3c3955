"""The kinds of features: all that is known of them stands here.

A kind is a name under which songs have features: frames, or one vector a song. What makes a kind knows its
name; everything else, plugins above all, asks here for its shape, how it is stored, and what it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dcbmr.errors import InputError


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
    made_of : str or None
        The kind that the host makes it of with what it learned from training songs; None for what
        featurize extracts.
    """

    name: str
    summary: str
    shape: Literal["frames", "vectors"]
    dtype: str
    made_of: str | None = None


# Mel frames lose nothing that matters in half precision; c0 of an MFCC is too large for it. Words are stored
# as pairs (codeword, count).
_KINDS = (
    FeatureKind("mel", "log-mel spectra: log(1 + 1e4 * mel power)", "frames", "<f2"),
    FeatureKind("mfcc", "MFCCs and their differences", "frames", "<f4"),
    FeatureKind("bow", "counts of the codewords nearest to a song's MFCCs", "vectors", "<u4", "mfcc"),
    FeatureKind("bow_pca", "these counts, reduced by principal components", "vectors", "<f4", "bow"),
)


def kinds() -> dict[str, FeatureKind]:
    """Return every kind by name."""
    return {kind.name: kind for kind in _KINDS}


def find_kind(name: str) -> FeatureKind:
    """Return a kind; InputError lists all of them when it is unknown."""
    known = kinds()
    if name not in known:
        raise InputError(f"unknown kind of feature {name!r}; there are {', '.join(known)}")
    return known[name]
