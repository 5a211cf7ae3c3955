"""Splits: plays to learn from, and plays of held-out songs to test on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from dcbmr.base.directory import new_directory, read_config
from dcbmr.base.text import read_lines, write_lines
from dcbmr.errors import InputError
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.songs import read_songs


@dataclass(frozen=True)
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
    """

    train: PlayCounts
    heldout: PlayCounts
    heldout_songs: list[str]
    artists: dict[str, str] | None = None

    def save(self, directory: str | Path, *, overwrite: bool = False, **config: Any) -> None:
        """Write the split as a directory; ``config`` is kept with it."""
        with new_directory(Path(directory), kind="split", config=config, overwrite=overwrite) as folder:
            self.train.write_parquet(folder / "train.parquet")
            self.heldout.write_parquet(folder / "heldout.parquet")
            write_lines(folder / "heldout_songs.txt", self.heldout_songs)
            if self.artists is not None:
                rows = (f"{song}\t{artist}\t" for song, artist in self.artists.items())
                write_lines(folder / "songs.tsv", ["song\tartist\ttitle", *rows])

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        directory = Path(directory)
        read_config(directory, kind="split")
        songs = directory / "songs.tsv"
        return cls(
            PlayCounts.read(directory / "train.parquet"),
            PlayCounts.read(directory / "heldout.parquet"),
            list(read_lines(directory / "heldout_songs.txt")),
            read_songs(songs).artist_of() if songs.is_file() else None,
        )


def split_plays(
    plays: PlayCounts,
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
        Share of the songs to hold out; of an artist's songs all or none, so met to within one artist.
    random_state : int
        Seed of the choice.
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1; got {fraction}")
    if by not in ("song", "artist"):
        raise InputError(f"by must be 'song' or 'artist'; got {by!r}")
    if by == "artist" and not artists:
        raise InputError("a split by artist needs the artists of the songs: give --songs SONGS.tsv")
    known = dict(artists or {})
    if by == "artist" and known.keys().isdisjoint(plays.song_ids):
        raise InputError(
            f"a split by artist needs artists, and none of these {len(plays.song_ids)} songs has one: "
            f"plays have {list(plays.song_ids[:3])}, the table of songs {list(known)[:3]}"
        )
    groups = [("artist", known[song]) if by == "artist" and song in known else ("song", song)
              for song in plays.song_ids]  # fmt: skip
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = np.array([names[g] for g in groups], dtype=np.int64)
    order = np.random.default_rng(random_state).permutation(len(names))
    sizes = np.bincount(group, minlength=len(names))[order]
    wanted = fraction * len(groups)
    n_chosen = int(np.argmin(np.abs(np.cumsum(sizes) - wanted))) + 1 if len(groups) else 0
    heldout = np.isin(group, order[:n_chosen])
    if not heldout.any() or heldout.all():
        raise InputError(
            f"{len(groups)} songs in {len(names)} groups cannot be split with a fraction of {fraction}: "
            "nothing would be left on one side"
        )
    if plays.counts.nnz == 0:
        raise InputError("there are no plays to split")
    songs = {song: known[song] for song in plays.song_ids if song in known} if artists else None
    return Split(plays.keep_songs(~heldout), plays.keep_songs(heldout), list(plays.song_ids[heldout]), songs)
