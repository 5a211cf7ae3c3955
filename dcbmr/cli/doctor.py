"""``dcbmr doctor``: what this machine and installation are like, and what is wrong with them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._tables import print_rows

if TYPE_CHECKING:
    from dcbmr.doctor.selftest import Outcome
    from dcbmr.doctor.troubles import Trouble


@click.command("doctor", short_help="Say what this machine is like, and what is wrong: for a bug report.")
@click.option("--selftest", "with_selftest", is_flag=True, help="Run every kernel beside plain NumPy, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(with_selftest: bool, as_json: bool) -> None:
    """Say what this machine and installation are like, and what is known to be wrong with such.

    It is what a report of a fault should hold. With --selftest every kernel is run beside plain NumPy, in
    seconds; the exit status is 1 where one is wrong.

    \b
    Example:  dcbmr doctor
              dcbmr doctor --selftest
    """
    from dcbmr.doctor.machine import examine
    from dcbmr.doctor.selftest import selftest
    from dcbmr.doctor.troubles import troubles

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plugins that cannot be used are among the troubles
        found = examine()
        wrong = troubles(found)
    outcomes = selftest() if with_selftest else None
    if as_json:
        report = {**found, "troubles": [asdict(one) for one in wrong]}
        if outcomes is not None:
            report["selftest"] = [{**asdict(one), "is_right": one.is_right} for one in outcomes]
        click.echo(json.dumps(report, indent=2))
    else:
        _show(found, wrong, outcomes)
    if not all(one.is_right for one in outcomes or ()):
        raise click.exceptions.Exit(1)


def _show(found: Mapping[str, Any], wrong: Sequence[Trouble], outcomes: Sequence[Outcome] | None) -> None:
    for name, text in _lines(found):
        click.echo(f"{name:<16} {text}")
    if outcomes is not None:
        rows = [
            {
                "kernel": one.kernel,
                "is": "right" if one.is_right else "WRONG",
                "error": "" if one.error is None else f"{one.error:.1e}",
                "allowed": f"{one.allowed:.0e}",
                "seconds": f"{one.seconds:.2f}",
                "why": one.why,
            }
            for one in outcomes
        ]
        columns = [column for column in rows[0] if any(row[column] for row in rows)]
        print_rows([{column: row[column] for column in columns} for row in rows], form=None)
    click.echo(f"\ntroubles: {len(wrong) or 'none'}")
    for number, trouble in enumerate(wrong, 1):
        click.echo(f"{number:>3}. {trouble.what}\n     cure: {trouble.cure}")


def lines_of_installation(found: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return what is installed in a line each."""
    versions, sets = found["versions"], found["instruction_set"]
    head = ("dcbmr", "contract", "python", "platform")
    installed = [
        f"{name} {version or 'not installed'}" for name, version in versions.items() if name not in head
    ]
    return [
        ("dcbmr", f"{versions['dcbmr']}, contract {versions['contract']} of plugins"),
        ("formats", ", ".join(f"{kind} {version}" for kind, version in found["formats"].items())),
        ("Python", f"{versions['python']} on {versions['platform']}"),
        ("packages", ", ".join(installed)),
        ("instruction set", f"{sets['used']} (of {', '.join(sets['available'])}) on {sets['processor']}"),
    ]


def _lines(found: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return what was found in a line each."""
    threads, cuda = found["threads"], found["cuda"]
    codecs, memory, plugins = (found[part] for part in ("codecs", "memory", "plugins"))
    set_by_hand = [f"{name}={value}" for name, value in threads.items() if isinstance(value, str)]
    granted = threads["cores_granted"]
    runtimes = {
        api: dict.fromkeys(
            f"{one['library']} {one['version'] or ''}".strip() + f" ({one['threads']} threads)"
            for one in found["runtimes"]
            if one["api"] == api
        )
        for api in ("openmp", "blas")
    }
    packages = [f"{one['name']} ({one['package']})" for one in plugins["used"]]
    return [
        *lines_of_installation(found),
        (
            "threads",
            f"{threads['used']}; {threads['cores']} cores, {threads['cores_allowed']} for this process"
            + (f", time of {granted:g} granted" if granted else "")
            + "".join(f", {setting}" for setting in set_by_hand),
        ),
        ("OpenMP", ", ".join(runtimes["openmp"]) or "none"),
        ("BLAS", ", ".join(runtimes["blas"]) or "none"),
        (
            "CUDA",
            f"driver {cuda['driver'] or 'none'}, torch built for {cuda['torch_built_for'] or 'none'}, "
            f"devices {', '.join(cuda['devices']) or 'none'}",
        ),
        (
            "codecs",
            f"libsndfile {codecs['libsndfile']} (with {'MP3' if 'MP3' in codecs['formats'] else 'no MP3'}), "
            + (f"libavcodec {codecs['libavcodec']}" if codecs["libavcodec"] else "no PyAV"),
        ),
        (
            "memory",
            f"{memory['total']:g} GiB, {memory['available']:g} free"
            + (f", {memory['limit']:g} granted" if memory["limit"] else "")
            + f"; {memory['temporary_folder']}: {memory['temporary_free']:g} GiB free",
        ),
        ("plugins", ", ".join(packages) or "none"),
    ]
