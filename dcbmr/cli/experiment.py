"""``dcbmr experiment``: one file in, the table out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dcbmr.cli._common import claim, flags_of, plays_options, show_progress, threads_option
from dcbmr.cli._experiment import print_experiment, with_names
from dcbmr.cli._tables import print_rows, table_options
from dcbmr.errors import InputError

_path = click.Path(path_type=Path)


@click.command("experiment", short_help="Run what a CONFIG.toml says: from plays and audio to the table.")
@click.argument("config", metavar="CONFIG.toml", type=_path)
@click.option(
    "-o",
    "--output",
    type=_path,
    help="Directory for the stages, which its experiments share, and for a folder of results of each.",
)
@click.option("--dry-run", is_flag=True, help="Say which stages would be made, and why, and make none.")
@click.option(
    "--init",
    is_flag=True,
    help="Write CONFIG.toml, with comments, from the data that the options below show.",
)
@click.option(
    "--plays",
    multiple=True,
    type=_path,
    help="With --init: user, song and count, or a log of plays; repeatable, or a folder.",
)
@plays_options
@click.option("--songs", type=_path, help="With --init: song, artist, title and date.")
@click.option("--tags", type=_path, help="With --init: song, tag and weight.")
@click.option("--audio", type=_path, help="With --init: a folder of audio, or a manifest.")
@click.option("--features", type=_path, help="With --init: from `dcbmr featurize`, in place of audio.")
@click.option(
    "--vectors", multiple=True, metavar="KIND=FILE", help="With --init: vectors made elsewhere; repeatable."
)
@threads_option
@table_options
def command(
    config: Path,
    output: Path | None,
    dry_run: bool,
    init: bool,
    plays: tuple[Path, ...],
    reading: Mapping[str, Any],
    songs: Path | None,
    tags: Path | None,
    audio: Path | None,
    features: Path | None,
    vectors: tuple[str, ...],
    n_threads: int | None,
    form: str | None,
) -> None:
    """Split, factorize, featurize, train and evaluate, as CONFIG.toml says.

    Prints one table, and writes results.json, report.html and links to models and features to a folder of
    OUTPUT that is called as CONFIG is. Each stage is kept in OUTPUT/stages: another run, of this file or of
    one that is much like it, makes only what depends on what has changed, and a run that was stopped goes on
    where it was.

    \b
    Example:  dcbmr experiment mine.toml --init --plays plays.tsv --songs songs.tsv --audio audio
              dcbmr experiment mine.toml -o experiments --dry-run
              dcbmr experiment mine.toml -o experiments
    """
    shown: dict[str, Any] = {
        "plays": plays, **reading, "songs": songs, "tags": tags, "audio": audio, "features": features,
        "vectors": vectors,
    }  # fmt: skip
    given = {name: value for name, value in shown.items() if value}
    if init:
        _init(config, given)
        return
    if given:
        raise click.UsageError(f"{flags_of(given)}: for --init alone")
    if output is None:
        raise click.UsageError("-o DIR is missing: where the stages and the results go")
    from dcbmr.experiment.reading import read_experiment

    wanted = read_experiment(config)
    place = output / config.stem
    if dry_run:
        from dcbmr.experiment.experiment import plan_experiment
        from dcbmr.report.due import why_report

        steps = plan_experiment(wanted, output)
        if wanted.evaluation.report:
            follows = next((f"follows {label}" for label, why in reversed(steps) if why), None)
            steps.append(("report", follows or why_report(place, wanted)))
        print_rows(
            [{"stage": label, "would run": why or "no: it is there"} for label, why in steps], form=form
        )
        return
    from dcbmr.evaluation.results import RESULTS
    from dcbmr.experiment.experiment import run_experiment
    from dcbmr.report.due import why_report
    from dcbmr.report.of_experiment import page_of_experiment
    from dcbmr.report.report import REPORT, require_report, save_page
    from dcbmr.report.sources import Sources

    if wanted.evaluation.report:
        try:
            require_report()
        except InputError as error:
            raise InputError(f"{error}; or set report = false in [evaluation] of {config}") from None
    claim(output)
    with show_progress() as bars:
        show = with_names(bars)
        experiment = run_experiment(wanted, output, name=config.stem, n_threads=n_threads, progress=show)
        if wanted.evaluation.report and why_report(place, wanted):
            show("report", 0, None, {})
            page = page_of_experiment(place, Sources(place / REPORT), n_threads=n_threads, progress=show)
            save_page(place / REPORT, page)
            show("report", 1, 1, {})
    print_experiment(experiment.results, form=form)
    wrote = f"{place / RESULTS}" + (f" and {place / REPORT}" if wanted.evaluation.report else "")
    click.echo(f"wrote {wrote}", err=True)


def _init(config: Path, given: dict[str, Any]) -> None:
    from dcbmr.experiment.initial import write_initial_config

    if "plays" not in given:
        raise click.UsageError("--init needs --plays, and --audio, --features or --vectors")
    vectors = {}
    for one in given.pop("vectors", ()):
        kind, equals, file = one.partition("=")
        if not equals:
            raise click.UsageError(f"--vectors {one}: wanted KIND=FILE")
        vectors[kind] = Path(file)
    write_initial_config(config, vectors=vectors, **given)
    click.echo(f"wrote {config}; dcbmr experiment {config} -o DIR --dry-run says what it takes", err=True)
