"""Plays in Parquet, part by part: which parts there are, and what one comes to by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcbmr.base.directory import kind_of
from dcbmr.errors import InputError
from dcbmr.plays.arrow import is_parquet
from dcbmr.plays.sources import STANDARD_INPUT, Source, files_of

_PART_ROWS = 1 << 23  # of which the sums take some 300 MB


@dataclass(frozen=True)
class Part:
    """Row groups of a file of Parquet."""

    file: Path
    groups: range
    n_rows: int


def parquet_files(source: Source) -> list[Path] | None:
    """Return the files of a source of plays, in their order; None where one of them is no Parquet."""
    given = [source] if isinstance(source, str | Path) else list(source)
    if any(str(path) == STANDARD_INPUT or kind_of(Path(path)) is not None for path in given):
        return None
    with files_of(source) as files:
        try:
            return [file.absolute() for file in files] if all(map(is_parquet, files)) else None
        except OSError:  # who reads it says what is wrong
            return None


def parts_of(files: Sequence[Path]) -> Iterator[Part]:
    """Yield the parts of files of Parquet, in the order of their rows; only footers are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            footer = pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        first = n_rows = 0
        for group in range(footer.num_row_groups):
            n_rows += footer.row_group(group).num_rows
            if n_rows >= _PART_ROWS or group == footer.num_row_groups - 1:
                yield Part(file, range(first, group + 1), n_rows)
                first, n_rows = group + 1, 0
