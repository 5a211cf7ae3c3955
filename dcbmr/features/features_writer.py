"""Append songs to a directory of features: all of its kinds at once, and what is told of the files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from dcbmr.audio.decode import AudioError
from dcbmr.base.directory import CONFIG, new_directory, write_json
from dcbmr.contract.features import FeatureConfig
from dcbmr.errors import InputError
from dcbmr.features.extraction import Extracted
from dcbmr.features.outline import IS_SILENT, first_of_the_same
from dcbmr.features.sources import SOURCES, KnownFiles, SourceFile, encoded, read_sources
from dcbmr.features.store import FEATURES, UNFINISHED
from dcbmr.features.stored_kind import is_brought, read_feature_config, read_index, shard_path
from dcbmr.features.writer import LineWriter, StoreWriter, create_store, link, writing

FAILED, DAMAGED, VANISHED = "failed.tsv", "damaged.tsv", "vanished.tsv"
SILENT, SAME = "silent.tsv", "same.tsv"
_COMMIT_S = 0.5  # the last commit is the only one that nothing else overlaps


def create_features(
    root: Path, kinds: Sequence[FeatureConfig], config: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write a directory of features without a song yet, which is unfinished until a writer ends it.

    Vectors that were brought to the one that is overwritten stay: no audio gives them back.
    """
    with new_directory(root, kind=FEATURES, config=config, overwrite=overwrite) as beside:
        for kind in kinds:
            create_store(beside / kind.kind, kind)
        for folder in _brought(root):
            shutil.copytree(folder, beside / folder.name, copy_function=link)
        (beside / SOURCES).touch()
        write_json(beside / UNFINISHED, {"n_songs": 0})


def _brought(root: Path) -> list[Path]:
    """Return the folders of vectors that were brought to a directory, as far as they can be read."""
    found = []
    for config in root.glob(f"*/{CONFIG}"):
        with suppress(InputError):
            if is_brought(read_feature_config(config.parent)):
                found.append(config.parent)
    return found


