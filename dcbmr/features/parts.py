"""Features made on the workers of an engine: each makes parts, of some files, which one process joins.

A part is a directory of features of its own, below ``parts`` of the store, written as the store of one
machine is: whatever is killed, the songs in it are whole. Its shards become shards of the store without a
copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path

from dcbmr.features.features_writer import FAILED

PARTS = "parts"
_MOST_FILES, _LEAST_FILES = 256, 16  # of a part
_PARTS_A_WORKER = 8  # where that leaves enough files: so that all end at about the same time


def part_of(root: Path, number: int) -> Path:
    """Return the directory of a part."""
    return root / PARTS / f"{number:06}"


def parts_of(root: Path) -> list[Path]:
    """Return the parts that are there: what a run that was killed has left."""
    return sorted(path for path in (root / PARTS).glob("[0-9]*") if path.is_dir())


def cut_into_parts(
    songs: Iterable[tuple[str, str]], n_songs: int, root: Path, n_workers: int
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the directory of each part, and the path of each song in it."""
    n_files = min(max(n_songs // (_PARTS_A_WORKER * n_workers), _LEAST_FILES), _MOST_FILES)
    rest = ((song, os.path.abspath(path)) for song, path in songs)
    for number in count():
        if not (some := dict(islice(rest, n_files))):
            return
        yield part_of(root, number), some


def failed_in(part: Path) -> Iterator[tuple[str, str]]:
    """Yield the songs of a part whose files could not be used, and why."""
    if (part / FAILED).exists():
        for line in (part / FAILED).read_text("utf-8").splitlines()[1:]:
            song, _, reason = line.split("\t")
            yield song, reason
