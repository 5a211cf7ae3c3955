"""Tables of any size beside the memory, for as long as they are needed."""

from __future__ import annotations

import sqlite3

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


def as_text(value: bytes) -> str:
    """Return text as it was before it was kept."""
    return value.decode(*_ANY_TEXT)
