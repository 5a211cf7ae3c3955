"""The Million Song Dataset: the Taste Profile's plays, names, Last.fm's tags, and clips of its tracks.

T. Bertin-Mahieux, D. Ellis, B. Whitman, P. Lamere: The Million Song Dataset, ISMIR 2011. Plays are of songs
(SO...), all else is of tracks (TR...), of which a song may have several. The files:

- train_triplets.txt: user, song, plays (B. McFee et al.: The Million Song Dataset Challenge, AdMIRe 2012);
- taste_profile_song_to_tracks.txt: a song and its tracks, none, one or several, between tabs;
- unique_tracks.txt: track<SEP>song<SEP>artist<SEP>title;
- sid_mismatches.txt: lines ``ERROR: <SO... TR...> artist  -  title  !=  artist  -  title``, pairs of song and
  track that are not the same recording ("Fixing matching errors", the data set's blog, 12 February 2012), and
  sid_matches_manually_accepted.txt, ``< ERROR: <SO... TR...> ...``, those of them that are after all;
- lastfm_tags.db: SQLite, the tables tids(tid), tags(tag) and tid_tag(tid, tag, val), where the last holds row
  numbers of the others and values from 0 to 100;
- audio whose file names begin with the id of the track, as TRAAAAW128F429D538.mp3, in any folders.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Container, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import pathname2url

import numpy as np
import pyarrow as pa

from dcbmr.datasets.published import Made, PublishedDataset, SourceFiles, plays_of
from dcbmr.datasets.text_files import lines_of
from dcbmr.errors import InputError
from dcbmr.plays.arrow import compacted
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.plays.readers import read_into
from dcbmr.plays.sums import PlaySums

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIPLET = re.compile(r"[0-9a-f]{40}\tSO[0-9A-Z]{16}\t\d+")
_PAIR = re.compile(r"<(SO[0-9A-Z]{16}) (TR[0-9A-Z]{16})>")
_TRACK = re.compile(r"TR[0-9A-Z]{16}(?![0-9A-Z])")
_TABLES = {"tids": ["tid"], "tags": ["tag"], "tid_tag": ["tid", "tag", "val"]}
_SONG_TO_TRACKS, _UNIQUE_TRACKS = "taste_profile_song_to_tracks.txt", "unique_tracks.txt"
_BLOCK_ROWS = 1 << 16


def convert(files: SourceFiles, made: Made) -> None:
    """Make plays, names, tags and a manifest of clips, each of the first track of a song that has it.

    Pairs that are known not to match are left out: a song that has no other track, with its plays.
    """
    (triplets,) = files.need("train_triplets.txt")
    _, first = next(lines_of(triplets), (0, ""))
    if not _TRIPLET.fullmatch(first):
        raise files.another_version(triplets, "lines of user, song (SO...) and plays", f"{first[:200]!r}")
    mismatched = _mismatched(files, made)
    tracks = _tracks(files, made)
    for song, track in mismatched:
        if track in tracks.get(song, ()):
            tracks[song].remove(track)
    sums = _Without({song for song, _ in mismatched if not tracks.get(song)})
    read_into(sums, triplets, "1,2,3", PlayFilter(), made.progress)
    made.add_plays(plays_of(sums.kept))
    if sums.songs:
        made.notes.append(
            f"left out: {len(sums.songs):,} songs, {sums.n_rows:,} pairs of user and song, whose tracks are "
            "known not to be them (sid_mismatches.txt)"
        )
    tracks = {song: tracks[song] for song in made.song_ids if song in tracks}
    if several := sum(len(of) > 1 for of in tracks.values()):
        made.notes.append(
            f"{several:,} songs have several tracks: names, tags and audio are of the first that has them"
        )
    wanted = {track for of in tracks.values() for track in of}
    if (path := files.find(_UNIQUE_TRACKS)) is None:
        made.lacks(_UNIQUE_TRACKS, "no artists and titles")
    else:
        rows = _unique_tracks(files, path)
        names = {track: (artist, title) for track, _, artist, title in rows if track in wanted}
        made.add_songs((song, *names[track]) for song, track in _first(tracks, names))
    if (path := files.find("lastfm_tags.db")) is None:
        made.lacks("lastfm_tags.db", "no tags")
    else:
        made.add_tags(_tags(files, path, tracks, wanted))
    clips: dict[str, Path] = {}
    for track, clip in files.clips(_track_of):
        clips.setdefault(track, clip)
    made.add_audio({song: clips[track] for song, track in _first(tracks, clips)})


def _first(tracks: Mapping[str, list[str]], have: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield the songs that have something, each with its first track that has it."""
    for song, of in tracks.items():
        if (track := next((t for t in of if t in have), None)) is not None:
            yield song, track


