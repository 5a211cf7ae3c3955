"""Directories on disk that are whole or absent.

What dcbmr writes (factors, models, codebooks, splits) is a directory with a ``config.json``. It is
written beside its final place, synced, and renamed: a killed process or a full disk leaves nothing that
could be taken for a whole one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dcbmr.base.crashes import in_hand
from dcbmr.base.signals import watch
from dcbmr.errors import DcbmrError, InputError

CONFIG = "config.json"
RECORD = "run.json"  # in a checkpoint: the settings of the unfinished work
# What people keep, by the kind that its config.json says, and the version that is written and read.
FORMATS = {
    "dataset": 1,
    "split": 1,
    "factors": 1,
    "features": 1,
    "codebook": 1,
    "model": 2,
    "stack": 1,
    "songs": 1,
    "evaluation": 1,
    "lists": 1,
    "vectors": 1,
    "experiment": 4,
}
# What a machine lacks: nobody's fault.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What makes some of them, for who has one of another version.
_MADE_BY = {
    "split": "split PLAYS",
    "factors": "factorize PLAYS",
    "features": "featurize AUDIO",
    "codebook": "codebook SOURCE",
    "songs": "predict MODEL --features FEATURES",
}
HEADER = ("kind", "format_version", "dcbmr_version")  # of every config.json


def refuse_existing(
    path: Path, *, kind: str, replaces: Collection[str] = (), overwrite: bool = False
) -> None:
    """Raise InputError when ``path`` cannot be written, or exists: unless of ``kind`` and to be overwritten.

    Predictions never take the place of the model that made them; ``replaces`` are other kinds that may be
    overwritten, as a stack takes the place of a model. An empty directory is of any kind.
    """
    check_writable(path)
    if not path.exists() and not path.is_symlink():
        return
    found = kind_of(path)
    if found is not None and found not in (kind, *replaces):
        raise InputError(
            f"{path} holds {found!r} and is not overwritten with {kind!r}; give another output directory"
        )
    if found is None and not (path.is_dir() and _is_empty(path)):
        raise InputError(
            f"{path} was not written by dcbmr and is not overwritten; give another output directory"
        )
    if not overwrite:
        raise InputError(f"{path} exists; give another output directory, or --overwrite to replace it")


def _is_empty(directory: Path) -> bool:
    """Say whether a directory holds nothing but what writing its ``config.json`` left when it was killed."""
    return all(path == _partial_of(directory / CONFIG) for path in directory.iterdir())


def begin_output(
    output: Path, *, kind: str, replaces: Collection[str] = (), overwrite: bool = False, resume: bool = False
) -> bool:
    """Check before any work that ``output`` may be written; return False where it is finished.

    Work that was not finished is neither lost nor resumed unasked: ``overwrite`` does away with it, and
    ``resume`` goes on with it, to take the place of what the interrupted command was to overwrite.

    Raises
    ------
    InputError
        There is an output already, or unfinished work, and nobody said what to do with it.
    """
    if overwrite and resume:
        raise InputError("--resume and --overwrite exclude each other")
    unfinished = is_unfinished(output)
    if resume and not unfinished and kind_of(output) in (kind, *replaces):
        return False
    if unfinished and not (overwrite or resume):
        raise InputError(f"{output} was not finished; --resume continues it, --overwrite starts anew")
    refuse_existing(output, kind=kind, replaces=replaces, overwrite=overwrite or unfinished)
    if overwrite:
        shutil.rmtree(checkpoint_of(output), ignore_errors=True)
    return True


def checkpoint_of(output: Path) -> Path:
    """Return the directory where the unfinished work on ``output`` is kept."""
    return _beside(output, "checkpoint")


def plays_beside(output: Path) -> Path:
    """Return the directory where plays lie, cut for workers, while ``output`` is made of them."""
    return _beside(output, "plays")


def _known_as(path: Path) -> Path:
    """Return the output that a checkpoint is of, else the path: the name that its user gave."""
    name = path.name.removesuffix(".checkpoint")
    return path if name == path.name else path.with_name(name.removeprefix("."))


def is_unfinished(output: Path) -> bool:
    """Say whether work on ``output`` was interrupted and left something to go on with."""
    return has_progress(checkpoint_of(output))


def has_progress(checkpoint: Path) -> bool:
    """Say whether a checkpoint holds more than a record of settings, as that of wrong ones does not."""
    files = (file for file in checkpoint.rglob("*") if file.is_file() and file.name != RECORD)
    return any(file.stat().st_size for file in files)


def _beside(path: Path, what: str) -> Path:
    """Return a hidden sibling; of a link, beside what it leads to."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{path.name}.{what}")


