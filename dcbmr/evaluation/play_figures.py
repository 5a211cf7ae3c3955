"""What each held-out play adds to the figure of its user, in the rows of a table; what tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.errors import InputError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class PlayFigures:
    """What each held-out play adds to the figure of its user, for the rows of a table.

    What a user holds out in a fold is a list; the figure of a list is the sum over its plays, and the figure
    of a row the mean over the lists of all folds. Metrics of a list's best song (hit rate, MRR) are made such
    sums by :func:`contributions_of_best`; others have one entry a list, and no artists.

    Attributes
    ----------
    users : ndarray of shape (n_plays,)
        Whose play it is: names or numbers.
    songs : ndarray of shape (n_plays,)
        The song played; no user plays one twice in a fold.
    rows : dict of str to ndarray of shape (n_plays,) or (n_seeds, n_plays), float64
        The contributions of each row of the table; of one trained with several seeds, those of each.
    artists : ndarray of shape (n_plays,), optional
        Artist of the song; a song whose artist is not known is best an artist of its own.
    folds : ndarray of shape (n_plays,), optional
        Fold that held the play out; all in one by default.
    notes : tuple of str
        What whoever reads figures of these plays should be told.

    Raises
    ------
    InputError
        No plays, no rows, shapes that do not fit, or a contribution that is infinite. NaN is kept: its list
        has no figure, and :func:`dcbmr.evaluation.statistics.bootstrap` leaves it out.
    """

    users: NDArray[Any]
    songs: NDArray[Any]
    rows: Mapping[str, NDArray[np.float64]]
    artists: NDArray[Any] | None = None
    folds: NDArray[Any] | None = None
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        n_plays = len(np.asarray(self.users))
        for name in ("users", "songs", "artists", "folds"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _vector(name, given, n_plays))
        if not n_plays:
            raise InputError("there are no held-out plays to compare")
        if not self.rows:
            raise InputError("there is no row to compare: rows is empty")
        rows = {name: _contributions(name, given, n_plays) for name, given in self.rows.items()}
        object.__setattr__(self, "rows", rows)

    def __repr__(self) -> str:
        return f"PlayFigures(n_plays={self.n_plays}, rows={list(self.rows)})"

    @property
    def n_plays(self) -> int:
        """Held-out plays."""
        return len(self.users)

    def lists(self) -> NDArray[np.int64]:
        """Return a number for the list of each play: its user in its fold."""
        return _numbers(self.users, self.folds)


def _vector(name: str, given: ArrayLike, n_plays: int) -> NDArray[Any]:
    vector = np.asarray(given)
    if vector.shape != (n_plays,):
        raise InputError(f"{name} must hold one entry for each of the {n_plays} plays; got {vector.shape}")
    return vector


def _contributions(name: str, given: ArrayLike, n_plays: int) -> NDArray[np.float64]:
    found = np.asarray(given, np.float64)
    if found.ndim not in (1, 2) or found.shape[-1] != n_plays or not found.size:
        raise InputError(
            f"the contributions of {name!r} have shape {found.shape}; wanted ({n_plays},), one for each "
            f"play, or (n_seeds, {n_plays})"
        )
    if np.isinf(found).any():
        raise InputError(f"{int(np.isinf(found).sum())} contributions of {name!r} are infinite")
    return found


def _numbers(*keys: NDArray[Any] | None) -> NDArray[np.int64]:
    """Number the different combinations of keys: equal ones have equal numbers."""
    number: NDArray[np.int64] | None = None
    for key in keys:
        if key is not None:
            values, code = np.unique(key, return_inverse=True)
            number = code if number is None else number * len(values) + code
    assert number is not None
    return np.unique(number, return_inverse=True)[1]


def contributions_of_best(
    values: ArrayLike, users: ArrayLike, artists: ArrayLike, *, folds: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Part the figure of a list that is that of its best song, as hit rate and MRR, among its plays.

    Of a list's figure the best song gets what the list would lose without its artist, that is without all
    songs of it; what would be left is every play's alike. So the artists that a resample draws twice or not
    at all change the figure, to first order, as if the best of the songs that were drawn had been looked for.

    Parameters
    ----------
    values : array_like of shape (n_plays,)
        Figure that each play would give its list alone, from 0 up: ``rank <= k`` or ``1 / rank``.
    users, artists, folds : array_like of shape (n_plays,)
        As in :class:`PlayFigures`.

    Returns
    -------
    ndarray of shape (n_plays,), float64
        They sum to the largest value of each list.

    Raises
    ------
    InputError
        Shapes that do not fit, and values that are negative, NaN or infinite.
    """
    value = np.asarray(values, np.float64)
    if value.ndim != 1 or not (value >= 0).all():
        raise InputError("values must be one number from 0 up for each play")
    user, artist = np.asarray(users), np.asarray(artists)
    fold = None if folds is None else np.asarray(folds)
    of_play = PlayFigures(user, user, {"value": value}, artist, fold).lists()
    n = np.bincount(of_play)
    best = np.lexsort((-value, of_play))[np.cumsum(n) - n]
    by_others = artist != artist[best][of_play]
    left = np.zeros(len(n))
    np.maximum.at(left, of_play[by_others], value[by_others])
    contributions: NDArray[np.float64] = (left / n)[of_play]
    contributions[best] += value[best] - left
    return contributions


