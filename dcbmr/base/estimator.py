"""What everything with settings and a ``fit`` shares, in scikit-learn's sense, without scikit-learn."""

from __future__ import annotations

import inspect
from typing import Any, Self

from dcbmr.errors import InputError


class Estimator:
    """Something whose constructor takes settings by name and keeps each under its name, and does no more.

    So ``sklearn.base.clone`` and searches over parameters work on it. What a fit finds is kept under names
    that end in an underscore.
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls).parameters
        return {name: parameter.default for name, parameter in parameters.items()}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name; ``deep`` is scikit-learn's, and changes nothing here."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change settings; what was fitted stays as it is until the next fit.

        Raises
        ------
        InputError
            A name that is no setting; nothing is changed then.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        )
        return f"{type(self).__name__}({', '.join(changed)})"
