"""Triplets of user, song and count out of arrays and frames; no library that made them is imported."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dcbmr.errors import InputError
from dcbmr.plays.columns import ARRAYS_OF_PLAYS, FRAME_OF_PLAYS
from dcbmr.plays.readers import triplets_of

if TYPE_CHECKING:
    from dcbmr.plays.columns import Columns
    from dcbmr.plays.readers import Triplets


def triplets_of_arrays(users: Any, songs: Any, counts: Any, columns: Columns) -> Triplets:
    """Return what ``PlayCounts.from_triplets`` makes of three arrays."""
    if songs is None or counts is None or columns is not None:
        raise InputError("wanted users, songs and counts, or one frame that holds them and, for it, columns")
    arrays = dict(zip(ARRAYS_OF_PLAYS.roles, (users, songs, counts), strict=True))
    table = {role: _column(role, values) for role, values in arrays.items()}
    if len({len(values) for values in table.values()}) > 1:
        lengths = ", ".join(f"{len(values):,} of {role}s" for role, values in table.items())
        raise InputError(f"users, songs and counts must have one length; got {lengths}")
    return triplets_of("the triplets", pa.table(table), ARRAYS_OF_PLAYS, None)


def triplets_of_frame(frame: Any, columns: Columns) -> Triplets:
    """Return what ``PlayCounts.from_triplets`` makes of one frame."""
    return triplets_of("the frame", _table(frame), FRAME_OF_PLAYS, columns)


def _table(frame: Any) -> pa.Table:
    if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        with suppress(pa.ArrowException, TypeError, ValueError):
            return pa.table(frame)
    if getattr(frame, "ndim", 2) != 2 or not hasattr(frame, "keys"):
        raise InputError(
            "wanted three arrays (users, songs, counts), or one frame with columns; got one "
            f"{type(frame).__name__}"
        )
    # Mappings, frames from before the stream, and columns of mixed objects, which pandas may have.
    return pa.table({str(name): _column(str(name), frame[name]) for name in frame.keys()})  # noqa: SIM118


def _column(name: str, values: Any) -> Any:
    """Return values as an array of Arrow; what is of several types becomes str."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise InputError(f"{name} must be an array or a list; got {values!r:.50}")
    if getattr(values, "ndim", 1) != 1:
        raise InputError(f"{name} must have one dimension; got shape {values.shape}")
    try:
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError):
        return pa.array([None if value is None else str(value) for value in values])
