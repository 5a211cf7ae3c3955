"""Stages: what each depends on, whether it is there, and why it is not.

A stage is a directory ``NAME-DIGEST``. The digest is made of the version of the stage, of its settings as far
as they differ from the defaults, and of the digests of what it reads: so a stage is made again exactly when
something changed that it depends on, and experiments that agree on it share it. ``stage.json`` appears in it
when it is finished, and says what it was made of and which files it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dcbmr.base.directory import CONFIG, read_config, tidy_after_kills, write_config, write_json
from dcbmr.base.progress import Progress, silent
from dcbmr.base.settings import differences
from dcbmr.base.usage import Meter, Usage
from dcbmr.errors import InputError

_KIND = "stage"
_UNFINISHED = "unfinished.json"  # what an interrupted stage has taken so far
_DIGITS = 12
_SHOWN = 4  # reasons


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of an experiment, as it is wanted.

    Attributes
    ----------
    name : str
        What is done; part of the directory's name.
    label : str
        What people see, as "fold 2: cnn-mse".
    settings : mapping
        All that it depends on beside its inputs, for JSON.
    defaults : mapping
        Of the settings that have any: what is as here does not enter the digest, so that a setting that is
        new changes nothing that was made without it.
    inputs : mapping of str to Stage or str
        What it reads: other stages, and checksums of files, by names that people know.
    version : int
        Of the code: raised when what it writes becomes another thing.
    keeps_files : bool
        Whether the files are as they were written for good: not those of features, which follow their audio.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Stage | str] = field(default_factory=dict)
    version: int = 1
    keeps_files: bool = True

    @cached_property
    def digest(self) -> str:
        """Return what tells this stage from others of its name."""
        essence = {
            "version": self.version,
            "settings": _other_than(_as_kept(self.defaults), _as_kept(self.settings)),
            "inputs": self.input_digests(),
        }
        return hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest()[:_DIGITS]

    def input_digests(self) -> dict[str, str]:
        """Return the digest of each input."""
        return {
            name: given if isinstance(given, str) else given.digest for name, given in self.inputs.items()
        }


def _as_kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON gives them back: tuples are lists there."""
    kept: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    return kept


