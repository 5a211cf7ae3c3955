"""``dcbmr plugins``: what is installed, from which package, what it can, with which parameters."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import Run
from dcbmr.cli._tables import print_rows, table_options

if TYPE_CHECKING:
    from dcbmr.contract.loading import Skipped, Spec


@click.command("plugins", short_help="List the installed regressors, losses and kinds of features.")
@click.argument("name", required=False)
@table_options
@click.pass_context
def command(context: click.Context, name: str | None, form: str | None) -> None:
    """List the installed regressors, losses and kinds of features, or what one takes and its parameters.

    What is installed and cannot be used is listed, too, and why; `dcbmr --debug plugins` shows where an
    import failed.

    \b
    Example:  dcbmr plugins
              dcbmr plugins cnn
              dcbmr plugins softmax
              dcbmr plugins mel
    """
    from dcbmr.base.version import __version__
    from dcbmr.contract import registry
    from dcbmr.contract.contract import CONTRACT_VERSION

    with warnings.catch_warnings():
        if name is None and not context.ensure_object(Run).debug:
            warnings.simplefilter("ignore")  # the list says it
        offers: list[Spec] = [*registry.regressors().values(), *registry.losses().values()]
        offers += registry.extractors().values()
    if name is None:
        rows = [_row(spec) for spec in offers]
        if form is not None:
            print_rows(rows + [_skipped_row(one) for one in registry.skipped()], form=form)
            return
        filled = [column for column in rows[0] if any(row[column] for row in rows)]
        shown = [{column: row[column] for column in filled} for row in rows]
        print_rows(shown, form=None, title=f"dcbmr {__version__}, contract {CONTRACT_VERSION}")
        for one in registry.skipped():
            click.echo(f"not used: {one}")
        return
    found = [spec for spec in offers if spec.name == name]
    if not found:
        registry.find("offer", name, {spec.name: spec for spec in offers})
    for spec in found:
        _describe(spec, form)


def _row(spec: Spec) -> dict[str, Any]:
    from dcbmr.contract import registry
    from dcbmr.contract.contract import CONTRACT_VERSION, RegressorSpec
    from dcbmr.contract.features import FeatureSpec

    offers, features = "loss", ""
    if isinstance(spec, RegressorSpec):
        offers, features = "regressor", ", ".join(registry.kinds_of(spec))
    elif isinstance(spec, FeatureSpec):
        offers, features = "feature", spec.shape
    return {
        "offers": offers,
        "name": spec.name,
        "features": features,
        "can": ", ".join(_capabilities(spec)),
        "package": spec.package,
        "contract": CONTRACT_VERSION,
        "licence": getattr(spec, "licence", ""),
        "summary": spec.summary,
    }


def _skipped_row(skipped: Skipped) -> dict[str, Any]:
    return {
        "offers": "",
        "name": skipped.plugin.name,
        "features": "",
        "can": "",
        "package": skipped.plugin.package,
        "contract": skipped.contract,
        "licence": "",
        "summary": str(skipped),
    }


def _capabilities(spec: Spec) -> list[str]:
    """Return in a few words what a regressor can that not all can."""
    words = {
        "has_users": "users of its own",
        "has_activations": "explain",
        "has_warm_start": "warm start",
        "has_peers": "many workers",
    }
    return [word for capability, word in words.items() if getattr(spec, capability, False)]


def _describe(spec: Spec, form: str | None) -> None:
    """Print the parameters of an offer; of a regressor before them, in words, what it takes and can."""
    from dcbmr.contract import registry
    from dcbmr.contract.contract import CONTRACT_VERSION, LossSpec, RegressorSpec
    from dcbmr.contract.features import FeatureSpec
    from dcbmr.contract.params import LOSS_PREFIX, describe

    prefix = LOSS_PREFIX if isinstance(spec, LossSpec) else ""
    rows = []
    for parameter, value in registry.parameters(registry.resolve(spec)).items():
        if isinstance(spec, FeatureSpec) and parameter == registry.SOURCES:
            continue
        default, set_by = repr(value.default), f"--set {prefix}{parameter}=..."
        if value.default is inspect.Parameter.empty:
            default = "required"
        if isinstance(spec, RegressorSpec) and parameter == "loss_params":
            default, set_by = "none", f"--set {LOSS_PREFIX}NAME=..."
        elif isinstance(spec, RegressorSpec) and parameter in registry.RESERVED:
            set_by = f"--{ {'random_state': 'seed'}.get(parameter, parameter) }"
        row = {"parameter": parameter, "type": describe(value.annotation), "default": default}
        rows.append({**row, "set by": set_by})
    if form is None:
        click.echo(f"{spec.name}: {spec.summary}")
        click.echo(f"  from {spec.package}, contract {CONTRACT_VERSION}")
        for line in _lines(spec):
            click.echo(f"  {line}")
    print_rows(rows, form=form)


def _lines(spec: Spec) -> list[str]:
    from dcbmr.contract import registry
    from dcbmr.contract.contract import RegressorSpec
    from dcbmr.contract.features import FeatureSpec
    from dcbmr.tuning.regressor import Given

    if isinstance(spec, FeatureSpec):
        shape = "frames in time" if spec.shape == "frames" else "one vector a song"
        takers = [name for name, other in registry.regressors().items() if other.shape == spec.shape]
        return [
            f"{shape}, stored as {'float16' if spec.dtype == '<f2' else 'float32'}",
            *([f"made of {' and '.join(spec.made_of)}"] if spec.made_of else []),
            *([f"licence of its weights: {spec.licence}"] if spec.licence else []),
            f"regressors: {', '.join(takers) or 'none'}",
        ]
    if not isinstance(spec, RegressorSpec):
        takers = [
            name for name, other in registry.regressors().items() if spec.name in registry.losses_of(other)
        ]
        return [f"regressors: {', '.join(takers) or 'none'}"]
    losses = ", ".join(registry.losses_of(spec))
    own, *others = registry.kinds_of(spec)
    return [
        f"features of shape {spec.shape!r}: {own}" + (f", or {', '.join(others)}" if others else ""),
        f"losses: {losses or 'none to choose'}",
        f"devices: {', '.join(spec.devices)}",
        *([f"can: {', '.join(cans)}"] if (cans := _capabilities(spec)) else []),
        *([f"tuned: {Given(spec.name, None, {}, {}).space(None)}"] if spec.space else []),
    ]
