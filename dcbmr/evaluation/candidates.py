"""Which of the held-out songs are scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dcbmr.errors import InputError
from dcbmr.plays.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ScoredSongs:
    """The held-out songs that are scored, and those that are not.

    Attributes
    ----------
    song_ids : list of str
        Held-out songs with features: the candidates of every user.
    without_features : list of str
        Held-out songs that the store does not have.
    without_plays : list of str
        Songs of the store that are neither held out nor in training.
    """

    song_ids: list[str]
    without_features: list[str]
    without_plays: list[str]


def candidate_songs(
    heldout_songs: Sequence[str], features: Collection[str], training_songs: Collection[str] = ()
) -> ScoredSongs:
    """Match the held-out songs with those that have features; InputError when fewer than two have."""
    have = set(features)
    scored = [song for song in heldout_songs if song in have]
    if not scored:
        raise InputError(
            f"none of the {len(heldout_songs)} held-out songs has features; held out are "
            f"{list(heldout_songs)[:3]}, features have {list(features)[:3]}"
        )
    if len(scored) == 1:
        raise InputError(
            f"only {scored[0]!r} of the {len(heldout_songs)} held-out songs has features: one candidate is "
            "first in every ranking; hold out more songs, or featurize those that are"
        )
    return ScoredSongs(
        song_ids=scored,
        without_features=[song for song in heldout_songs if song not in have],
        without_plays=sorted(have - set(heldout_songs) - set(training_songs)),
    )


def artists_on_both_sides(split: Split, song_ids: Sequence[str]) -> str:
    """Say how many of the candidates are by artists of training songs; "" where none is.

    Who has heard an artist in training knows the sound, and often the listeners, of the songs held out.
    """
    if split.by in ("artist", "play"):
        return ""
    if split.artists is None:
        return (
            "artists are not known: songs held out may be by artists of training songs, which flatters every "
            "model that hears the artist; `dcbmr split --songs SONGS --by artist` holds artists apart"
        )
    heard = {split.artists[song] for song in split.train.song_ids if song in split.artists}
    n_known = sum(split.artists.get(song) in heard for song in song_ids)
    if not n_known:
        return ""
    return (
        f"{n_known:,} of the {len(song_ids):,} songs scored are by artists of training songs, which flatters "
        "every model that hears the artist; `dcbmr split --by artist` holds artists apart"
    )


def artist_names(song_ids: Sequence[str], artists: Mapping[str, str] | None) -> list[str] | None:
    """Return the artist of each song, an unknown one's being the song itself; None where none is known."""
    if artists is None or artists.keys().isdisjoint(song_ids):
        return None
    return [artists.get(song, song) for song in song_ids]


def numbered(names: Iterable[str], numbers: dict[str, int] | None = None) -> NDArray[np.int64]:
    """Return a number for each name, in the order in which they come; ``numbers`` has those of before."""
    numbers = {} if numbers is None else numbers
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