class FeaturesWriter:
    """Appends songs to the stores of all kinds, which hold the same in the same order.

    On leaving, also by Ctrl-C or an error, what was appended is made part of the directory.

    Raises
    ------
    InputError
        A kind was made with other settings; another process is writing; nothing can be written here.
    """

    def __init__(self, root: Path, kinds: Sequence[FeatureConfig]) -> None:
        self._root = root
        self._writers: list[StoreWriter] = []
        self._sources: LineWriter | None = None
        try:
            for kind in kinds:
                self._writers.append(StoreWriter(root / kind.kind, kind))
            if not (root / SOURCES).exists():  # as in stores made before it was kept
                songs = (entry.song for entry in self._writers[0].index())
                self._replace(SOURCES, (encoded(SourceFile(song)) for song in songs))
            self._sources = LineWriter(root / SOURCES)
        except OSError as error:
            self._close()
            raise InputError(f"{root} cannot be written: {error.strerror or error}") from None
        except BaseException:
            self._close()
            raise
        self._committed = time.monotonic()

    def lines(self) -> Iterator[tuple[SourceFile, bool]]:
        """Yield each line of the store: a song's file, and whether the song was removed then.

        Afterwards songs can be appended. What a kill left of a song that is not in all kinds is cut.
        """
        assert self._sources is not None
        indexes = (writer.index() for writer in self._writers)
        for file, *entries in zip(read_sources(self._root), *indexes, strict=False):
            if any((entry.song, entry.removes) != (file.song, entries[0].removes) for entry in entries):
                song = entries[0].song
                raise InputError(f"{self._root} is damaged: song {song!r} is not at one place in all kinds")
            for writer, entry in zip(self._writers, entries, strict=True):
                writer.keep(entry)
            self._sources.keep(encoded(file))
            yield file, entries[0].removes
        for writer in self._writers:
            writer.cut()
        self._sources.cut()

    def update_files(self, known: KnownFiles) -> None:
        """Write down where the files lie now; before anything is appended."""
        assert self._sources is not None
        self._sources.close()
        lines = (encoded(known.newest(file)) for file in read_sources(self._root))
        with writing(self._root):
            self._replace(SOURCES, lines)
        self._sources = LineWriter(self._root / SOURCES)
        self._sources.to_end()

    def _replace(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a file that takes the place of the one there is, whatever moment the machine stops at."""
        beside = self._root / f"{name}.partial"
        with beside.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file)
        beside.replace(self._root / name)

    def begin(self, n_songs: int, *, is_whole: bool) -> None:
        """Forget what the run before has listed, and unless all is there, take the directory for unfinished.

        It is to have ``n_songs`` in the end.
        """
        with writing(self._root):
            for name in (FAILED, VANISHED):
                (self._root / name).unlink(missing_ok=True)
            if is_whole:
                return
            self._replace(UNFINISHED, [json.dumps({"n_songs": n_songs}).encode()])

    def append(self, found: Extracted) -> None:
        """Add a song, in place of what is there of it."""
        assert self._sources is not None
        with writing(self._root):
            for writer in self._writers:
                frames = found.frames[writer.kind]
                frames.seek(0)
                writer.append(found.file.song, frames, found.n_frames[writer.kind], found.crc32[writer.kind])
            self._sources.append(encoded(found.file))
            if time.monotonic() - self._committed > _COMMIT_S:
                self._commit()

    def take_up(self, part: Path, known: KnownFiles) -> list[SourceFile]:
        """Add and return the songs of features written beside, but those that are there as they are.

        The part then goes away; a kill leaves it until all of its songs are there.
        """
        assert self._sources is not None
        indexes = (read_index(part / writer.kind) for writer in self._writers)
        lines = [
            (file, entries)
            for file, *entries in zip(read_sources(part), *indexes, strict=False)
            if file.song not in known or known.newest(file) != file
        ]
        with writing(self._root):
            for place, writer in enumerate(self._writers):
                of_kind = [entries[place] for _, entries in lines]
                for number, entries in groupby(of_kind, key=lambda entry: entry.shard):
                    writer.adopt(shard_path(part / writer.kind, number), list(entries))
            for file, _ in lines:
                self._sources.append(encoded(file))
                known.put(file)
            self._commit()
            shutil.rmtree(part)
        return [file for file, _ in lines]

    def remove(self, song: str) -> None:
        """Take a song out."""
        assert self._sources is not None
        for writer in self._writers:
            writer.remove(song)
        self._sources.append(encoded(SourceFile(song)))

    def fail(self, song: str, error: AudioError) -> None:
        """List a file that could not be used."""
        self._list(FAILED, ("song", "path", "reason"), (song, error.path, error.reason))

    def vanish(self, file: SourceFile) -> None:
        """Take out a song whose file is gone, and list it."""
        self.remove(file.song)
        self._list(VANISHED, ("song", "path"), (file.song, file.path))

    def _list(self, name: str, header: tuple[str, ...], cells: tuple[str, ...]) -> None:
        with writing(self._root), (self._root / name).open("ab") as text:
            if text.tell() == 0:
                text.write(("\t".join(header) + "\n").encode())
            line = "\t".join(" ".join(cell.split()) for cell in cells) + "\n"
            text.write(line.encode(errors="backslashreplace"))

    def finish(self) -> dict[str, int]:
        """Take the directory for finished; list the songs that a listener might wonder at, and count them.

        Of ``damaged.tsv``, ``silent.tsv`` and ``same.tsv`` each is there if any song is in it.
        """
        with writing(self._root):
            self._commit()
            newest: dict[str, tuple[str, str]] = {}
            for file in read_sources(self._root):
                newest.pop(file.song, None)
                if file.damage or file.outline:
                    newest[file.song] = (file.damage, file.outline)
            songs = list(newest)
            first = first_of_the_same([lines for _, lines in newest.values()])
            again = {songs[i]: songs[first[i]] for i in np.flatnonzero(first != np.arange(len(songs)))}
            for name in (DAMAGED, SILENT, SAME):
                (self._root / name).unlink(missing_ok=True)
            listed: Counter[str] = Counter()
            for file in read_sources(self._root):
                if newest.get(file.song) != (file.damage, file.outline):
                    continue
                where = (file.song, file.path)
                if file.damage:
                    self._list(DAMAGED, ("song", "path", "reason"), (*where, file.damage))
                if file.outline == IS_SILENT:
                    self._list(SILENT, ("song", "path"), where)
                    listed[SILENT] += 1
                if file.song in again:
                    self._list(SAME, ("song", "path", "same_as"), (*where, again[file.song]))
                    listed[SAME] += 1
            (self._root / UNFINISHED).unlink(missing_ok=True)
            return listed

    def _commit(self) -> None:
        for writer in self._writers:
            writer.commit()
        if self._sources is not None:
            self._sources.commit()
        self._committed = time.monotonic()

    def _close(self) -> None:
        for writer in self._writers:
            writer.close()
        if self._sources is not None:
            self._sources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(self._root):
                self._commit()
        finally:
            self._close()
