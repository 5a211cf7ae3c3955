"""Tensors with a header: what a fitted model is on disk, a pair of files in which nothing can be executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dcbmr.base.directory import write_json
from dcbmr.errors import InputError

T = TypeVar("T")
_NAMES = {"float32": "F32", "int32": "I32", "int64": "I64"}  # of dtypes, in safetensors


class _Named(dict[str, T]):
    """What a file holds; to ask for what is not there is InputError, which names the file and the field."""

    def __init__(self, file: Path, content: Mapping[str, T]) -> None:
        super().__init__(content)
        self._file = file

    def __missing__(self, name: str) -> T:
        raise InputError(f"{self._file} is damaged: it has no {name!r}")


def save_tensors(
    directory: Path | str,
    tensors: Mapping[str, NDArray[Any]],
    header: Mapping[str, Any],
    *,
    name: str,
    format_version: int,
) -> None:
    """Write ``name.safetensors`` and ``name.json`` into an existing directory, for :func:`load_tensors`.

    Parameters
    ----------
    directory : path
    tensors : mapping of str to ndarray
    header : mapping of str to what JSON can hold
        Settings and figures; NaN is refused.
    name : str
        Of the two files.
    format_version : int
        To be raised when tensors or header come to mean something else.
    """
    from safetensors.numpy import save_file

    directory = Path(directory)
    # Of an array that is not contiguous, safetensors would write the memory as it lies.
    contiguous = {key: np.asarray(value, order="C") for key, value in tensors.items()}
    save_file(contiguous, directory / f"{name}.safetensors")
    write_json(directory / f"{name}.json", {"format_version": format_version, **header})


def load_tensors(
    directory: Path | str, *, name: str, format_version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what :func:`save_tensors` wrote.

    Returns
    -------
    header : dict
    tensors : dict of str to ndarray
        Asked for a name that is not there, both raise InputError with the file and the name.

    Raises
    ------
    InputError
        A file is missing, damaged or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = Path(directory, f"{name}.json")
    try:
        header = json.loads(file.read_text("utf-8"))
        version = header.pop("format_version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is missing or damaged: {type(error).__name__}: {error}") from error
    if version != format_version:
        raise InputError(
            f"{file}: format_version is {version}, this package reads {format_version}; take the version of "
            "the package that wrote it, or train the model again (dcbmr train --overwrite)"
        )
    data = Path(directory, f"{name}.safetensors")
    try:
        tensors = load_file(data)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{data} is missing or damaged: {type(error).__name__}: {error}") from error
    return _Named(file, header), _Named(data, tensors)


def lay_out(
    file: Path, here: Mapping[str, NDArray[Any]], later: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
) -> dict[str, int]:
    """Write a file of safetensors but for some tensors, and return where others are to write these.

    The format: the length of a header, uint64; the header, JSON with dtype, shape and offsets of each tensor;
    the tensors.

    Parameters
    ----------
    file : Path
    here : mapping of name to ndarray
        What is written.
    later : mapping of name to (dtype, shape)
        What there is room for.

    Returns
    -------
    dict of name to int
        Bytes from the beginning of the file.
    """
    tensors = {name: (array.dtype, array.shape) for name, array in here.items()}
    tensors |= {name: (np.dtype(dtype), shape) for name, (dtype, shape) in later.items()}
    header, end = dict[str, Any](), 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": _NAMES[dtype.name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for array in here.values():
            out.write(np.ascontiguousarray(array).data)
        out.truncate(start + end)
    return {name: start + header[name]["data_offsets"][0] for name in later}
