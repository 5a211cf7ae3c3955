"""What the user gave, told apart by its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dcbmr.audio.files import find_songs
from dcbmr.errors import InputError


def checksum(path: Path, what: str) -> str:
    """Return the SHA-256 of a file, or of the names, sizes and times of the files in a folder.

    Raises
    ------
    InputError
        There is none; ``what`` is the key that names it.
    """
    if os.path.isdir(path):  # which, unlike Path.is_dir, takes what is too long for a name for none
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return _of_stats((file.relative_to(path).as_posix(), file) for file in files)
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{what}: {path} cannot be read: {error.strerror}") from None


def checksum_of_audio(source: Path) -> str:
    """Return one of the songs of a folder or a manifest, and of the size and the time of each file.

    By the same signs featurize knows that a file has changed.
    """
    with find_songs(source) as songs:
        return _of_stats((song, Path(path)) for song, path in songs)


def _of_stats(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in files:
        try:
            about = os.stat(file)
            said = f"{name}\t{about.st_size}\t{about.st_mtime_ns}\n"
        except OSError:  # listed, and not there: featurize says so
            said = f"{name}\t\n"
        digest.update(said.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
