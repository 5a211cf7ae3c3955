"""The conformance suite as a plugin of pytest: ``pytest --dcbmr NAME``.

Pytest imports this wherever dcbmr is installed, so that it imports nothing but pytest until it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dcbmr.testing import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("dcbmr", "conformance of plugins of dcbmr")
    group.addoption(
        "--dcbmr",
        action="append",
        default=[],
        metavar="NAME",
        help="Run the conformance suite on the regressor, loss or kind of feature NAME; repeatable. Without "
        "paths, nothing else is run.",
    )
    group.addoption(
        "--dcbmr-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A parameter of what --dcbmr names, as `dcbmr train --set` takes it; repeatable.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Run the suite alone where no path is given."""
    if config.getoption("dcbmr_set") and not config.getoption("dcbmr"):
        raise pytest.UsageError("--dcbmr-set: give --dcbmr NAME with it")
    if config.getoption("dcbmr") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)  # before -k and --lf choose among all items
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the checks of each name that was asked for."""
    for name in session.config.getoption("dcbmr"):
        suite = _Suite.from_parent(
            session, name=name, nodeid=f"dcbmr::{name}", checks=_checks(name, session.config)
        )
        items += session.genitems(suite)


def _checks(name: str, config: pytest.Config) -> dict[str, list[Check]]:
    import dcbmr
    from dcbmr.testing import named_checks

    try:
        return named_checks(name, settings=config.getoption("dcbmr_set"))
    except dcbmr.InputError as error:
        raise pytest.UsageError(f"--dcbmr {name}: {error}") from None


class _Suite(pytest.Collector):
    def __init__(self, *, checks: dict[str, list[Check]], **rest: Any) -> None:
        super().__init__(**rest)
        self.checks = checks

    def collect(self) -> Iterator[pytest.Item]:
        for what, checks in self.checks.items():
            for check in checks:
                yield _Item.from_parent(self, name=f"{what}::{check}", check=check)


class _Item(pytest.Item):
    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check

    def runtest(self) -> None:
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what a check says; of what the plugin itself raised, where."""
        error = excinfo.value
        if not isinstance(error, AssertionError):
            return super().repr_failure(excinfo)
        said = [str(error), *getattr(error, "__notes__", ())]
        if error.__cause__ is not None:
            cause = pytest.ExceptionInfo.from_exception(error.__cause__)
            said += ["", str(cause.getrepr(style="short"))]
        return "\n".join(said)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return what stands above a failure."""
        return "dcbmr", None, f"dcbmr {self.nodeid.removeprefix('dcbmr::')}"
