"""Splits: plays to learn from, and plays to test on, of songs held out or of known ones."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.directory import new_directory, read_config, reading
from dcbmr.base.text import one_line, read_lines, write_lines
from dcbmr.errors import InputError
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.groups import artist_groups, choose_groups, deal_groups
from dcbmr.plays.matching import match_ids
from dcbmr.plays.songs import Named, SongTable, read_songs

_LONGEST_NAME = 10_000  # letters that are kept; the reader takes cells of up to 131,072


@dataclass(frozen=True, eq=False)
class Split(Named):
    """Plays to learn from, plays to test on, and the songs that only the second hold.

    Attributes
    ----------
    train, heldout : PlayCounts
        Plays of the training songs and of the held-out songs.
    heldout_songs : list of str
        Every held-out song, played or not; none where single plays are held out.
    artists : dict of str to str, or None
        The artist of each song, where artists are known; of songs without plays, too.
    by : {"song", "artist", "play", "time", "list"}, or None
        What was held out: single songs, artists, single plays of songs that stay in training, songs newer
        than a date, or songs of a list; None, as below, for a split made by other means.
    fraction : float, or None
        Share of the songs, or of the plays, that was wanted.
    random_state : int, or None
        Seed of the choice.
    titles : dict of str to str, or None
        The title of each song, where titles are known.
    """

    train: PlayCounts
    heldout: PlayCounts
    heldout_songs: list[str]
    artists: dict[str, str] | None = None
    by: Literal["song", "artist", "play", "time", "list"] | None = None
    fraction: float | None = None
    random_state: int | None = None
    titles: dict[str, str] | None = None

    def __repr__(self) -> str:
        return (
            f"Split(by={self.by!r}, fraction={self.fraction}, random_state={self.random_state}, "
            f"train={self.train}, heldout={self.heldout}, n_heldout_songs={len(self.heldout_songs)})"
        )

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the split as a directory."""
        config = {"by": self.by, "fraction": self.fraction, "random_state": self.random_state}
        with new_directory(Path(directory), kind="split", config=config, overwrite=overwrite) as folder:
            self.train.write_parquet(folder / "train.parquet")
            self.heldout.write_parquet(folder / "heldout.parquet")
            write_lines(folder / "heldout_songs.txt", self.heldout_songs)
            if self.artists is not None or self.titles is not None:
                songs = self.songs
                rows = map(_row, songs.song_ids, songs.artists, songs.titles)
                write_lines(folder / "songs.tsv", ["song\tartist\ttitle", *rows])

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        directory = Path(directory)
        config = read_config(directory, kind="split")
        with reading(directory):
            file = directory / "songs.tsv"
            songs = read_songs(file) if file.is_file() else SongTable([], [], [])
            train = PlayCounts.read(directory / "train.parquet")
            heldout_songs = list(read_lines(directory / "heldout_songs.txt"))
            if learned := set(heldout_songs).intersection(train.song_ids):
                raise InputError(f"{len(learned)} of its held-out songs are trained on, as {min(learned)!r}")
            return cls(
                train,
                PlayCounts.read(directory / "heldout.parquet"),
                heldout_songs,
                songs.artist_of() or None,
                **{name: config.get(name) for name in ("by", "fraction", "random_state")},
                titles=songs.title_of() or None,
            )


def _row(song: str, artist: str, title: str) -> str:
    if one_line(song) != song:
        raise InputError(f"the id {song!r} has a tab or a line break in it")
    return "\t".join([song, *(one_line(name)[:_LONGEST_NAME] for name in (artist, title))])


