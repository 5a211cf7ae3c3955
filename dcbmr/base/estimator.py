"""What estimators share: settings that can be read, changed and copied, as scikit-learn's are."""

from __future__ import annotations

import inspect
from typing import Any, Self

from dcbmr.errors import InputError


class Estimator:
    """A class whose constructor takes keyword parameters and keeps each under its own name.

    ``sklearn.base.clone`` and grid searches work on it; scikit-learn itself is not needed.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every parameter by name.

        Parameters
        ----------
        deep : bool
            As in scikit-learn; there are no estimators within this one.
        """
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Change parameters, and return self; InputError when one is not known."""
        known = _parameters(type(self))
        for name, value in params.items():
            if name not in known:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name!r}; there are {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = _parameters(type(self))
        # By their text, for values that are arrays.
        changed = {
            name: text
            for name, value in self.get_params().items()
            if (text := repr(value)) != repr(defaults[name].default)
        }
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in changed.items())})"


def _parameters(estimator: type) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(estimator).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
