"""``dcbmr demo``: the whole job on an embedded world of synthesized songs."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import (
    claim,
    output_option,
    overwrite_option,
    say_finished,
    seed_option,
    show_progress,
    threads_option,
)
from dcbmr.cli._experiment import print_experiment, with_names
from dcbmr.cli._tables import table_options
from dcbmr.errors import InputError

_ABOUT = (
    "An embedded world: {n_songs:,} songs by {n_artists:,} artists, really synthesized, and {n_users:,} "
    "users who play what they like and what is popular. {share:.0%} of what they like is audible only in "
    "time, as the order of notes (low or high, soft or loud, dull or bright instrument first), and not in "
    "single frames; the rest goes with the sound, in which the artists of a style are alike."
)


_SMALL = (
    "This is the small demo: it shows that everything runs, and its songs and trainings are too few to tell "
    "one model from another, or from chance."
)

_NO_TORCH = (
    "without the networks {names}, which need torch: pip install 'dcbmr[torch]', then this command with "
    "--resume adds them"
)


@click.command("demo", short_help="Do the whole job on a world of synthesized songs.")
@output_option("everything")
@click.option(
    "--size",
    type=click.Choice(["small", "default"]),
    default="default",
    show_default=True,
    help="small: within a minute, without a claim to quality.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=None,
    help="Part of what people like that is audible only in time.  [default: 0.5]",
)
@seed_option
@threads_option
@overwrite_option
@click.option("--resume", is_flag=True, help="Continue what was interrupted.")
@table_options
def command(
    output: Path,
    size: str,
    share: float | None,
    random_state: int,
    n_threads: int | None,
    overwrite: bool,
    resume: bool,
    form: str | None,
) -> None:
    """Synthesize songs, let users play them, and learn to recommend songs that nobody has played.

    Makes a world whose truth is known: artists, songs as audio files, users with tastes. Then it runs what
    the other commands run: split by artist, factorize, featurize, train, evaluate. Prints one table; writes
    results.json and report.html. Without torch it leaves the networks out, and without the extra `report` the
    page, and says so.

    \b
    Example:  dcbmr demo -o demo
              dcbmr demo -o demo-small --size small
    """
    if overwrite and resume:
        raise click.UsageError("--resume and --overwrite exclude each other")
    from dcbmr.base.directory import kind_of
    from dcbmr.evaluation.results import RESULTS
    from dcbmr.experiment.demo import (
        demo_config,
        demo_settings,
        has_all_rows,
        left_out,
        read_demo_record,
        run_demo,
    )
    from dcbmr.experiment.experiment import KIND
    from dcbmr.report.of_experiment import page_of_experiment
    from dcbmr.report.report import REPORT, require_report, save_page
    from dcbmr.report.sources import Sources

    no_report = ""
    try:
        require_report()
    except InputError as error:
        no_report = str(error)
    config = demo_config(size, share=share, random_state=random_state)
    assert config.world is not None
    claim(output, can_resume=lambda: kind_of(output) == KIND)
    has_report = bool(no_report) or (output / REPORT).is_file()
    if resume and has_report and has_all_rows(output, config):
        say_finished(output, demo_settings(config), read_demo_record(output))
        return
    with show_progress() as bars:
        show = with_names(bars)
        experiment = run_demo(
            output,
            config,
            n_threads=n_threads,
            overwrite=overwrite,
            resume=resume,
            progress=show,
        )
        if not no_report:
            show("report", 0, None, {})
            page = page_of_experiment(
                output,
                Sources(output / REPORT),
                title="dcbmr demo",
                about=f"{_ABOUT.format_map(vars(config.world))} {_SMALL if size == 'small' else ''}".rstrip(),
                n_threads=n_threads,
                progress=show,
            )
            save_page(output / REPORT, page)
            show("report", 1, 1, {})
    print_experiment(experiment.results, form=form)
    if size == "small":
        click.echo(_SMALL, err=True)
    if left_out():
        click.echo(_NO_TORCH.format(names=" and ".join(left_out())), err=True)
    if no_report:
        click.echo(f"no {REPORT}: {no_report}, then this command with --resume", err=True)
    click.echo(f"wrote {output / RESULTS}{'' if no_report else f' and {output / REPORT}'}", err=True)
