"""Tables of any size beside the memory, for as long as they are needed."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref

import numpy as np
from numpy.typing import NDArray

from dcbmr.errors import DcbmrError

_ANY_TEXT = ("utf-8", "surrogatepass")  # also of bytes that are no UTF-8


class Scratch:
    """A database in a temporary file, which only appears where its cache is too small.

    Parameters
    ----------
    what : str
        What it keeps, for the message when there is no room for it.
    schema : str
        The statements that make its tables; text is kept in columns of type BLOB.
    """

    def __init__(self, what: str, schema: str) -> None:
        self._what = what
        self._database = sqlite3.connect("", isolation_level=None)
        pragmas = "PRAGMA journal_mode = OFF; PRAGMA cache_size = -512; -- kiB\n"
        self._database.executescript(pragmas + schema)

    def run(self, statement: str, *values: str | int) -> sqlite3.Cursor:
        """Run a statement with values for its question marks."""
        encoded = [value.encode(*_ANY_TEXT) if isinstance(value, str) else value for value in values]
        try:
            return self._database.execute(statement, encoded)
        except sqlite3.Error as error:
            raise DcbmrError(f"{self._what} could not be kept in a temporary file: {error}") from error

    def close(self) -> None:
        """Let go of everything."""
        self._database.close()


class ScratchRows:
    """Rows of numbers in a temporary file without a name, which goes when they are let go of.

    Parameters
    ----------
    what : str
        What they are, for the message when there is no room for them.
    n_columns : int
    """

    def __init__(self, what: str, n_columns: int) -> None:
        self._what, self._n_columns = what, n_columns
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the rows
        weakref.finalize(self, self._file.close)
        self._n_rows = 0
        self._map = np.empty((0, n_columns), np.float32)

    def __len__(self) -> int:
        return self._n_rows

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add rows, (n, n_columns) float32."""
        try:
            self._file.write(np.ascontiguousarray(rows, np.float32).data)
            self._file.flush()
        except OSError as error:
            raise DcbmrError(f"{self._what} could not be kept in a temporary file: {error}") from error
        self._n_rows += len(rows)

    def read(self, begin: int, end: int) -> NDArray[np.float32]:
        """Return a copy of some rows."""
        size = self._n_columns * 4
        data = os.pread(self._file.fileno(), (end - begin) * size, begin * size)
        return np.frombuffer(data, np.float32).reshape(-1, self._n_columns)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return a view of some rows, read-only."""
        if len(self._map) < self._n_rows:
            shape = self._n_rows, self._n_columns
            # A plain array over the map: slices of np.memmap are slow to make.
            self._map = np.asarray(np.memmap(self._file, np.float32, "r", shape=shape))
        return self._map[rows]


def as_text(value: bytes) -> str:
    """Return text as it was before it was kept."""
    return value.decode(*_ANY_TEXT)
