"""What an experiment is to do: its rows, and everything that the table depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One trained row of the table: which regressor, with which objective and parameters."""

    name: str
    regressor: str
    loss: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


PAPER_ROWS = (
    Row("mlr", "mlr"),
    Row("linear", "linear", "mse"),
    Row("mlp", "mlp", "mse"),
    Row("cnn-mse", "cnn", "mse"),
    Row("cnn-wpe", "cnn", "wpe"),
)


@dataclass(frozen=True)
class ExperimentSettings:
    """Everything that the table depends on, beside the plays and the audio.

    Attributes
    ----------
    rows : tuple of Row
        What to train.
    n_factors, n_iterations : int
    regularization : float
        Of the factorization; see :class:`dcbmr.WeightedALS`.
    n_words : tuple of int
        Sizes of the codebook. Of several the one is taken whose linear regression, learned without the
        validation songs, ranks these best.
    heldout_fraction : float
        Share of the songs that are held out, by artist.
    validation_fraction : float
        Share of the training songs for early stopping and choice, by artist.
    k : int
        How deep a ranking the mean average precision looks at.
    random_state : int
        Seed of everything.
    """

    rows: tuple[Row, ...] = PAPER_ROWS
    n_factors: int = 50
    n_iterations: int = 15
    regularization: float = 1e-5
    n_words: tuple[int, ...] = (4000,)
    heldout_fraction: float = 0.2
    validation_fraction: float = 0.1
    k: int = 500
    random_state: int = 0

    @property
    def figure(self) -> str:
        """What the mean average precision is called in a row of the table."""
        return f"map_at_{self.k}"