def split_plays(
    plays: PlayCounts,
    *,
    by: Literal["song", "artist", "play"] = "song",
    artists: Mapping[str, str] | None = None,
    fraction: float = 0.2,
    random_state: int = 0,
) -> Split:
    """Hold out songs that nobody is then known to have played, or plays of songs that others play.

    Parameters
    ----------
    plays : PlayCounts
        All plays.
    by : {"song", "artist", "play"}
        Hold out songs one by one, or all songs of an artist together: an artist's songs on both sides
        flatter every model that hears the artist. Or single plays, a user and a song, where both keep a play
        in training: for :func:`dcbmr.evaluate_factors`, not for models of audio.
    artists : mapping of song to artist, optional
        Needed for "artist"; a song that it lacks is an artist of its own.
    fraction : float
        Share of the songs, or plays, to hold out; of an artist's songs all or none, so met as nearly as whole
        artists allow: see :func:`dcbmr.plays.groups.choose_groups`.
    random_state : int
        Seed of the choice.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        No plays; an option out of range; a split by artist without artists, or with a single one; no play
        whose user and song have another.

    Warns
    -----
    UserWarning
        Where whole artists miss the fraction by more than half of it, or half of the plays wanted are the
        only ones of their user or song.
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1; got {fraction}")
    if by not in ("song", "artist", "play"):
        raise InputError(f"by must be 'song', 'artist' or 'play'; got {by!r}")
    how: dict[str, Any] = {"by": by, "fraction": fraction, "random_state": random_state}
    if by == "play":
        _check(plays, "song", artists)
        held = _choose_plays(plays.counts, fraction, random_state)
        return Split(_only(plays, ~held), _only(plays, held), [], dict(artists) if artists else None, **how)
    groups = _groups(plays, by, artists)
    return _without(plays, choose_groups(groups, fraction, random_state=random_state), artists, **how)


def split_folds(
    plays: PlayCounts,
    *,
    n_folds: int,
    by: Literal["song", "artist"] = "song",
    artists: Mapping[str, str] | None = None,
    random_state: int = 0,
) -> Iterator[Split]:
    """Hold out each song once: yield as many splits, of about as many songs each.

    Parameters
    ----------
    plays : PlayCounts
        All plays.
    n_folds : int
        At least 2, and no more than songs, or artists.
    by, artists, random_state
        As for :func:`split_plays`.

    Raises
    ------
    InputError
        As :func:`split_plays`; fewer songs, or artists, than folds.
    """
    fold_of = deal_groups(_groups(plays, by, artists), n_folds, random_state=random_state)
    for fold in range(n_folds):
        how: dict[str, Any] = {"by": by, "fraction": 1 / n_folds, "random_state": random_state}
        yield _without(plays, fold_of == fold, artists, **how)


def split_after(
    plays: PlayCounts, after: date, *, dates: Mapping[str, date], artists: Mapping[str, str] | None = None
) -> Split:
    """Hold out the songs that are dated later than a day; those without a date stay.

    Parameters
    ----------
    plays : PlayCounts
        All plays.
    after : date
        The last day of the training songs.
    dates : mapping of song to date
        When a song was first played, or came out.
    artists : mapping of song to artist, optional

    Raises
    ------
    InputError
        No plays; no song has a date; none, or every one, is later.

    Warns
    -----
    UserWarning
        Where songs have no date.
    """
    _check(plays, "song", artists)
    without = [song for song in plays.song_ids if song not in dates]
    if len(without) == len(plays.song_ids):
        raise InputError(
            f"none of the {len(without):,} songs with plays has a date: plays have {without[:3]}, the dated "
            f"songs are {list(dates)[:3]}"
        )
    if without:
        warnings.warn(
            f"{len(without):,} of {len(plays.song_ids):,} songs have no date and stay in training, as "
            f"{without[0]!r}",
            stacklevel=2,
        )
    later = np.array([song in dates and dates[song] > after for song in plays.song_ids])
    if later.all() or not later.any():
        known = [dates[song] for song in plays.song_ids if song in dates]
        raise InputError(
            f"{'all' if later.all() else 'no'} songs with plays are later than {after}; they are from "
            f"{min(known)} to {max(known)}"
        )
    return _without(plays, later, artists, by="time")


def split_list(
    plays: PlayCounts, heldout_songs: Collection[str], *, artists: Mapping[str, str] | None = None
) -> Split:
    """Hold out songs of a list.

    Raises
    ------
    InputError
        No plays; no song of the list has any, with the likely cause; or every song is in it.

    Warns
    -----
    UserWarning
        Where songs of the list have no plays.
    """
    _check(plays, "song", artists)
    listed = set(heldout_songs)
    held = np.array([song in listed for song in plays.song_ids])
    match = match_ids(plays.song_ids.tolist(), list(heldout_songs))
    said = match.words("songs of the list", "plays")
    if not held.any():
        raise InputError(said)
    if held.all():
        raise InputError(f"all {len(held):,} songs with plays are in the list: none is left to learn from")
    if match.n_matched < match.n_wanted:
        warnings.warn(said, stacklevel=2)
    return _without(plays, held, artists, by="list")


def _check(plays: PlayCounts, by: str, artists: Mapping[str, str] | None) -> None:
    if by == "artist" and not artists:
        raise InputError(
            "a split by artist needs the artists of the songs: --songs SONGS.tsv on the command line, "
            "artists=read_songs('songs.tsv').artist_of() in Python"
        )
    if by == "artist" and artists is not None and artists.keys().isdisjoint(plays.song_ids):
        cause = match_ids(list(artists), plays.song_ids.tolist()).cause
        raise InputError(
            f"a split by artist needs artists, and none of these {len(plays.song_ids)} songs has one: "
            f"plays have {list(plays.song_ids[:3])}, the table of songs {list(artists)[:3]}"
            + (f"; likely cause: {cause}" if cause else "")
        )
    if plays.counts.nnz == 0:
        raise InputError("there are no plays to split")


def _groups(plays: PlayCounts, by: str, artists: Mapping[str, str] | None) -> NDArray[np.int64]:
    """Return a number for what of each song stays together: its artist, or nothing."""
    _check(plays, by, artists)
    groups = artist_groups(plays.song_ids, artists) if by == "artist" else None
    return np.arange(len(plays.song_ids)) if groups is None else groups


def _without(
    plays: PlayCounts, held: NDArray[np.bool_], artists: Mapping[str, str] | None, **how: Any
) -> Split:
    """Return the split that holds out the songs of a mask (n_songs,)."""
    songs = list(plays.song_ids[held])
    known = dict(artists) if artists else None
    return Split(plays.keep_songs(~held), plays.keep_songs(held), songs, known, **how)


def _choose_plays(counts: csr_array, fraction: float, random_state: int) -> NDArray[np.bool_]:
    """Choose about ``fraction`` of the plays (n_pairs,) at random; each user and each song keeps one."""
    order = np.random.default_rng(random_state).permutation(counts.nnz)
    users, songs = counts.tocoo().coords
    users, songs = users[order], songs[order]
    stays = np.zeros(counts.nnz, bool)
    stays[np.unique(users, return_index=True)[1]] = True
    without = np.flatnonzero(~np.isin(songs, songs[stays]))
    stays[without[np.unique(songs[without], return_index=True)[1]]] = True
    chosen, wanted = order[~stays], fraction * counts.nnz
    if not len(chosen):
        raise InputError(
            f"none of the {counts.nnz:,} plays can be held out: each is the only one of its user or its song"
        )
    if len(chosen) < wanted / 2:
        warnings.warn(
            f"{len(chosen) / counts.nnz:.1%} of {counts.nnz:,} plays are held out, where {fraction:.1%} were "
            "wanted: each user and each song keeps a play to learn from",
            stacklevel=3,
        )
    held = np.zeros(counts.nnz, bool)
    held[chosen[: max(round(wanted), 1)]] = True
    return held


def _only(plays: PlayCounts, pairs: NDArray[np.bool_]) -> PlayCounts:
    """Return the plays of a mask (n_pairs,), without users and songs who then have none."""
    counts = plays.counts.copy()
    counts.data[~pairs] = 0
    counts.eliminate_zeros()
    return PlayCounts(plays.user_ids, plays.song_ids, counts).keep_songs(np.diff(counts.tocsc().indptr) > 0)
