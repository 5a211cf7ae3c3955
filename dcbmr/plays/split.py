"""Splits: plays to learn from, and plays of held-out songs to test on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from dcbmr.base.directory import new_directory, read_config
from dcbmr.base.text import read_lines, write_lines
from dcbmr.errors import InputError
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.groups import artist_groups, choose_groups
from dcbmr.plays.songs import read_songs

_BREAKS = re.compile(r"[\t\r\n]")


@dataclass(frozen=True, eq=False)
class Split:
    """Plays to learn from, plays to test on, and the songs that only the second hold.

    Attributes
    ----------
    train, heldout : PlayCounts
        Plays of the training songs and of the held-out songs.
    heldout_songs : list of str
        Every held-out song, played or not.
    artists : dict of str to str, or None
        The artist of each song, where artists are known.
    by : {"song", "artist"}, or None
        What was held out: single songs, or artists; None, as below, for a split made by other means.
    fraction : float, or None
        Share of the songs that was wanted.
    random_state : int, or None
        Seed of the choice.
    """

    train: PlayCounts
    heldout: PlayCounts
    heldout_songs: list[str]
    artists: dict[str, str] | None = None
    by: Literal["song", "artist"] | None = None
    fraction: float | None = None
    random_state: int | None = None

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
            if self.artists is not None:
                write_lines(folder / "songs.tsv", ["song\tartist\ttitle", *map(_row, self.artists.items())])

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        directory = Path(directory)
        config = read_config(directory, kind="split")
        songs = directory / "songs.tsv"
        return cls(
            PlayCounts.read(directory / "train.parquet"),
            PlayCounts.read(directory / "heldout.parquet"),
            list(read_lines(directory / "heldout_songs.txt")),
            read_songs(songs).artist_of() if songs.is_file() else None,
            **{name: config.get(name) for name in ("by", "fraction", "random_state")},
        )


def _row(song_and_artist: tuple[str, str]) -> str:
    song, artist = song_and_artist
    if _BREAKS.search(song):
        raise InputError(f"the id {song!r} has a tab or a line break in it")
    return f"{song}\t{_BREAKS.sub(' ', artist)}\t"  # an artist only groups songs


def split_plays(
    plays: PlayCounts,
    *,
    by: Literal["song", "artist"] = "song",
    artists: Mapping[str, str] | None = None,
    fraction: float = 0.2,
    random_state: int = 0,
) -> Split:
    """Hold out songs that nobody is then known to have played.

    Parameters
    ----------
    plays : PlayCounts
        All plays.
    by : {"song", "artist"}
        Hold out songs one by one, or all songs of an artist together: an artist's songs on both sides
        flatter every model that hears the artist.
    artists : mapping of song to artist, optional
        Needed for "artist"; a song that it lacks is an artist of its own.
    fraction : float
        Share of the songs to hold out; of an artist's songs all or none, so met as nearly as whole artists
        allow: see :func:`dcbmr.plays.groups.choose_groups`.
    random_state : int
        Seed of the choice.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        No plays; an option out of range; a split by artist without artists, or with a single one.

    Warns
    -----
    UserWarning
        Where whole artists miss the fraction by more than half of it.
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1; got {fraction}")
    if by not in ("song", "artist"):
        raise InputError(f"by must be 'song' or 'artist'; got {by!r}")
    if by == "artist" and not artists:
        raise InputError(
            "a split by artist needs the artists of the songs: --songs SONGS.tsv on the command line, "
            "artists=read_songs('songs.tsv').artist_of() in Python"
        )
    known = dict(artists or {})
    if by == "artist" and known.keys().isdisjoint(plays.song_ids):
        raise InputError(
            f"a split by artist needs artists, and none of these {len(plays.song_ids)} songs has one: "
            f"plays have {list(plays.song_ids[:3])}, the table of songs {list(known)[:3]}"
        )
    if plays.counts.nnz == 0:
        raise InputError("there are no plays to split")
    groups = artist_groups(plays.song_ids, known) if by == "artist" else None
    groups = np.arange(len(plays.song_ids)) if groups is None else groups
    chosen = choose_groups(groups, fraction, random_state=random_state)
    return Split(
        plays.keep_songs(~chosen),
        plays.keep_songs(chosen),
        list(plays.song_ids[chosen]),
        {song: known[song] for song in plays.song_ids if song in known} if artists else None,
        by=by,
        fraction=fraction,
        random_state=random_state,
    )