@contextmanager
def sole_writer(output: Path) -> Iterator[None]:
    """Keep other processes off ``output`` until the block ends, by a lock that dies with this process.

    Raises
    ------
    InputError
        Another process is writing it, or nothing can be written there.
    """
    check_writable(output)
    file = _beside(output, "lock")
    missing = [folder for folder in file.parents if not folder.exists()]
    lock: int | None = None
    try:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with watch.later():  # else nobody would remove a lock that is there already
                lock = _locked(file, output)
                watch.temporary.add(str(file))
            place = Path(os.path.realpath(output))
            tidy_after_kills(place.parent, of=place.name)
        except OSError as error:
            raise InputError(f"{output} cannot be written: {error.strerror}") from error
        yield
    finally:
        if lock is not None:
            watch.temporary.discard(str(file))
            file.unlink(missing_ok=True)
            os.close(lock)
        for folder in missing:
            with suppress(OSError):  # it holds the output now
                folder.rmdir()


def _locked(file: Path, output: Path) -> int:
    """Return the descriptor of ``file``, locked."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _flock(lock)
        except BlockingIOError:
            other = os.read(lock, 20).decode() or "unknown"
            os.close(lock)
            raise InputError(
                f"{output} is being written by another dcbmr (process {other}); wait for its end, or give "
                "another output directory"
            ) from None
        # Whoever had it before may have removed it in between: such a lock keeps nobody off.
        if file.exists() and os.path.samestat(os.fstat(lock), file.stat()):
            os.truncate(lock, 0)
            os.write(lock, str(in_hand.process or os.getpid()).encode())
            return lock
        os.close(lock)


def _flock(handle: int) -> None:
    """Lock an open file, where the system and the disk have locks."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:
        return
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def check_writable(path: Path) -> None:
    """Raise InputError where nothing can be written: rather now than when there is something to write."""
    parents = Path(os.path.realpath(path)).parents
    if not parents:
        raise InputError(f"{path} cannot be written: it is the root of the file system")
    above = next(parent for parent in parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"{path} cannot be written: {above} is no directory")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {above} is read-only")


