"""What is trained, and what of it is chosen by what is held out of training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dcbmr.contract import registry
from dcbmr.contract.kinds import HOST_KINDS
from dcbmr.contract.params import LOSS_PREFIX
from dcbmr.errors import InputError
from dcbmr.evaluation.rows import OTHER_ROWS, SHUFFLED
from dcbmr.tuning.factorization import SPACE, factorization_space
from dcbmr.tuning.regressor import Given
from dcbmr.tuning.search import check_budget

OF_WORDS = frozenset(kind.name for kind in HOST_KINDS)
"""Kinds that are made of a codebook."""
_ROW_NAME = re.compile(r"\w[\w +.-]*")


@dataclass(frozen=True)
class TuneSettings:
    """Choose settings of the factorization by plays of training songs that are held out of it.

    Attributes
    ----------
    trials : whole number
        How many settings are tried.
    seconds : number
        Begin no trial after as many.
    factorization : table
        Where to look: NAME = [LOW, HIGH], or values to choose among. The number of factors, lambda and alpha
        by default.
    """

    trials: int = 50
    seconds: float | None = None
    factorization: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: dict(SPACE))

    def __post_init__(self) -> None:
        factorization_space(self.factorization)
        check_budget(self.trials, self.seconds)


@dataclass(frozen=True)
class RowTune:
    """Choose parameters of a row by training songs that are held out, by artist where artists are known.

    Attributes
    ----------
    params : table
        Where to look: NAME = [LOW, HIGH], or values to choose among. Where the regressor says, by default.
    loss_params : table
        The same for parameters of its loss.
    trials : whole number
        How many settings are tried.
    seconds : number
        Begin no trial after as many.
    heldout_fraction : number
        Share of the training songs that is held out to judge by.
    """

    params: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    loss_params: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    trials: int = 30
    seconds: float | None = None
    heldout_fraction: float = 0.2

    def __post_init__(self) -> None:
        check_budget(self.trials, self.seconds)
        if not 0 < self.heldout_fraction < 1:
            raise InputError(f"heldout_fraction must lie between 0 and 1; got {self.heldout_fraction}")

    @property
    def space(self) -> dict[str, tuple[Any, ...]] | None:
        """Where to look, as :func:`dcbmr.tune_regressor` takes it."""
        of_loss = {f"{LOSS_PREFIX}{name}": ends for name, ends in self.loss_params.items()}
        return {**self.params, **of_loss} or None


@dataclass(frozen=True)
class Row:
    """One trained row of the table.

    Attributes
    ----------
    name : str
        What it is called in the table.
    regressor : str
        One of those that `dcbmr plugins` lists.
    loss : str
        Its objective, for regressors that have a choice.
    kinds : str or several
        Kind of feature to learn from, the regressor's own by default; vectors of several are joined.
    params : table
        Its hyper-parameters; `dcbmr plugins NAME` lists them.
    loss_params : table
        Those of its loss, where it takes any.
    seeds : whole number or several
        Seeds to train it with, the experiment's random_state by default; their rows are pooled.
    tune : table
        Choose parameters by training songs that are held out: [rows.tune].
    """

    name: str
    regressor: str
    loss: str | None = None
    kinds: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    loss_params: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    tune: RowTune | None = None

    def __post_init__(self) -> None:
        if not _ROW_NAME.fullmatch(self.name):
            raise InputError(f"name must be letters, digits and - _ + . between them; got {self.name!r}")
        if self.name in OTHER_ROWS or self.name.endswith(SHUFFLED):
            raise InputError(f"name cannot be {self.name!r}: another row of the table is called so")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds, default=0) < 0:
            raise InputError(f"seeds must be different and at least 0; got {list(self.seeds)}")

    @property
    def learns_from(self) -> tuple[str, ...]:
        """The kinds of feature that it learns from."""
        return self.kinds or (registry.find_regressor(self.regressor).kind,)

    @property
    def given(self) -> Given:
        """What of it is not chosen."""
        params = {name: value for name, value in self.params.items() if name != "device"}
        return Given(self.regressor, self.loss, params, self.loss_params, self.params.get("device"))
