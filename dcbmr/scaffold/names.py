"""What a plugin may be called: a name that dcbmr, PyPI and Python take, and that nobody has yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from keyword import iskeyword

from dcbmr.contract import registry
from dcbmr.contract.kinds import HOST_KINDS
from dcbmr.errors import InputError

PREFIX = "dcbmr-"
# Lower case, as PyPI compares names; "-" and "_" only between letters and digits, as it wants.
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST = 40


@dataclass(frozen=True)
class Names:
    """The names of a package.

    Attributes
    ----------
    name : str
        What is offered: what ``--regressor``, ``--loss`` or ``--kind`` takes.
    """

    name: str

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return PREFIX + self.name.replace("_", "-")

    @property
    def identifier(self) -> str:
        """The name as Python spells it."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """What Python imports."""
        return f"dcbmr_{self.identifier}"

    @property
    def class_name(self) -> str:
        """The class that does the work."""
        return "".join(part.capitalize() for part in self.identifier.split("_"))


def checked_names(name: str, kind: str) -> Names:
    """Return the names of a new plugin.

    Parameters
    ----------
    name : str
        What it offers; "dcbmr-" in front is taken off.
    kind : {"regressor", "loss", "features"}

    Raises
    ------
    InputError
        The name cannot be one, or is taken by what is installed: the message says by whom.
    """
    names = Names(name.removeprefix(PREFIX))
    if not _NAME.fullmatch(names.name) or len(names.name) > _LONGEST or iskeyword(names.class_name):
        raise InputError(
            f"the name {name!r}: wanted a lower-case letter, then letters and digits, '-' or '_' between "
            f"them, at most {_LONGEST}, as in 'nearest' or 'tempo-map'"
        )
    if owner := _owner(names.name, kind):
        raise InputError(f"{names.name!r} is offered by {owner} already; take another name")
    if find_spec(names.module) is not None:
        raise InputError(f"there is a module {names.module} in this environment already; take another name")
    return names


def _owner(name: str, kind: str) -> str | None:
    """Return who offers a regressor, loss or kind of feature of that name; None where nobody does."""
    if kind == "features" and name in {own.name for own in HOST_KINDS}:
        return "dcbmr itself"
    offers = {"regressor": "regressors", "loss": "losses", "features": "features"}[kind]
    for plugin in registry.plugins():
        if any(spec.name == name for spec in getattr(plugin, offers)):
            return str(plugin)
    return None
