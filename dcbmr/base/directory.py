"""Directories on disk that are whole or absent.

What dcbmr writes (factors, models, codebooks, splits) is a directory with a ``config.json``. It is
written beside its final place, synced, and renamed: a killed process or a full disk leaves nothing that
could be taken for a whole one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dcbmr.errors import DcbmrError, InputError

CONFIG = "config.json"


def refuse_existing(path: Path, *, overwrite: bool = False, kind: str | None = None) -> None:
    """Raise InputError when ``path`` cannot be written, or exists: unless it is ours and to be overwritten.

    With ``kind``, only a directory of that kind is overwritten: predictions never take the place of the
    model that made them.
    """
    if not path.exists() and not path.is_symlink():
        _check_writable(path)
        return
    if not overwrite:
        raise InputError(f"{path} exists; give another output directory, or --overwrite to replace it")
    if not (path / CONFIG).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} was not written by dcbmr (no {CONFIG} in it) and is not overwritten")
    found = kind_of(path)
    if kind is not None and found is not None and found != kind:
        raise InputError(f"{path} holds {found!r} and is not overwritten with {kind!r}")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Raise InputError where nothing can be written: rather now than when there is something to write."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"{path} cannot be written: {above} is no directory")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {above} is read-only")


def kind_of(path: Path) -> str | None:
    """Return what a directory says it holds; None where it says nothing that can be read."""
    try:
        kind = json.loads((path / CONFIG).read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(kind)


@contextmanager
def new_directory(
    path: Path, *, kind: str, config: Mapping[str, Any], version: int = 1, overwrite: bool = False
) -> Iterator[Path]:
    """Give a directory to fill, which appears at ``path`` when the block ends without an error.

    Parameters
    ----------
    path : Path
        The final place.
    kind : str
        What it holds ("factors", "model", ...); :func:`read_config` checks it.
    config : mapping
        Settings for ``config.json``; may be filled until the block ends.
    version : int
        Version of the format of this kind.
    overwrite : bool
        Replace an existing directory of ours.

    Raises
    ------
    InputError
        ``path`` exists and is not to be replaced.
    DcbmrError
        The disk is full, or cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite, kind=kind)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield beside
        write_json(beside / CONFIG, {**_header(kind, version), **config})
        _sync(beside)
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            beside.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.rename(path)
        _sync_one(path.parent)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if reason := _why_not_written(error):
            raise DcbmrError(f"{path} could not be written, nothing of it is left: {reason}") from error
        raise


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _why_not_written(error: BaseException) -> str | None:
    """Return what the disk had against it; None for an error that has nothing to do with writing."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return error.strerror
    # safetensors has an error of its own, which names the system's in its text.
    if type(error).__name__ == "SafetensorError" and "os error" in str(error):
        return str(error)
    return None


def _header(kind: str, version: int) -> dict[str, Any]:
    from dcbmr.base.version import __version__

    return {"kind": kind, "format_version": version, "dcbmr_version": __version__}


def read_config(path: Path, *, kind: str, version: int = 1, remedy: str = "") -> dict[str, Any]:
    """Return the settings of a directory, after checking that it is of this kind and version.

    ``remedy`` says what to do about another version.
    """
    path = Path(path)
    file = path / CONFIG
    if not file.is_file():
        found = f"has no {CONFIG}" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} is no dcbmr {kind} directory: it {found}")
    try:
        config = json.loads(file.read_text("utf-8"))
        found_kind, found_version = config["kind"], config["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if found_kind != kind:
        raise InputError(f"{path} holds {found_kind!r}, not {kind!r}")
    if found_version != version:
        raise InputError(
            f"{path}: format_version is {found_version}, this dcbmr reads {version}; "
            f"it was written by dcbmr {config.get('dcbmr_version')}{remedy and '; '}{remedy}"
        )
    return dict(config)


def write_json(file: Path, value: Any) -> None:
    """Write readable JSON; NaN is refused, since it is not JSON."""
    file.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def _sync(directory: Path) -> None:
    for parent, _, names in os.walk(directory):
        for name in names:
            _sync_one(Path(parent) / name)
        _sync_one(Path(parent))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
