"""Times of plays: dates and times of ISO 8601, and numbers since 1970, in one unit."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from dcbmr.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Time = str | float | date  # a datetime is a date, too
WANTED = (
    "a date (2024-01-31), a time (2024-01-31T18:30, of UTC unless it says otherwise), or seconds or "
    "milliseconds since 1970"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 1e20  # nanoseconds; such a number is no time


class BadTime(ValueError):
    """A text or a number that is no time."""


def as_moment(value: Time) -> int | None:
    """Return microseconds since 1970, None where the value is no time.

    A number is in seconds, milliseconds, microseconds or nanoseconds, whichever brings it nearest to our
    days. A date is its midnight; a time without a zone is of UTC.
    """
    if isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    else:
        try:
            number = float(value)
        except ValueError:
            try:
                moment = datetime.fromisoformat(str(value).strip())
            except ValueError:
                return None
        else:
            return round(number * _unit(number)) if abs(number) < _MOST else None  # false for NaN
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((moment - _EPOCH).total_seconds() * 1e6)


def _unit(number: float) -> float:
    """Return the microseconds in the unit of a number."""
    size = abs(number)
    return 1e6 if size < 1e11 else 1e3 if size < 1e14 else 1.0 if size < 1e17 else 1e-3


def given_moment(name: str, value: Time) -> int:
    """Return what a caller gives as ``name``, as :func:`as_moment` does.

    Raises
    ------
    InputError
        It is no time, or digits that may be a date as well as seconds.
    """
    text = str(value)
    if text.isdecimal() and len(text) in (4, 8) and 1900 <= int(text[:4]) < 2100:
        raise InputError(f"{name} {text} may be a date or seconds since 1970; write the date as 2024-01-31")
    moment = as_moment(value)
    if moment is None:
        raise InputError(f"{name} {value!r} is no time; wanted {WANTED}")
    return moment


def in_words(moment: int) -> str:
    """Return a moment as people write it."""
    try:
        said = datetime.fromtimestamp(moment / 1e6, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{moment / 1e6:.0f} s since 1970"
    return said.removesuffix("+00:00").removesuffix("T00:00:00")


def moments_of(array: Any) -> Any:
    """Return an array of Arrow, of times, numbers or texts, as moments: int64, null where nothing stands.

    Raises
    ------
    BadTime
        Something stands there that is no time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if types.is_temporal(array.type):
        zone = getattr(array.type, "tz", None)
        return array.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    if not (types.is_string(array.type) or types.is_large_string(array.type)):
        return _scaled(array.cast(pa.float64()))
    texts = pc.utf8_trim_whitespace(array)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            texts.drop_null().slice(0, 1).cast(kind)  # a cast that fails is slow
            parsed = texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        return _scaled(parsed) if kind == pa.float64() else parsed.cast(pa.int64())
    return pa.array([None if text is None else _moment(text) for text in texts.to_pylist()], pa.int64())


def _moment(text: str) -> int:
    moment = as_moment(text)
    if moment is None:
        raise BadTime(f"the time {text!r} is none")
    return moment


def _scaled(array: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    missing = array.is_null().to_numpy(zero_copy_only=False)
    values: NDArray[np.float64] = array.fill_null(0).to_numpy(zero_copy_only=False)
    size = np.abs(values)
    good = size < _MOST  # false for NaN
    if not good.all():
        raise BadTime(f"the time {values[~good][0]} is none")
    units = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    return pa.array(np.rint(values * units).astype(np.int64), mask=missing)