def _track_of(name: str) -> str | None:
    found = _TRACK.match(name)
    return found[0] if found else None


def _mismatched(files: SourceFiles, made: Made) -> set[tuple[str, str]]:
    path = files.find("sid_mismatches.txt")
    if path is None:
        made.lacks("sid_mismatches.txt", "songs whose tracks are known not to match are not left out")
        return set()
    pairs = set(_pairs(path))
    if not pairs:
        raise files.another_version(path, "lines of ERROR: <SO... TR...> ...", "none such")
    accepted = files.find("sid_matches_manually_accepted.txt")
    return pairs - (set(_pairs(accepted)) if accepted else set())


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for _, line in lines_of(path):
        if found := _PAIR.search(line):
            yield found[1], found[2]


def _tracks(files: SourceFiles, made: Made) -> dict[str, list[str]]:
    """Return the tracks of each song: as listed, then others of which the data set knows."""
    tracks: dict[str, list[str]] = {}
    if (path := files.find(_SONG_TO_TRACKS)) is None:
        made.lacks(_SONG_TO_TRACKS, f"songs and tracks are matched by {_UNIQUE_TRACKS}")
    else:
        for _, line in lines_of(path):
            song, *of = line.split("\t")
            of = [track for track in of if track]
            if not song.startswith("SO") or not all(map(_TRACK.fullmatch, of)):
                raise files.another_version(path, "lines of a song (SO...) and its tracks", f"{line[:200]!r}")
            tracks[song] = of
    if (path := files.find(_UNIQUE_TRACKS)) is not None:
        for track, song, _, _ in _unique_tracks(files, path):
            if track not in (known := tracks.setdefault(song, [])):
                known.append(track)
    return tracks


def _unique_tracks(files: SourceFiles, path: Path) -> Iterator[list[str]]:
    """Yield track, song, artist and title."""
    wanted = "track<SEP>song<SEP>artist<SEP>title"
    for number, line in lines_of(path):
        fields = line.split("<SEP>")
        if len(fields) == 4 and _TRACK.fullmatch(fields[0]):
            yield fields
        elif number == 1:
            raise files.another_version(path, f"lines of {wanted}", f"{line[:200]!r}")
        else:
            raise InputError(f"{path}, line {number}: wanted {wanted}; got {line[:200]!r}")


class _Without:
    """Plays, without those of some songs."""

    def __init__(self, left_out: set[str]) -> None:
        self.kept = PlaySums()
        self._left_out = left_out
        self.songs: set[str] = set()
        self.n_rows = 0

    def add(self, block: Mapping[str, Any], counts: NDArray[np.float32]) -> None:
        ids = block["song"].dictionary.to_pylist()
        keep = np.array([song not in self._left_out for song in ids])[block["song"].indices.to_numpy()]
        if not keep.all():
            self.songs.update(self._left_out.intersection(ids))
            self.n_rows += len(keep) - int(keep.sum())
            block = {role: compacted(block[role].filter(pa.array(keep))) for role in ("user", "song")}
            counts = counts[keep]
        self.kept.add(block, counts)


def _tags(
    files: SourceFiles, path: Path, tracks: Mapping[str, list[str]], wanted: set[str]
) -> Iterator[tuple[list[str], list[str], list[float]]]:
    """Yield blocks of songs, tags and weights."""
    with open(path, "rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise files.another_version(path, "a database of SQLite 3", "another file")
    try:
        uri = f"file:{pathname2url(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            for table, columns in _TABLES.items():
                found = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                if found != columns:
                    came = f"{table}({', '.join(found)})" if found else f"no table {table}"
                    raise files.another_version(path, f"a table {table}({', '.join(columns)})", came)
            query = "SELECT DISTINCT t.tid FROM tid_tag x JOIN tids t ON t.rowid = x.tid"
            with_tags = {track for (track,) in database.execute(query) if track in wanted}
            song_of = {track: song for song, track in _first(tracks, with_tags)}
            rows = database.execute(
                "SELECT t.tid, g.tag, x.val FROM tid_tag x JOIN tids t ON t.rowid = x.tid "
                "JOIN tags g ON g.rowid = x.tag"
            )
            while block := list(islice(rows, _BLOCK_ROWS)):
                known = [(song_of[track], tag, val) for track, tag, val in block if tag and track in song_of]
                yield [song for song, _, _ in known], [tag for _, tag, _ in known], [w for _, _, w in known]
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read: {error}") from error


DATASET = PublishedDataset(
    "the Million Song Dataset", "http://millionsongdataset.com/tasteprofile/ and /lastfm/", convert
)
