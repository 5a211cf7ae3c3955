"""HetRec 2011 Last.fm: plays of artists by 1,892 users, and who tagged which artist how.

I. Cantador, P. Brusilovsky, T. Kuflik: Second workshop on information heterogeneity and fusion in
recommender systems, RecSys 2011. The form of the files is that of its readme.txt, version 1.0: tabs, a first
line of names; tags.dat is in ISO 8859-1, the others in UTF-8. Artists take the place of songs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dcbmr.datasets.published import Made, PublishedDataset, SourceFiles
from dcbmr.datasets.text_files import fields_of_lines
from dcbmr.errors import InputError
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.tag_vectors import tag_vectors
from dcbmr.plays.tags import SongTags


def convert(files: SourceFiles, made: Made) -> None:
    """Make plays, names and tags of artists, and vectors of the tags, since there is no audio.

    The weight of a tag is the number of users who gave it.
    """
    played, artists, tagged, tags = files.need(
        "user_artists.dat", "artists.dat", "user_taggedartists.dat", "tags.dat"
    )
    next(fields_of_lines(files, played, ("userID", "artistID", "weight")), None)
    made.add_plays(PlayCounts.read(played, progress=made.progress))
    names = fields_of_lines(files, artists, ("id", "name", "url", "pictureURL"))
    rows = ((artist, name) for artist, name, _, _ in names)
    made.add_songs(rows, columns="song\tartist")

    names_of = dict(fields_of_lines(files, tags, ("tagID", "tagValue"), encoding="iso-8859-1"))
    weights: Counter[tuple[str, str]] = Counter()
    columns = ("userID", "artistID", "tagID", "day", "month", "year")
    for _, artist, tag, *_ in fields_of_lines(files, tagged, columns):
        if tag not in names_of:
            raise InputError(f"{tagged} names the tag {tag}, which {tags} lacks")
        weights[artist, names_of[tag]] += 1
    made.add_tags(_blocks(weights))
    if "tags" in made.parts:
        made.add_vectors("tag_vectors", tag_vectors(SongTags.read(made.parts["tags"])))


def _blocks(weights: Counter[tuple[str, str]]) -> Iterator[tuple[list[str], list[str], list[float]]]:
    songs, tags = zip(*weights, strict=True) if weights else ((), ())
    yield list(songs), list(tags), [float(n) for n in weights.values()]


DATASET = PublishedDataset(
    "HetRec 2011 Last.fm", "https://grouplens.org/datasets/hetrec-2011/ (hetrec2011-lastfm-2k.zip)", convert
)
