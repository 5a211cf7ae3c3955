"""What a published data set is to the toolkit: its files, wherever they lie, and what is made of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.audio.decode import is_audio
from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.plays.counts import PlayCounts, triplet_table
from dcbmr.plays.matching import match_ids
from dcbmr.plays.sums import PlaySums

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPRESSED = ("", ".gz", ".bz2", ".zst")
_BREAKS = re.compile(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set.

    Attributes
    ----------
    title : str
    page : str
        Where it is published.
    convert : callable
        Makes of its files what the toolkit reads.
    """

    title: str
    page: str
    convert: Callable[[SourceFiles, Made], None]


class SourceFiles:
    """The files of a data set, by their published names, anywhere in some folders.

    Parameters
    ----------
    sources : sequence of paths
        Folders, searched with those within, and single files. Only files that lie there are read: no name
        in a file leads elsewhere.
    dataset : PublishedDataset
        For what is said when a file is missing.

    Raises
    ------
    InputError
        A source does not exist.
    """

    def __init__(self, sources: Sequence[Path], dataset: PublishedDataset) -> None:
        self._dataset = dataset
        self._sources = ", ".join(map(str, sources))
        self._paths: dict[str, list[Path]] = {}
        self._audio: list[Path] = []
        for source in sources:
            if not source.exists():
                raise InputError(f"{source} does not exist; {self._published()}")
            for path in _walk(source):
                if is_audio(path):
                    self._audio.append(path)
                else:
                    self._paths.setdefault(path.name, []).append(path)

    def need(self, *names: str) -> list[Path]:
        """Return files that the data set cannot lack.

        Raises
        ------
        InputError
            One is missing, or there are several of a name.
        """
        found = [self.find(name) for name in names]
        if missing := [name for name, path in zip(names, found, strict=True) if path is None]:
            packed = [
                str(path)
                for name in missing
                for ending in (".zip", ".tar.gz", ".tar.bz2")
                for path in self._paths.get(name + ending, [])
            ]
            unpack = f" (unpack {', '.join(packed)})" if packed else ""
            raise InputError(f"no {' and no '.join(missing)} in {self._sources}{unpack}; {self._published()}")
        return [path for path in found if path is not None]

    def find(self, name: str) -> Path | None:
        """Return a file by its name, plain or compressed, None where there is none."""
        found = [path for ending in _COMPRESSED for path in self._paths.get(name + ending, [])]
        if len(found) > 1:
            raise InputError(
                f"several files {name}: {', '.join(map(str, found))}; give the one that is meant"
            )
        return found[0] if found else None

    def clips(self, song: Callable[[str], str | None]) -> Iterator[tuple[str, Path]]:
        """Yield the id that ``song`` finds in the name of each audio file, and the file, by path."""
        for path in sorted(self._audio):
            if (found := song(path.name)) is not None:
                yield found, path

    def another_version(self, path: Path, wanted: str, came: str) -> InputError:
        """Return the error for a file that is not of the form that is read."""
        return InputError(f"{path}: wanted {wanted}; got {came}; {self._published()}")

    def _published(self) -> str:
        return f"{self._dataset.title} is published at {self._dataset.page}"