def _other_than(defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults, inner ones one by one."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            value, default = _other_than(default, value), {}
        if value != default:
            found[name] = value
    return found


class Stages:
    """The stages of a directory.

    Parameters
    ----------
    directory : path
    progress : Progress, optional
        Told of every stage that is made; it may raise to stop.
    """

    def __init__(self, directory: Path, progress: Progress | None = None) -> None:
        self.directory = directory
        self.report = progress or silent

    def path(self, stage: Stage) -> Path:
        """Return the directory of a stage."""
        return self.directory / f"{stage.name}-{stage.digest}"

    def is_made(self, stage: Stage) -> bool:
        """Say whether a stage is finished.

        Raises
        ------
        InputError
            Its files are not as they were written.
        """
        path = self.path(stage)
        if not (path / CONFIG).is_file():
            return False
        wrong = _what_changed(path, _record(path)["files"])
        if wrong:
            raise InputError(f"{path} was changed after it was made: {wrong}; {_remedy(path)}")
        return True

    def settings_of(self, name: str, setting: str) -> list[Any]:
        """Return a setting of the stages of a name that are there, the newest first."""
        return [record["settings"].get(setting) for record in self._records(name)]

    def usage(self, stage: Stage) -> Usage:
        """Return what a stage took to make, its interruptions apart; nothing where it was not made."""
        for file in (self.path(stage) / name for name in (CONFIG, _UNFINISHED)):
            if file.is_file():
                return Usage(**json.loads(file.read_text("utf-8"))["usage"])
        return Usage()

    @contextmanager
    def making(self, stage: Stage) -> Iterator[Path]:
        """Give the directory of a stage to fill, where what an interrupted run left lies; measure it.

        What is written into it is whole or absent, or goes on where it was.
        """
        path = self.path(stage)
        before = self.usage(stage)
        path.mkdir(parents=True, exist_ok=True)
        tidy_after_kills(path)
        write_json(path / _UNFINISHED, {"usage": before.as_dict()})  # for whoever is killed
        self.report(stage.label, 0, None, {})
        meter = Meter()
        try:
            yield path
        except BaseException:
            write_json(path / _UNFINISHED, {"usage": (before + meter.usage()).as_dict()})
            raise
        record = {
            "label": stage.label,
            "version": stage.version,
            "settings": dict(stage.settings),
            "inputs": stage.input_digests(),
            "usage": (before + meter.usage()).as_dict(),
            "files": _files(path) if stage.keeps_files else {},
        }
        (path / _UNFINISHED).unlink(missing_ok=True)
        write_config(path, kind=_KIND, config=record)
        self.report(stage.label, 1, 1, {})

    def why(self, stage: Stage, missing: Collection[str] = ()) -> str:
        """Say why a stage that is not made has to be: what differs from the likest one of its name.

        ``missing`` are the digests of stages that have to be made, too.
        """
        if (self.path(stage) / _UNFINISHED).is_file():
            return "was interrupted, and continues"
        reasons = [self._differences(stage, record, missing) for record in self._records(stage.name)]
        if not reasons:
            return "was not made yet"
        fewest = min(reasons, key=len)
        more = [f"{len(fewest) - _SHOWN} more"] if len(fewest) > _SHOWN else []
        return "; ".join([*fewest[:_SHOWN], *more])

    def _records(self, name: str) -> Iterator[dict[str, Any]]:
        for file in sorted(self.directory.glob(f"{name}-*/{CONFIG}"), key=os.path.getmtime, reverse=True):
            if len(file.parent.name) == len(name) + 1 + _DIGITS:  # else of a longer name
                yield _record(file.parent)

    @staticmethod
    def _differences(stage: Stage, record: Mapping[str, Any], missing: Collection[str]) -> list[str]:
        """Return in words what a stage would be made of otherwise than one that is there."""
        changed = differences(record["settings"], stage.settings)
        found = [f"{name} was {was}, is {now}" for name, was, now in changed]
        digests = stage.input_digests()
        for name in dict.fromkeys([*digests, *record["inputs"]]):
            if digests.get(name) == record["inputs"].get(name):
                continue
            given = stage.inputs.get(name)
            if isinstance(given, Stage) and given.digest in missing:
                found.append(f"follows {given.label}")
            else:
                found.append(f"{name} {'is another' if isinstance(given, Stage) else 'changed'}")
        if record["version"] != stage.version:
            found.append("dcbmr makes it otherwise now")
        return found


def _record(path: Path) -> dict[str, Any]:
    """Return what is known of a stage that was made."""
    try:
        record = read_config(path, kind=_KIND)
        missing = {"version", "settings", "inputs", "usage", "files"} - record.keys()
    except InputError as error:
        raise InputError(f"{error}; {_remedy(path)}") from None
    if missing:
        raise InputError(f"{path / CONFIG} is damaged: it lacks {', '.join(missing)}; {_remedy(path)}")
    return record


def _remedy(path: Path) -> str:
    return f"remove {path}, and it is made again"


def _files(path: Path) -> dict[str, list[int]]:
    """Return size, time of the last change in ns and CRC-32 of each file below ``path``."""
    found = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file.name != _UNFINISHED):
        about = file.stat()
        found[file.relative_to(path).as_posix()] = [about.st_size, about.st_mtime_ns, _crc32(file)]
    return found


def _what_changed(path: Path, files: Mapping[str, list[int]]) -> str:
    """Return which file is not as it was; "" where all are. Copies, which have other times, are read."""
    for name, (size, mtime_ns, crc32) in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is gone"
        about = file.stat()
        if about.st_size != size:
            return f"{name} had {size:,} bytes and has {about.st_size:,}"
        if about.st_mtime_ns != mtime_ns and _crc32(file) != crc32:
            return f"{name} has another content"
    return ""


def _crc32(file: Path) -> int:
    digest = 0
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest = zlib.crc32(block, digest)
    return digest
