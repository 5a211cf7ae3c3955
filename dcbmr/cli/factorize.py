"""``dcbmr factorize``: from plays to factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    at_work,
    begin,
    directory_argument,
    engine_options,
    flags_of,
    force_option,
    output_option,
    overwrite_option,
    plays_options,
    read_plays,
    say_finished,
    say_rows,
    seed_option,
    show_progress,
    threads_option,
)

if TYPE_CHECKING:
    from dcbmr.base.needs import Sizes
    from dcbmr.base.progress import Progress
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.plays.songs import SongTable


@click.command("factorize", short_help="Learn factors of users and songs from plays.")
@click.argument("plays", type=click.Path(path_type=Path), nargs=-1, required=True)
@output_option("the factors")
@plays_options
@click.option(
    "--factors", "n_factors", type=click.IntRange(min=1), default=50, show_default=True,
    help="Latent factors (the paper: 50 on its subset, 400 on all data).",
)  # fmt: skip
@click.option(
    "--alpha", type=float, default=2.0, show_default=True,
    help="Rate of the confidence 1 + alpha log(1 + plays/epsilon) (Liang et al. 2015; paper: not given).",
)  # fmt: skip
@click.option(
    "--epsilon", type=float, default=1e-6, show_default=True,
    help="Scale of the plays in the confidence (same source).",
)  # fmt: skip
@click.option(
    "--regularization", type=float, default=1e-5, show_default=True,
    help="lambda (the authors' group's own code; the paper prints none).",
)  # fmt: skip
@click.option(
    "--iterations", "n_iterations", type=click.IntRange(min=1), default=15, show_default=True,
    help="Sweeps over users and songs (Hu et al. 2008 use 10 to 15).",
)  # fmt: skip
@click.option(
    "--solver", type=click.Choice(["cholesky", "cg"]), default="cholesky", show_default=True,
    help="Solve a row exactly (Hu et al. 2008), or by conjugate gradients (Takács et al. 2011).",
)  # fmt: skip
@click.option(
    "--cg-steps", type=click.IntRange(min=1), default=3, show_default=True,
    help="Steps of solver cg a row and sweep.",
)  # fmt: skip
@click.option(
    "--tolerance", type=float, default=0.0, show_default=True,
    help="Stop when a sweep changes the objective by less than this share of it.",
)  # fmt: skip
@click.option(
    "--unobserved-weight", type=float, default=1.0, show_default=True,
    help="Confidence of a pair without plays (Rendle et al. 2022).",
)  # fmt: skip
@click.option(
    "--frequency-exponent", type=float, default=0.0, show_default=True,
    help="Scale lambda with a row's number of plays to this power (Rendle et al. 2022).",
)  # fmt: skip
@click.option(
    "--init-scale", type=float, default=0.1, show_default=True,
    help="Initial factors have standard deviation init-scale/sqrt(factors) (Rendle et al. 2022).",
)  # fmt: skip
@click.option(
    "--warm-start",
    type=directory_argument,
    metavar="FACTORS",
    help="Start from the factors of earlier plays, of the same settings: with a --tolerance, a few sweeps "
    "suffice.",
)
@click.option(
    "--songs",
    "names_file",
    type=click.Path(path_type=Path),
    metavar="SONGS.tsv",
    help="Artists and titles (columns song, artist, title), to be remembered and shown beside the ids; those "
    "of a split are.",
)
@force_option("little memory or disk, and --warm-start where less than half of the earlier plays is left.")
@threads_option
@seed_option
@overwrite_option
@engine_options
@click.option("--resume", is_flag=True, help="Continue a run that was stopped, after its last whole sweep.")
def command(
    plays: tuple[Path, ...],
    output: Path,
    warm_start: Path | None,
    names_file: Path | None,
    force: bool,
    reading: Mapping[str, Any],
    overwrite: bool,
    resume: bool,
    cluster: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Learn latent factors of users and songs from PLAYS.

    PLAYS are files of user, song and count, or logs, a row a play (TSV, CSV, plain or .gz or .zst, or
    Parquet), folders of them, or - for standard input; or a directory that `dcbmr split` wrote, whose
    training plays are then used. After each sweep the state is kept beside OUTPUT until the run is through,
    for --resume.

    With --engine ray the rows are solved by the workers of a cluster, to the bits of one machine; a run may
    be resumed with or without it. Plays in Parquet they read themselves, and hold, so that plays may be
    larger than the memory of one machine; but not with --warm-start.

    \b
    Example:  dcbmr factorize plays.tsv -o factors
              dcbmr factorize split -o factors --factors 400
              dcbmr factorize logs/ -o factors --since 2024-01-01 --min-seconds 30
              dcbmr factorize plays.tsv -o tonight --warm-start yesterday --tolerance 1e-4
              dcbmr factorize plays.tsv -o factors --engine ray --ray-address 10.0.0.1:6379
              dcbmr factorize /shared/plays.parquet/ -o /shared/factors --engine ray --ray-address auto
    """
    import shutil

    from dcbmr.base.directory import checkpoint_of, kind_of, plays_beside, read_config
    from dcbmr.errors import InputError
    from dcbmr.factorization.als import WeightedALS
    from dcbmr.plays.parts import parquet_files
    from dcbmr.plays.songs import read_songs

    als = WeightedALS(**settings)
    wanted = als.settings()
    if not begin(output, kind="factors", overwrite=overwrite, resume=resume):
        say_finished(output, wanted, read_config(output, kind="factors"))
        return
    checkpoint = checkpoint_of(output)
    named = read_songs(names_file) if names_file else None
    if len(plays) == 1 and kind_of(plays[0]) is not None and reading:
        raise InputError(f"{plays[0]} was written by dcbmr: {flags_of(reading)} is for files of plays")
    on_workers = cluster["engine"] == "ray" and warm_start is None
    state = {"checkpoint": checkpoint, "resume": resume}
    if on_workers and (files := parquet_files(plays)):
        _of_parquet(als, files, output, cluster, reading, named, state, overwrite=overwrite, force=force)
    else:
        _of_plays(
            als, plays, output, cluster, reading, named, warm_start, state, overwrite=overwrite, force=force
        )
    shutil.rmtree(checkpoint)
    shutil.rmtree(plays_beside(output), ignore_errors=True)  # of a run on workers that was killed
    click.echo(f"wrote {output}", err=True)


