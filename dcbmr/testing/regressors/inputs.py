"""What a regressor is given may lie in memory in any way, lack what is optional, and is not its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, SongFeatures
from dcbmr.testing.checks import no_error
from dcbmr.testing.regressors.subject import RUN, Subject, assert_close
from dcbmr.testing.world import is_sparse, made_of, parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_leaves_what_it_is_given_alone(subject: Subject) -> None:
    """Other models are trained on the same arrays after this one, and must find them as they were."""
    own, *others = registry.kinds_of(subject.spec)
    for kind in (own, *filter(is_sparse, others)):
        features, target = subject.world(kind)
        before = [part.copy() for part in _arrays(features, target)]
        with no_error(f"fit or predict on {kind!r}", "if it writes to an array, let it write to a copy"):
            subject.make().fit(features, target, run=RUN).predict(features)
        for old, new in zip(before, _arrays(features, target), strict=True):
            assert np.array_equal(old, new), (
                f"fit or predict wrote to an array of {kind!r} or of the target; take a copy before you "
                "change anything: vectors = songs.vectors() * 2, not vectors *= 2"
            )


def check_takes_read_only_arrays(subject: Subject) -> None:
    """Arrays of a file that is mapped into memory cannot be written to, not even for a moment."""
    features, target = subject.world()
    for part in _arrays(features):
        part.flags.writeable = False
    subject.assert_works(features, target, "read-only arrays", "copy what you change; change nothing back")


def check_takes_fortran_order(subject: Subject) -> None:
    """Vectors that users bring, as columns of a table, lie in memory column after column."""
    features, target = subject.world()
    parts = parts_of(features)
    turned = (
        [np.asfortranarray(part) for part in parts] if isinstance(parts, list) else np.asfortranarray(parts)
    )
    users, songs = np.asfortranarray(target.user_factors), np.asfortranarray(target.song_factors)
    cure = "index arrays by axis; where code needs C order, np.ascontiguousarray makes it"
    with no_error("Fortran-ordered input", cure):
        model = subject.make().fit(
            made_of(features, turned), replace(target, user_factors=users, song_factors=songs), run=RUN
        )
        found = model.predict(made_of(features, turned))
    expected = subject.make().fit(features, target, run=RUN).predict(features)
    assert_close(found, expected, "predictions from Fortran order and from C order", cure)


def check_takes_sparse_vectors(subject: Subject) -> None:
    """Counts of words come as ``scipy.sparse.csr_array``, since nearly all of them are zero."""
    for kind in filter(is_sparse, registry.kinds_of(subject.spec)):
        features, target = subject.world(kind)
        cure = "take vectors.toarray() where scipy.sparse.issparse(vectors), or what both can do, as @"
        with no_error(f"the sparse vectors of {kind!r}", cure):
            found = subject.make().fit(features, target, run=RUN).predict(features)
        dense = made_of(features, parts_of(features).toarray())
        expected = subject.make().fit(dense, target, run=RUN).predict(dense)
        assert_close(found, expected, f"predictions from {kind!r}, sparse and dense", cure)


def check_works_without_validation_songs(subject: Subject) -> None:
    """``--validation 0`` sets no song aside."""
    features, target = subject.world()
    nobody = np.zeros(len(target.validation), bool)
    cure = "where target.validation.any() is false, learn from all songs without early stopping"
    subject.assert_works(features, replace(target, validation=nobody), "no validation songs", cure)


def check_works_without_artists(subject: Subject) -> None:
    """Who has no table of songs has no artists."""
    features, target = subject.world()
    cure = "target.groups is None then: take each song for an artist of its own"
    subject.assert_works(features, replace(target, groups=None), "unknown artists", cure)


def _arrays(features: SongFeatures, target: FactorTarget | None = None) -> list[NDArray[Any]]:
    """Return every array that a fit is given, a sparse one as its parts."""
    parts = parts_of(features)
    found: list[Any] = [*parts] if isinstance(parts, list) else [parts]
    if target is not None:
        found += [target.song_factors, target.user_factors, target.surplus, target.groups, target.validation]
    return [
        part for x in found for part in ((x.data, x.indices, x.indptr) if isinstance(x, csr_array) else (x,))
    ]