def _walk(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    for parent, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


@dataclass
class Made:
    """What is made of a data set, in a folder.

    Attributes
    ----------
    folder : Path
    progress : Progress
    notes : list of str
        What there is to say: how much of what, and what was left out, and why.
    parts : dict
        The files, as a CONFIG.toml names them: plays, songs, tags, audio, vectors by kind; and the split,
        where the data set has one of its own.
    song_ids : list of str
        The songs with plays.
    """

    folder: Path
    progress: Progress
    notes: list[str] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    song_ids: list[str] = field(default_factory=list)

    def add_plays(self, *tables: PlayCounts) -> None:
        """Write plays, of several tables one after the other; songs without plays are left out."""
        import pyarrow.parquet as pq

        path = self.folder / "plays.parquet"
        seen: dict[str, None] = {}
        first = triplet_table(tables[0])
        with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
            for plays in tables:
                writer.write_table(triplet_table(plays))
                seen |= dict.fromkeys(plays.song_ids[played_songs(plays)])
        self.song_ids = list(seen)
        users = {user for plays in tables for user in plays.user_ids}
        n_pairs = sum(plays.counts.nnz for plays in tables)
        n_plays = sum(plays.counts.sum(dtype=np.float64) for plays in tables)
        self.notes.append(
            f"plays.parquet: {len(users):,} users, {len(self.song_ids):,} songs, {n_pairs:,} pairs, "
            f"{n_plays:,.0f} plays"
        )
        self.parts["plays"] = path

    def add_songs(self, rows: Iterable[Sequence[str]], *, columns: str = "song\tartist\ttitle") -> None:
        """Write the songs with plays, of rows of ``columns``, the first row of each."""
        path, wanted, known = self.folder / "songs.tsv", set(self.song_ids), []
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f"{columns}\n")
            for row in rows:
                if row[0] in wanted:
                    wanted.remove(row[0])
                    known.append(row[0])
                    file.write("\t".join(_BREAKS.sub(" ", cell) for cell in row) + "\n")
        self._match("songs.tsv", known, "names")
        self.parts["songs"] = path

    def add_tags(self, blocks: Iterable[tuple[Sequence[str], Sequence[str], Sequence[float]]]) -> None:
        """Write tags, of blocks of songs, tags and weights, of songs with plays."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path, wanted = self.folder / "tags.parquet", set(self.song_ids)
        tagged: dict[str, None] = {}
        ids = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema({"song": ids, "tag": ids, "weight": pa.float32()})
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for songs, tags, weights in blocks:
                keep = [place for place, song in enumerate(songs) if song in wanted]
                tagged |= dict.fromkeys(songs[place] for place in keep)
                columns = [[column[place] for place in keep] for column in (songs, tags, weights)]
                arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        if not tagged:
            path.unlink()
            self.notes.append("no song with plays has tags")
            return
        self._match("tags.parquet", list(tagged), "tags")
        self.parts["tags"] = path

    def add_audio(self, clips: Mapping[str, Path]) -> None:
        """Write a manifest of the audio of songs with plays, with whole paths."""
        if not clips:
            self.notes.append("no audio of songs with plays was found")
            return
        path = self.folder / "audio.tsv"
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write("song\tpath\n")
            for song, clip in clips.items():
                if _BREAKS.search(str(clip.absolute())):
                    raise InputError(f"{clip}: the name has a tab or a line break in it; rename it")
                file.write(f"{song}\t{clip.absolute()}\n")
        self._match("audio.tsv", list(clips), "audio")
        self.parts["audio"] = path

    def add_vectors(self, kind: str, blocks: Iterable[tuple[Sequence[str], NDArray[np.float32]]]) -> None:
        """Write vectors of songs, of blocks of ids and rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path, ids = self.folder / f"{kind}.parquet", list[str]()
        writer = None
        for songs, rows in blocks:
            values = pa.array(np.ascontiguousarray(rows).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
            table = pa.table({"song": pa.array(songs, pa.string()), "vector": vectors})
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            ids += songs
        if writer is None:
            self.notes.append("no song with plays has vectors")
            return
        writer.close()
        self._match(path.name, ids, "vectors")
        self.parts.setdefault("vectors", {})[kind] = path

    def lacks(self, name: str, so: str) -> None:
        """Say that a file that may be missing is missing, and what comes of it."""
        self.notes.append(f"no {name}: {so}")

    def _match(self, name: str, ids: Sequence[str], what: str) -> None:
        """Say how many songs with plays have something; raise InputError where none has."""
        match = match_ids(ids, self.song_ids)
        if not match.n_matched:
            raise InputError(f"{name}: {match.words('songs with plays', what)}")
        self.notes.append(f"{name}: {match.words('songs with plays', what)}")


def plays_of(sums: PlaySums) -> PlayCounts:
    """Return what was summed."""
    users, songs, counts = sums.finish()
    return PlayCounts.from_matrix(counts, users, songs)


def played_songs(plays: PlayCounts) -> NDArray[np.int64]:
    """Return the columns that hold a play."""
    return np.unique(plays.counts.indices)
