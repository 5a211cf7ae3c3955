"""How much a play count is trusted: the confidence of weighted matrix factorization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from dcbmr.errors import InputError


def check_confidence(alpha: float, epsilon: float) -> None:
    """Raise InputError unless both parameters of the confidence are finite and of the right sign."""
    if not (is_finite(alpha) and alpha > 0):
        raise InputError(f"alpha must be a positive number; got {alpha!r}")
    if not (is_finite(epsilon) and epsilon > 0):
        raise InputError(f"epsilon must be a positive number; got {epsilon!r}")


def is_finite(value: Any) -> bool:
    """Say whether a value is a number, and finite in float64."""
    try:
        return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)
    except OverflowError:  # a whole number that float64 does not reach
        return False


def surplus(counts: csr_array, *, alpha: float = 2.0, epsilon: float = 1e-6) -> csr_array:
    """Return what the confidence exceeds one by: s = c - 1 = alpha * log(1 + counts / epsilon).

    Hu, Koren and Volinsky (2008), eq. 6, as used by van den Oord et al. (2013), eq. 2. It is as sparse as
    the counts and shares their indices.

    Parameters
    ----------
    counts : csr_array, float32
        Plays.
    alpha, epsilon : float
        Rate and scale of the confidence.

    Returns
    -------
    csr_array
        Of the shape of ``counts``, float32.
    """
    check_confidence(alpha, epsilon)
    # In float64: 1 + 1e6 would lose the count's digits in float32.
    values = np.log1p(counts.data / np.float64(epsilon))
    values *= alpha
    return csr_array((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def confidence_quantiles(
    counts: csr_array,
    *,
    alpha: float = 2.0,
    epsilon: float = 1e-6,
    at: Sequence[float] = (0, 0.25, 0.5, 0.75, 0.95, 1),
) -> dict[float, tuple[float, float]]:
    """Return, for quantiles of the plays, how many plays that is and the confidence they get."""
    plays = np.quantile(counts.data, at)
    return {q: (float(r), float(1 + alpha * np.log1p(r / epsilon))) for q, r in zip(at, plays, strict=True)}
