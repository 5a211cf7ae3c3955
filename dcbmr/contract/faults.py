"""Whose fault it is: what goes wrong in a call of a plugin is said with its name, package and version.

Every call of what a plugin offers is made inside :func:`calling`; what comes back is looked at by
:func:`fault_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dcbmr.base.directory import NO_ROOM
from dcbmr.contract.contract import LossSpec, RegressorSpec
from dcbmr.errors import DcbmrError

if TYPE_CHECKING:
    from dcbmr.contract.features import FeatureSpec


@contextmanager
def calling(
    spec: RegressorSpec | LossSpec | FeatureSpec,
    what: str,
    *,
    loss: LossSpec | None = None,
    mine: Sequence[BaseException] = (),
) -> Iterator[None]:
    """Call a plugin in this block: an exception that it does not mean to raise names it, and what to do.

    Parameters
    ----------
    spec : RegressorSpec, LossSpec or FeatureSpec
        What is called.
    what : str
        Which part of it: "fit", "save".
    loss : LossSpec, optional
        What it calls in its turn: a fault that comes from there is that one's.
    mine : sequence of BaseException
        What the host itself raised in the block, as to cancel it; it is filled until then.

    Raises
    ------
    DcbmrError
        In the place of what was raised. Errors of dcbmr, which a plugin raises on purpose, too little memory
        and full disks are let through.
    """
    try:
        yield
    except (DcbmrError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if error in mine or (isinstance(error, OSError) and error.errno in NO_ROOM):
            raise
        culprit, where = spec, what
        if loss is not None and _comes_from(error.__traceback__, loss):
            culprit, where = loss, f"{what} of regressor {spec.name!r}"
        raise DcbmrError(
            f"{named(culprit)} failed in {where}: {told(error)}; --debug shows where: tell its makers"
        ) from error


def named(spec: RegressorSpec | LossSpec | FeatureSpec) -> str:
    """Return what is offered with its package: "regressor 'nearest' of dcbmr-nearest 1.0"."""
    kinds = {RegressorSpec: "regressor", LossSpec: "loss"}
    return f"{kinds.get(type(spec), 'kind of feature')} {spec.name!r} of {spec.package or 'nobody'}"


def is_built_in(spec: RegressorSpec | LossSpec | FeatureSpec) -> bool:
    """Say whether the host brought what is offered."""
    return spec.package.partition(" ")[0] in ("", "dcbmr")


def told(error: BaseException) -> str:
    """Return an exception in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _comes_from(traceback: TracebackType | None, spec: LossSpec) -> bool:
    """Say whether an exception passed through the module of what is offered."""
    module = getattr(spec.resolve(), "__module__", None)
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == module:
            return True
        traceback = traceback.tb_next
    return False


def fault_of(made: Any, shape: tuple[int | str, ...]) -> str | None:
    """Say what came in the place of an array of float32; None for one that it may be.

    Parameters
    ----------
    made : object
        What a plugin returned.
    shape : tuple of int or str
        What was agreed on; a word where any number will do.
    """
    import numpy as np

    if not isinstance(made, np.ndarray):
        return f"a {type(made).__name__}, wanted an array of float32"
    if not np.issubdtype(made.dtype, np.floating):
        return f"dtype {made.dtype}, wanted an array of float32"
    sizes = [size if isinstance(size, int) else None for size in shape]
    if made.ndim != len(shape) or any(
        size not in (None, own) for size, own in zip(sizes, made.shape, strict=True)
    ):
        return f"shape {made.shape}, wanted ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    return None
