"""Last.fm 360K: the artists that 359,347 users have played most, and how often.

O. Celma: Music recommendation and discovery in the long tail, Springer 2010. The form of the file is that of
its README.txt, version 1.2: tabs, no first line, user (SHA-1), MusicBrainz id of the artist, name of the
artist, plays; the MusicBrainz id may be missing. Artists take the place of songs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dcbmr.datasets.published import Made, PublishedDataset, SourceFiles, plays_of
from dcbmr.datasets.text_files import lines_of
from dcbmr.plays.columns import as_number
from dcbmr.plays.delimited import Delimited
from dcbmr.plays.sums import PlaySums

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILE = "usersha1-artmbid-artname-plays.tsv"
_FIRST = re.compile(r"[0-9a-f]{40}\t[^\t]*\t[^\t]*\t *\d+")
_USER = "^[0-9a-f]{40}$"


def convert(files: SourceFiles, made: Made) -> None:
    """Make plays and names of artists; one without a MusicBrainz id has its name for an id."""
    (path,) = files.need(_FILE)
    _, first = next(lines_of(path), (0, ""))
    if not _FIRST.fullmatch(first):
        raise files.another_version(
            path, "lines of user (SHA-1), MusicBrainz id, artist and plays", f"{first[:200]!r}"
        )
    sums = PlaySums()
    names: dict[str, str] = {}
    n_rows = n_users_wrong = n_nameless = n_without_mbid = 0
    for users, mbids, artists, counts in _batches(path):
        ids = pc.if_else(pc.equal(mbids, ""), artists, mbids)
        good_users = pc.match_substring_regex(users, _USER)
        good = pc.and_(good_users, pc.not_equal(ids, "")).to_numpy(zero_copy_only=False)
        n_users_wrong += len(good) - pc.sum(good_users).as_py()
        n_nameless += int(np.count_nonzero(pc.equal(ids, "").to_numpy(zero_copy_only=False)))
        users, ids, artists = (column.filter(pa.array(good)) for column in (users, ids, artists))
        n_without_mbid += int(np.count_nonzero(pc.equal(mbids, "").to_numpy(zero_copy_only=False) & good))
        songs = ids.dictionary_encode()
        firsts = np.unique(songs.indices.to_numpy(), return_index=True)[1]
        for song, name in zip(songs.dictionary.to_pylist(), artists.take(firsts).to_pylist(), strict=True):
            names.setdefault(song, name)
        sums.add({"user": users.dictionary_encode(), "song": songs}, counts[good])
        n_rows += len(good)
        made.progress("read counts", n_rows, None, {})
    made.add_plays(plays_of(sums))
    for n, why in (
        (n_users_wrong, "left out, whose user is no SHA-1"),
        (n_nameless, "left out, without an artist"),
        (n_without_mbid, "without a MusicBrainz id: the name of the artist is the id"),
    ):
        if n:
            made.notes.append(f"{n:,} of {n_rows:,} rows {why}")
    made.add_songs(names.items(), columns="song\tartist")


def _batches(path: Path) -> Iterator[tuple[Any, Any, Any, NDArray[np.float32]]]:
    text = Delimited(path, "\t", 0, 4, [0, 1, 3], None)
    kinds = (pa.string(), pa.string(), pa.string(), pa.float64())
    try:
        for batch in text.batches(dict(enumerate(kinds))):
            users, mbids, artists, counts = batch.columns
            yield users, mbids, artists, counts.to_numpy(zero_copy_only=False).astype(np.float32)
    except pa.ArrowException as error:
        raise text.explain(error, _fault) from error


def _fault(fields: Sequence[str]) -> str | None:
    return None if as_number(fields[3]) is not None else f"the count {fields[3]!r} is not a number"


DATASET = PublishedDataset(
    "Last.fm 360K",
    "http://ocelma.net/MusicRecommendationDataset/lastfm-360K.html (lastfm-dataset-360K.tar.gz)",
    convert,
)
