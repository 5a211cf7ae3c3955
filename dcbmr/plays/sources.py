"""Which files plays are read from: one, several, all in a folder, or standard input."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dcbmr.base.directory import kind_of
from dcbmr.errors import DcbmrError, InputError

STANDARD_INPUT = "-"
Source = str | Path | Sequence[str | Path]
# How a stream is told what its first bytes say it is: by the name of the file that it is kept in.
_ENDINGS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2"}


@contextmanager
def files_of(source: Source) -> Iterator[list[Path]]:
    """Give the files of a source, to be read in this order until the block ends.

    In a folder, and in those within, every file counts, in the order of the names, but for empty ones and
    those whose name begins with a dot or an underscore. Standard input is kept in a temporary file, since
    its start is looked at before it is read, and a wrong line is looked for.

    Raises
    ------
    InputError
        A folder holds no files, or something that dcbmr wrote; an error of standard input calls it so.
    DcbmrError
        Standard input could not be kept.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    if [str(path) for path in given] == [STANDARD_INPUT]:
        with tempfile.TemporaryDirectory(prefix="dcbmr-") as folder:
            file = _kept(Path(folder))
            try:
                yield [file]
            except InputError as error:
                raise InputError(str(error).replace(str(file), "standard input")) from error
        return
    files = [file for path in given for file in _files(Path(path))]
    if not files:
        raise InputError("no files of plays were given")
    yield files


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (kind := kind_of(path)) is not None:
        raise InputError(f"{path} holds {kind!r}; wanted files of plays, or a folder of them")
    files = []
    for parent, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        there = [Path(parent) / name for name in sorted(names) if not name.startswith((".", "_"))]
        files += [file for file in there if file.stat().st_size]
    if not files:
        raise InputError(f"{path} is a folder without files; wanted files of plays")
    return files


def _kept(folder: Path) -> Path:
    stream = sys.stdin.buffer
    start = stream.read(4)
    ending = next((ending for magic, ending in _ENDINGS.items() if start.startswith(magic)), "")
    file = folder / f"plays{ending}"
    try:
        with file.open("wb") as kept:
            kept.write(start)
            shutil.copyfileobj(stream, kept, 1 << 20)
    except OSError as error:
        raise DcbmrError(f"standard input could not be kept in {folder}: {error.strerror}") from error
    return file
