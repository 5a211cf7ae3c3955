"""Columns of Arrow, as Parquet files and frames hold them: which is what, as ids and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from dcbmr.plays.columns import Columns, Layout, choose_columns, parse_columns, refusal
from dcbmr.plays.numbers import check_numbers

ID_TYPE = pa.dictionary(pa.int32(), pa.string())


def is_parquet(path: Path) -> bool:
    """Say whether a file is Parquet, by its first bytes."""
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def columns_of(where: object, layout: Layout, schema: Any, columns: Columns) -> list[str | None]:
    """Return the name of the column of each role, None for one that need not be and is not there.

    Parameters
    ----------
    where : object
        What the table is called in an error.
    layout : Layout
    schema : pyarrow.Schema
    columns
        As the caller named them.

    Raises
    ------
    InputError
        The names are not understood, or a column holds something else than its role asks for.
    """
    named = parse_columns(layout, columns)
    names = schema.names
    places = choose_columns(where, layout, None if _unnamed(names) else names, len(names), named)
    labels = {
        role: names[place] for role, place in zip(layout.all_roles, places, strict=True) if place is not None
    }
    for role, label in labels.items():
        kind = schema.field(label).type
        if in_words(kind) in (*_FITTING.get(role, _FITTING_IDS), "nothing"):
            continue
        named = {**labels, role: role.upper()}
        others = [f"{role}={named[role]}" if role in layout.by_name else named[role] for role in named]
        is_number = role in ("count", "weight", "seconds")
        wanted = f"no {role}s" if is_number else f"no texts or numbers that could name a {role}"
        raise refusal(where, layout, f"column {label!r} holds {in_words(kind)}, {wanted}", others)
    return [None if place is None else names[place] for place in places]


def check_counts(where: object, layout: Layout, batch: Any, columns: Columns) -> None:
    """Raise InputError when the last column of a batch looks like times or, unnamed, like identifiers."""
    names = batch.schema.names
    values = as_numbers(batch.column(len(names) - 1)).drop_null().to_numpy()
    check_numbers(where, layout, names, values, by_place=columns is None and _unnamed(names))


def _unnamed(names: Sequence[str]) -> bool:
    """Say whether columns have numbers for names, as those of a frame that was given none."""
    return all(name.isdecimal() for name in names)


def as_ids(array: Any) -> Any:
    """Return a DictionaryArray of str, numbered by int32."""
    if not types.is_dictionary(array.type):
        array = array.cast(pa.string()).dictionary_encode()
    ids = pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary.cast(pa.string()))
    ids.validate(full=True)  # Parquet's reader looks neither at UTF-8 nor at what a dictionary has
    return ids


def compacted(ids: Any) -> Any:
    """Return a DictionaryArray without entries that no row has, in the order of their first appearance."""
    used = ids.indices.unique()
    numbers = np.empty(len(ids.dictionary), np.int32)
    numbers[used.to_numpy()] = np.arange(len(used), dtype=np.int32)
    indices = pa.array(numbers[ids.indices.to_numpy()])
    return pa.DictionaryArray.from_arrays(indices, ids.dictionary.take(used))


def as_numbers(array: Any) -> Any:
    """Return an array of float64."""
    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array.cast(pa.float64())


def in_words(kind: Any) -> str:
    """Return what a column of an Arrow type holds."""
    if types.is_dictionary(kind):
        return in_words(kind.value_type)
    for words, tests in _WORDS.items():
        if any(test(kind) for test in tests):
            return words
    return f"values of type {kind}"


_FITTING_IDS = ("texts", "bytes", "numbers")
_FITTING: dict[str, Sequence[str]] = {
    "count": ("numbers",), "weight": ("numbers",), "seconds": ("numbers", "texts"),
    "time": ("times", "numbers", "texts"),
}  # fmt: skip
_WORDS: dict[str, Sequence[Any]] = {
    "texts": (types.is_string, types.is_large_string, types.is_string_view),
    "numbers": (types.is_integer, types.is_floating, types.is_decimal),
    "times": (types.is_temporal,),
    "bytes": (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary),
    "yes or no": (types.is_boolean,),
    "nothing": (types.is_null,),
    "lists or records": (types.is_nested,),
}