def _of_plays(
    als: WeightedALS,
    plays: Sequence[Path],
    output: Path,
    cluster: Mapping[str, Any],
    reading: Mapping[str, Any],
    named: SongTable | None,
    warm_start: Path | None,
    state: Mapping[str, Any],
    *,
    overwrite: bool,
    force: bool,
) -> None:
    """Factorize plays that this machine reads."""
    from dcbmr.base import needs
    from dcbmr.base.directory import kind_of
    from dcbmr.base.needs import Sizes, check_need
    from dcbmr.errors import InputError
    from dcbmr.factorization.advice import likely_far
    from dcbmr.factorization.factors import Factors
    from dcbmr.factorization.warm_start import PlaysChange
    from dcbmr.plays.confidence import confidence_quantiles
    from dcbmr.plays.split import Split

    is_split = len(plays) == 1 and kind_of(plays[0]) is not None
    given = Split.load(plays[0]) if is_split else read_plays(plays, reading)
    table = given.train if isinstance(given, Split) else given
    if not table.counts.nnz:
        raise InputError(f"{', '.join(map(str, plays))} holds no plays: every count is 0")
    sizes = Sizes(*table.counts.shape, table.counts.nnz, als.n_factors)
    _say_sizes(sizes)
    check_need(needs.of_factorize(sizes), output, force=force)
    before = Factors.load(warm_start) if warm_start is not None else None
    if before is not None:
        change = PlaysChange.of(before, table)
        click.echo(change.words(), err=True)
        if not force:
            change.check()
    quantiles = confidence_quantiles(table.counts, alpha=als.alpha, epsilon=als.epsilon)
    shown = ", ".join(f"{q:.0%}: {c:.1f} ({r:g} plays)" for q, (r, c) in quantiles.items())
    click.echo(f"confidence quantiles: {shown}", err=True)
    if advice := likely_far(als, sizes):
        click.echo(advice, err=True)
    with at_work(cluster, als.n_threads) as engine, _show_sweeps(als, state) as show:
        als.fit(given, warm_start=before, progress=show, engine=engine, **state)
    factors = als.factors_ if named is None else als.factors_.named_by(named)
    factors.save(output, overwrite=overwrite or state["resume"])


def _of_parquet(
    als: WeightedALS,
    files: Sequence[Path],
    output: Path,
    cluster: Mapping[str, Any],
    reading: Mapping[str, Any],
    named: SongTable | None,
    state: Mapping[str, Any],
    *,
    overwrite: bool,
    force: bool,
) -> None:
    """Factorize plays that the workers of an engine read, and hold."""
    from dcbmr.base import needs
    from dcbmr.base.directory import plays_beside
    from dcbmr.base.needs import check_need
    from dcbmr.factorization.advice import likely_far
    from dcbmr.factorization.als import fit_on_workers
    from dcbmr.factorization.cut_plays import cut_plays
    from dcbmr.plays.play_filter import PlayFilter

    how = dict(reading)
    columns, wanted = how.pop("columns", None), PlayFilter(**how)
    with at_work(cluster, als.n_threads) as engine, ExitStack() as held:
        assert engine is not None
        with show_progress() as bars:
            cut = cut_plays(
                engine, files, plays_beside(output), als, columns=columns, wanted=wanted, progress=bars
            )
            plays = held.enter_context(cut)
        say_rows(plays.n_rows, plays.left_out, each_is_a_play=plays.each_is_a_play)
        sizes = plays.sizes(als.n_factors)
        _say_sizes(sizes)
        check_need(needs.of_factorize_on_workers(sizes), output, force=force)
        if advice := likely_far(als, sizes):
            click.echo(advice, err=True)
        with _show_sweeps(als, state) as show:
            factors = fit_on_workers(als, plays, progress=show, **state)
        if named is not None:
            factors = factors.named_by(named)
        plays.save(factors, output, overwrite=overwrite or state["resume"])


def _say_sizes(sizes: Sizes) -> None:
    click.echo(
        f"{sizes.n_users:,} users, {sizes.n_songs:,} songs, {sizes.n_pairs:,} pairs with plays", err=True
    )


@contextmanager
def _show_sweeps(als: WeightedALS, state: Mapping[str, Any]) -> Iterator[Progress]:
    """Show each sweep with its objective, and how far it is."""
    with show_progress() as bars:

        def show(stage: str, sweep: int, n_sweeps: int | None, terms: Mapping[str, float]) -> None:
            if stage == "solve":
                bars("factorize", sweep * als.n_iterations / (n_sweeps or 1), als.n_iterations, {})
                return
            bars(stage, sweep, n_sweeps, {})
            parts = " + ".join(
                f"{name} {terms[name]:.6g}" for name in ("observed", "unobserved", "regularization")
            )
            bars.print(f"sweep {sweep}: objective {terms['total']:.6g} = {parts}; {terms['seconds']:.2f} s")
            if terms["n_retried"]:
                bars.print(f"  {terms['n_retried']:.0f} rows solved in float64")

        if not state["resume"]:
            bars("factorize", 0, als.n_iterations, {})
        yield show
