"""``dcbmr tune``: settings of the factorization, or of a regressor, that suit the data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    claim,
    force_option,
    is_given,
    output_option,
    plays_options,
    read_plays,
    seed_option,
    show_progress,
    threads_option,
    words_options,
)
from dcbmr.cli._tables import print_rows, table_options

if TYPE_CHECKING:
    from dcbmr.tuning.search import Tuned

_path = click.Path(path_type=Path)
_SHOWN = 5  # trials
_OF_PLAYS = ("columns", "since", "until", "min_seconds")
_OF_A_REGRESSOR = (
    "features", "loss", "settings", "kinds", "songs", "device", "n_words", "variance", "standardize",
    "weighting",
)  # fmt: skip


class _TwoUses(click.Command):
    """Says apart what settings of the factorization take, and what parameters of a regressor."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each use."""
        formatter.write_usage(ctx.command_path, "PLAYS... [OPTIONS]")
        takes = "FACTORS --regressor NAME --features FEATURES [OPTIONS]"
        formatter.write_usage(ctx.command_path, takes, prefix="or:".rjust(len("Usage:")) + " ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of both uses, and those of each."""
        uses = {"Options of PLAYS": _OF_PLAYS, "Options with --regressor": (*_OF_A_REGRESSOR, "regressor")}
        of = {name: heading for heading, names in uses.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], **{heading: [] for heading in uses}}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                sections[of.get(param.name or "", "Options")].append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


