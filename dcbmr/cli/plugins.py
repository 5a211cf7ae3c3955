"""``dcbmr plugins``: what is installed, from which package, with which parameters."""

from __future__ import annotations

import inspect
from typing import Any

import click

from dcbmr.cli._common import print_rows, table_options


@click.command("plugins", short_help="List the installed regressors and losses.")
@click.argument("name", required=False)
@table_options
def command(name: str | None, form: str | None) -> None:
    """List the installed regressors and losses, or the parameters of one.

    \b
    Example:  dcbmr plugins
              dcbmr plugins cnn
    """
    from dcbmr.contract import registry

    specs: dict[str, list[Any]] = {}
    rows = []
    for plugin in registry.plugins():
        for kind, offers in (("regressor", plugin.regressors), ("loss", plugin.losses)):
            for spec in offers:
                specs.setdefault(spec.name, []).append(spec)
                rows.append(
                    {
                        "kind": kind,
                        "name": spec.name,
                        "package": f"{plugin.distribution} {plugin.version}",
                        "summary": spec.summary,
                    }
                )
    # Asking for both maps reports two owners of one name.
    installed = [*registry.regressors(), *registry.losses()]
    if name is None:
        print_rows(sorted(rows, key=lambda row: (row["kind"] != "regressor", row["name"])), form=form)
        return
    if name not in specs:
        raise click.UsageError(f"no plugin offers {name!r}; installed: {', '.join(installed)}")
    for spec in specs[name]:
        _print_parameters(spec, form)


def _print_parameters(spec: Any, form: str | None) -> None:
    from dcbmr.contract import registry
    from dcbmr.contract.params import describe

    rows = [
        {
            "parameter": parameter,
            "type": describe(value.annotation),
            "default": "required" if value.default is inspect.Parameter.empty else repr(value.default),
            "set by": f"--{ {'random_state': 'seed'}.get(parameter, parameter) }"
            if parameter in registry.RESERVED
            else f"--set {parameter}=...",
        }
        for parameter, value in registry.parameters(registry.resolve(spec)).items()
    ]
    print_rows(rows, form=form, title=f"{spec.name}: {spec.summary}")