def kind_of(path: Path) -> str | None:
    """Return what a directory says it holds; None where it says nothing that can be read."""
    try:
        kind = json.loads((path / CONFIG).read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(kind)


def identity_of(model: Path | str) -> dict[str, str]:
    """Return what tells in ``config.json`` by which model something was made: its path, and a digest.

    The digest is the SHA-256 of the names and the contents of all files of its directory.
    """
    directory = Path(model)
    digest = hashlib.sha256()
    for file in sorted(file for file in directory.rglob("*") if file.is_file()):
        with file.open("rb") as content:
            of_file = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{of_file}  {file.relative_to(directory).as_posix()}\n".encode())
    return {"model": str(model), "model_sha256": digest.hexdigest()}


@contextmanager
def new_directory(
    path: Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    version: int = 1,
    replaces: Collection[str] = (),
    overwrite: bool = False,
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
    replaces : collection of str
        Other kinds whose place it may take.
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
    refuse_existing(path, kind=kind, replaces=replaces, overwrite=overwrite)
    beside, old = (_beside(path, f"{os.getpid()}.{what}") for what in ("partial", "old"))
    shutil.rmtree(beside, ignore_errors=True)
    place = Path(os.path.realpath(path))
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield beside
        write_config(beside, kind=kind, config=config, version=version)
        _sync(beside)
        if place.exists():
            place.rename(old)
            beside.rename(place)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.rename(place)
        _sync_one(place.parent)
    except BaseException as error:
        if old.exists() and not place.exists():  # stopped between the two renames
            old.rename(place)
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)
        if reason := _why_not_written(error, beside):
            raise DcbmrError(f"{_known_as(path)} could not be written: {reason}") from error
        raise


def _why_not_written(error: BaseException | None, beside: Path) -> str | None:
    """Return what the disk had against it; None for an error that has nothing to do with writing."""
    if isinstance(error, OSError) and (error.errno in NO_ROOM or str(error.filename).startswith(str(beside))):
        return error.strerror
    # safetensors has an error of its own, which names the system's in its text.
    if type(error).__name__ == "SafetensorError" and "os error" in str(error):
        return str(error)
    # Who was called to write here may have wrapped what the disk had against it.
    return None if error is None else _why_not_written(error.__cause__, beside)


_LEFT = re.compile(r"\.(?P<of>.+)\.\d+\.(?:partial|old)")


def tidy_after_kills(folder: Path, *, of: str | None = None) -> None:
    """Take away what :func:`new_directory` was filling, and put back what it was about to replace.

    For whoever is the only writer in ``folder``, or of the output ``of`` in it.
    """
    for left in list(folder.iterdir()):
        found = _LEFT.fullmatch(left.name)
        if found is None or of not in (None, found["of"]):
            continue
        place = folder / found["of"]
        if left.suffix == ".old" and not place.exists():
            left.rename(place)
        else:
            shutil.rmtree(left, ignore_errors=True)


def write_config(directory: Path, *, kind: str, config: Mapping[str, Any], version: int = 1) -> None:
    """Write ``config.json``: the header, which :func:`read_config` checks, and settings."""
    from dcbmr.base.version import __version__

    header = dict(zip(HEADER, (kind, version, __version__), strict=True))
    write_json(directory / CONFIG, {**header, **config})


def read_config(path: Path, *, kind: str, version: int = 1, remedy: str = "") -> dict[str, Any]:
    """Return the settings of a directory, after checking that it is of this kind and version.

    ``remedy`` says what to do about another version; by default, the command that makes it anew.
    """
    path = Path(path)
    file = path / CONFIG
    if not file.is_file():
        found = f"has no {CONFIG}" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} is no dcbmr {kind} directory: it {found}")
    try:
        config = json.loads(file.read_text("utf-8"))
        found_kind, found_version = config["kind"], config["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if found_kind != kind:
        raise InputError(f"{path} holds {found_kind!r}, not {kind!r}")
    if found_version != version:
        if not remedy and kind in _MADE_BY:
            remedy = f"dcbmr {_MADE_BY[kind]} -o {path} --overwrite makes it anew"
        raise InputError(
            f"{path}: format_version is {found_version}, this dcbmr reads {version}; "
            f"it was written by dcbmr {config.get('dcbmr_version')}{remedy and '; '}{remedy}"
        )
    return dict(config)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Read a directory in this block: what its readers stumble over is damage, which InputError names."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of any kind, as a file may hold anything in the place of anything
        if isinstance(error, DcbmrError) and str(path) in str(error):
            raise
        is_lack = isinstance(error, KeyError)
        why = f"it lacks {error.args[0]}" if is_lack else f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged: {why}") from error


def write_json(file: Path, value: Any) -> None:
    """Write readable JSON, whole or not at all; NaN is refused, since it is not JSON."""
    partial = _partial_of(file)
    try:
        with naming(file):
            partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Write to a file in this block: an error of the disk names the file, as it does not by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def _partial_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


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