@click.command("tune", cls=_TwoUses, short_help="Choose settings of the factorization, or of a regressor.")
@click.argument("source", metavar="PLAYS...|FACTORS", type=_path, nargs=-1, required=True)
@output_option("the trials, which another run goes on from, and their table", required=False)
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="Where to look for a setting, or for loss.NAME of a loss; or NAME=VALUE, once for each value to "
    "choose among; repeatable.  [default: n_factors=8:128, regularization=0.1:10000, alpha=0.1:40; of a "
    "regressor what `dcbmr plugins NAME` says]",
)
@click.option(
    "--trials", type=click.IntRange(min=1), help="Settings to try in all.  [default: 50; with --regressor 30]"
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Begin no trial after as many.")
@click.option(
    "-k",
    type=click.IntRange(min=1),
    help="Cut-off of the recall, or of the mAP of a regressor.  [default: 20; with --regressor 500]",
)
@click.option(
    "--validation",
    "heldout_fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the plays, or with --regressor of the training songs, that is held out to judge by.  "
    "[default: 0.1; with --regressor 0.2]",
)
@plays_options
@click.option("--regressor", help="Choose its parameters; one of those that `dcbmr plugins` lists.")
@click.option("--features", type=_path, help="What it learns from, of `dcbmr featurize`.")
@click.option("--loss", help="Its objective.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter that is given, as for `dcbmr train`; repeatable.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    help="Kind of feature, as for `dcbmr train`; repeatable.",
)
@click.option(
    "--songs",
    type=_path,
    help="Table of song and artist: artists are held out, where FACTORS know none.",
)
@click.option("--device", help="Where to compute.")
@words_options
@force_option("little memory or disk.")
@seed_option
@threads_option
@table_options
def command(
    source: tuple[Path, ...],
    output: Path | None,
    ranges: tuple[str, ...],
    reading: Mapping[str, Any],
    regressor: str | None,
    form: str | None,
    trials: int | None,
    seconds: float | None,
    k: int | None,
    heldout_fraction: float | None,
    n_threads: int | None,
    random_state: int,
    force: bool,
    **of_regressor: Any,
) -> None:
    """Try settings on what is held out of training, and say which did best, and how to use them.

    Of the factorization: give PLAYS, as `dcbmr factorize` takes them, or a directory that `dcbmr split`
    wrote, whose training plays are used. Settings are judged by the recall of plays of known songs.

    Of a regressor: give FACTORS, from `dcbmr factorize`, with --regressor and --features. Its parameters are
    judged by the mAP of songs, whole artists where artists are known, that are held out of the training
    plays; the held-out songs of a split are never among them.

    What is behind after a few sweeps or epochs is given up. Prints what was chosen, how much of it mattered
    (a share of the variance of the figure), the best trials, and how to use them.

    \b
    Example:  dcbmr tune plays.tsv --seconds 60
              dcbmr tune split -o trials --range n_factors=10:400 --range regularization=1:1000
              dcbmr tune factors --regressor mlp --features features -o trials --trials 20
              dcbmr tune factors --regressor linear --features features --range regularization=1:1e6
    """
    from dcbmr.tuning.search import require_optuna

    _refuse(_OF_PLAYS if regressor else _OF_A_REGRESSOR, "PLAYS, without" if regressor else "FACTORS, with")
    require_optuna()
    if output is not None:
        claim(output)
    chosen = {"trials": trials, "seconds": seconds, "k": k}
    how = {
        **{name: value for name, value in chosen.items() if value is not None},
        "directory": output,
        "n_threads": n_threads,
        "random_state": random_state,
    }
    if regressor is None:
        if heldout_fraction is not None:
            how["validation_fraction"] = heldout_fraction
        tuned = _tune_factorization(source, reading, ranges, how, force=force)
        uses = _to_factorize(source, reading, tuned.settings)
    else:
        if heldout_fraction is not None:
            how["heldout_fraction"] = heldout_fraction
        tuned = _tune_regressor(source, regressor, ranges, how, force=force, **of_regressor)
        uses = _to_train(source[0], regressor, tuned.settings, **of_regressor)
    _print(tuned, uses, form=form)


def _refuse(names: Sequence[str], belongs: str) -> None:
    """Raise UsageError for options that were given and belong to the other use of this command."""
    options = click.get_current_context().command.params
    flags = {option.name: option.opts[0] for option in options}
    if wrong := [flags[name] for name in names if is_given(name)]:
        raise click.UsageError(f"{', '.join(wrong)}: for {belongs} --regressor")


def _tune_factorization(
    source: tuple[Path, ...],
    reading: Mapping[str, Any],
    ranges: tuple[str, ...],
    how: Mapping[str, Any],
    *,
    force: bool,
) -> Tuned:
    from dcbmr.base.directory import kind_of
    from dcbmr.base.needs import check_need
    from dcbmr.contract import registry
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.plays.split import Split
    from dcbmr.tuning.factorization import SPACE, factorization_space, tune_factorization
    from dcbmr.tuning.memory import need_of_factorizations
    from dcbmr.tuning.space import parse_ranges

    space = parse_ranges(ranges, registry.parameters(WeightedALS))
    where = factorization_space(SPACE if space is None else space)  # rather now than after long reading
    of_split = len(source) == 1 and kind_of(source[0]) == "split"
    plays = Split.load(source[0]).train if of_split else read_plays(source, reading)
    check_need(need_of_factorizations(plays, where), how["directory"] or Path(), force=force)
    with show_progress() as bars:
        return tune_factorization(plays, space=space, progress=bars, **how)


def _tune_regressor(
    source: tuple[Path, ...],
    regressor: str,
    ranges: tuple[str, ...],
    how: Mapping[str, Any],
    *,
    force: bool,
    features: Path | None,
    loss: str | None,
    settings: tuple[str, ...],
    kinds: tuple[str, ...],
    songs: Path | None,
    device: str | None,
    words: Mapping[str, Any],
) -> Tuned:
    from dcbmr.base.needs import check_need
    from dcbmr.contract import registry
    from dcbmr.contract.params import parse_regressor_settings
    from dcbmr.factorization.factors import Factors, sizes_of
    from dcbmr.features.joined import need_of, pipeline_to
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.kinds import check_kinds
    from dcbmr.plays.songs import read_songs
    from dcbmr.tuning.memory import need_of_fits
    from dcbmr.tuning.regressor import Given, tune_regressor
    from dcbmr.tuning.space import parse_ranges

    if len(source) > 1:
        raise click.UsageError("--regressor takes one directory FACTORS, from `dcbmr factorize`")
    if features is None:
        raise click.UsageError("--features is missing: what the regressor learns from")
    spec = registry.find_regressor(regressor)
    params, loss_params = parse_regressor_settings(spec, settings, loss=loss)
    given = Given(regressor, loss, params, loss_params)
    space = parse_ranges(ranges, given.known())
    seed = how["random_state"]
    pipeline = pipeline_to(kinds or spec.kind, **words, n_threads=how["n_threads"], random_state=seed)
    store = FeatureStore.open(features)
    check_kinds(spec, pipeline, store)
    need = need_of_fits(given, given.space(space), need_of(pipeline, store), sizes_of(source[0]))
    check_need(need, how["directory"] or Path(), force=force)
    factors = Factors.load(source[0])
    with show_progress() as bars:
        return tune_regressor(
            factors,
            store,
            regressor=regressor,
            space=space,
            loss=loss,
            params=params,
            loss_params=loss_params,
            pipeline=pipeline,
            artists=read_songs(songs).artist_of() if songs else None,
            device=device,
            progress=bars,
            **how,
        )


def _to_factorize(
    source: tuple[Path, ...], reading: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[str]:
    """Return how to use settings of the factorization: the command, and lines of a CONFIG.toml."""
    from dcbmr.experiment.initial import toml

    called = {"n_factors": "factors", "n_iterations": "iterations"}
    chosen = {called.get(name, name): value for name, value in settings.items()}
    options = [
        f"--{name.replace('_', '-')} {shlex.quote(str(of))}" for name, of in {**reading, **chosen}.items()
    ]
    files = shlex.join(map(str, source))
    return [
        " ".join(["dcbmr factorize", files, "-o factors", *options]),
        "or in a CONFIG.toml, under [factorization]:",
        *(f"{name} = {toml(value)}" for name, value in settings.items()),
    ]


def _to_train(
    factors: Path,
    regressor: str,
    chosen: Mapping[str, Any],
    *,
    features: Path,
    settings: tuple[str, ...],
    kinds: tuple[str, ...],
    **others: Any,
) -> list[str]:
    """Return how to use parameters of a regressor: the command, and lines of a CONFIG.toml."""
    from dcbmr.contract.params import LOSS_PREFIX, spelt
    from dcbmr.experiment.initial import toml

    named = {"loss": others["loss"], "songs": others["songs"], "device": others["device"]}
    words = {name: value for name, value in others["words"].items() if is_given(name)}
    no_standardize = ["--no-standardize"] if not words.pop("standardize", True) else []
    named |= {{"n_words": "words"}.get(name, name): value for name, value in words.items()}
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in named.items() if value is not None]
    options += no_standardize
    options += [f"--kind {kind}" for kind in kinds]
    pairs = [*settings, *(f"{name}={spelt(value)}" for name, value in chosen.items() if value is not None)]
    options += [f"--set {shlex.quote(pair)}" for pair in pairs]
    inner: dict[str, dict[str, Any]] = {"params": {}, "loss_params": {}}
    for name, value in chosen.items():
        if value is not None:
            of = "loss_params" if name.startswith(LOSS_PREFIX) else "params"
            inner[of][name.removeprefix(LOSS_PREFIX)] = value
    where = f"--factors {shlex.quote(str(factors))} --features {shlex.quote(str(features))}"
    return [
        " ".join([f"dcbmr train --regressor {regressor} {where} -o {regressor}", *options]),
        "or in a CONFIG.toml, in its [[rows]]:",
        *(f"{name} = {toml(values)}" for name, values in inner.items() if values),
    ]


def _print(tuned: Tuned, uses: list[str], *, form: str | None) -> None:
    """Print what was chosen and how much it mattered, the best trials, and how to use it."""
    print_rows(tuned.rows(), form=form)
    to_people = form is not None
    if form is None:
        shown = [{name: value for name, value in trial.items() if name != "failed"} for trial in tuned.trials]
        print_rows(shown[:_SHOWN], form=None, title="the best trials")
    failed = f", {tuned.n_failed} failed" if tuned.n_failed else ""
    click.echo(
        f"{tuned.metric}: {tuned.figure:.4f}, with the defaults {tuned.default_figure:.4f}; "
        f"{len(tuned.trials)} trials, {tuned.n_pruned} of them given up early{failed}; {tuned.seconds:.0f} s",
        err=to_people,
    )
    for trial in [trial for trial in tuned.trials if trial["failed"]][:1]:
        click.echo(f"trial {trial['trial']} failed: {trial['failed']}", err=True)
    for name, (end, low, high) in tuned.beyond.items():
        click.echo(
            f"{name} is at the end of its range, {end:g}: --range {name}={low:.4g}:{high:.4g} looks further",
            err=to_people,
        )
    if tuned.settings == tuned.defaults:
        click.echo("no trial did better than the defaults", err=to_people)
        return
    click.echo("\n".join(uses), err=to_people)
