"""Music4All: listening events of 15,602 users of Last.fm, names, tags, years, and clips of 30 s.

I. Santana et al.: Music4All, a new music database and its applications, IWSSIP 2020. Its tables are between
tabs, whatever their ending says, with a first line of names: listening_history.csv (user, song, timestamp),
id_information.csv (id, artist, song, album_name), id_tags.csv (id, tags; between commas) and id_metadata.csv
(id, ..., release; a year); audios/ID.mp3.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dcbmr.datasets.published import Made, PublishedDataset, SourceFiles
from dcbmr.datasets.text_files import fields_of_lines, lines_of
from dcbmr.plays.counts import PlayCounts

_EVENTS = ("user", "song", "timestamp")


def convert(files: SourceFiles, made: Made) -> None:
    """Make plays, names, years of release, tags and a manifest of clips."""
    events, information = files.need("listening_history.csv", "id_information.csv")
    next(fields_of_lines(files, events, _EVENTS), None)
    made.add_plays(PlayCounts.read(events, columns="user,song,time=timestamp", progress=made.progress))
    years = _years(files, made)
    rows = fields_of_lines(files, information, ("id", "artist", "song", "album_name"))
    made.add_songs(
        ((song, artist, title, years.get(song, "")) for song, artist, title, _ in rows),
        columns="song\tartist\ttitle\tdate",
    )
    if (tags := files.find("id_tags.csv")) is None:
        made.lacks("id_tags.csv", "no tags")
    else:
        made.add_tags(_tags(files, tags))
    wanted = set(made.song_ids)
    made.add_audio({song: path for song, path in files.clips(_stem) if song in wanted})


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _years(files: SourceFiles, made: Made) -> dict[str, str]:
    path = files.find("id_metadata.csv")
    if path is None:
        made.lacks("id_metadata.csv", "no years of release")
        return {}
    names = next(lines_of(path), (0, ""))[1].split("\t")
    if names[0] != "id" or "release" not in names:
        raise files.another_version(path, "a first line with id and release", ", ".join(names)[:200])
    place = names.index("release")
    return {fields[0]: fields[place] for fields in fields_of_lines(files, path, names)}


def _tags(files: SourceFiles, path: Path) -> Iterator[tuple[list[str], list[str], list[float]]]:
    for song, of in fields_of_lines(files, path, ("id", "tags")):
        tags = list(dict.fromkeys(tag for tag in map(str.strip, of.split(",")) if tag))
        yield [song] * len(tags), tags, [1.0] * len(tags)


DATASET = PublishedDataset("Music4All", "https://sites.google.com/view/contact4music4all", convert)