def shared_plays(evaluations: Sequence[PlayFigures], *, sums: bool = True) -> PlayFigures:
    """Put the rows of several evaluations side by side, on the held-out plays that all of them have.

    A play is a user, a song and a fold. Where an evaluation has plays that others lack, a list is what is
    left of it: its figure is the mean of what its plays stand for (the contribution times the length of the
    whole list). The candidates stay those of each evaluation, and the notes say how much is shared.

    Parameters
    ----------
    evaluations : sequence of PlayFigures
        No two rows of the same name. Artists are those of the first evaluation that knows them.
    sums : bool
        Rows are contributions to the figure of a list. False for what a play is by itself, as the values of
        :func:`contributions_of_best`, which is left as it is.

    Raises
    ------
    InputError
        No play is shared; a row of the same name; a play that one evaluation has twice.
    """
    names = [name for evaluation in evaluations for name in evaluation.rows]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two rows are called {name!r}: give each evaluation's rows names of their own")
    keys = _keys(evaluations)
    common = keys[0]
    for key in keys[1:]:
        common = np.intersect1d(common, key, assume_unique=True)
    if not len(common):
        raise InputError(
            f"the {len(keys)} evaluations share no held-out play: no user, song and fold is in all"
        )
    places = []
    for key in keys:
        order = np.argsort(key)
        places.append(order[np.searchsorted(key, common, sorter=order)])
    rows = {
        name: values[..., place] * factor
        for evaluation, place in zip(evaluations, places, strict=True)
        for factor in [_rescaled(evaluation, place) if sums else 1.0]
        for name, values in evaluation.rows.items()
    }
    notes = tuple(dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes))
    if any(len(key) != len(common) for key in keys):
        counts = " and ".join(f"{len(key):,}" for key in keys)
        notes += (f"of {counts} held-out plays {len(common):,} are shared; only those are compared",)
    first, place = evaluations[0], places[0]
    artists = next(
        (e.artists[p] for e, p in zip(evaluations, places, strict=True) if e.artists is not None), None
    )
    folds = None if first.folds is None else first.folds[place]
    return PlayFigures(first.users[place], first.songs[place], rows, artists, folds, notes)


def _keys(evaluations: Sequence[PlayFigures]) -> list[NDArray[np.int64]]:
    """Number the plays of all evaluations alike; InputError where one has a play twice."""
    together = _numbers(
        np.concatenate([e.users for e in evaluations]),
        np.concatenate([e.songs for e in evaluations]),
        np.concatenate([np.zeros(e.n_plays, int) if e.folds is None else e.folds for e in evaluations]),
    )
    keys = np.split(together, np.cumsum([e.n_plays for e in evaluations])[:-1])
    for key, evaluation in zip(keys, evaluations, strict=True):
        _, first, count = np.unique(key, return_index=True, return_counts=True)
        if (count > 1).any():
            play = first[np.argmax(count > 1)]
            raise InputError(
                f"{int((count > 1).sum())} plays are there more than once, as that of user "
                f"{evaluation.users[play]} and song {evaluation.songs[play]}"
            )
    return keys


def _rescaled(evaluation: PlayFigures, place: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what turns contributions to whole lists into contributions to what is left of them."""
    of_play = evaluation.lists()
    whole, left = np.bincount(of_play), np.bincount(of_play[place], minlength=of_play.max() + 1)
    factor: NDArray[np.float64] = whole[of_play[place]] / left[of_play[place]]
    return factor


def pool_folds(folds: Mapping[str, PlayFigures | None]) -> PlayFigures:
    """Join the plays that the folds of one experiment held out: other artists, the same users and rows.

    Parameters
    ----------
    folds : mapping of str to PlayFigures or None
        The folds by name; None for one that nobody has held-out plays in, which the notes tell of.

    Raises
    ------
    InputError
        No fold has plays; folds whose rows, seeds or knowledge of artists differ.
    """
    full = {name: fold for name, fold in folds.items() if fold is not None}
    if not full:
        raise InputError(f"none of the {len(folds)} folds has held-out plays")
    first = next(iter(full.values()))
    for name, fold in full.items():
        if fold.rows.keys() != first.rows.keys():
            raise InputError(f"fold {name!r} has the rows {list(fold.rows)}; another has {list(first.rows)}")
        if (fold.artists is None) != (first.artists is None):
            raise InputError(f"fold {name!r} and another differ in that one knows artists")
        for row, values in fold.rows.items():
            if values.shape[:-1] != first.rows[row].shape[:-1]:
                raise InputError(f"{row!r} has other seeds in fold {name!r} than in another")
    parts = list(full.values())
    notes = tuple(dict.fromkeys(note for fold in parts for note in fold.notes))
    notes += tuple(f"fold {name!r} has no users and is left out" for name, f in folds.items() if f is None)
    artists = [fold.artists for fold in parts if fold.artists is not None]
    return PlayFigures(
        np.concatenate([fold.users for fold in parts]),
        np.concatenate([fold.songs for fold in parts]),
        {row: np.concatenate([fold.rows[row] for fold in parts], axis=-1) for row in first.rows},
        np.concatenate(artists) if artists else None,
        np.repeat(np.arange(len(parts)), [fold.n_plays for fold in parts]),
        notes,
    )
