"""``dcbmr evaluate``: how well models rank songs that they have not seen."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import (
    directory_argument,
    print_rows,
    seed_option,
    show_progress,
    some,
    table_options,
    threads_option,
)
from dcbmr.cli._serving import open_features, vectors_option


@click.command("evaluate", short_help="Score models on the songs held out.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=directory_argument)
@click.option("--split", type=directory_argument, required=True, help="From `dcbmr split`.")
@click.option("--features", type=directory_argument, help="From `dcbmr featurize`.")
@vectors_option
@click.option(
    "--upper-bound",
    type=directory_argument,
    metavar="FACTORS_OF_ALL",
    help="Factors of all plays, held-out songs included: adds the row that audio cannot surpass.",
)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Cut-off of the mean average precision.",
)
@seed_option
@threads_option
@table_options
def command(
    models: tuple[Path, ...],
    split: Path,
    features: Path | None,
    vectors: tuple[str, ...],
    upper_bound: Path | None,
    k: int,
    random_state: int,
    n_threads: int | None,
    form: str | None,
) -> None:
    """Rank all held-out songs for every user by what each MODEL predicts from their audio.

    Prints the mean average precision at K and the area under the ROC curve, over the users that have both
    training plays and held-out plays, beside what random scores reach (drawn once, and in theory). Models
    that have seen the held-out songs are refused.

    \b
    Example:  dcbmr evaluate linear cnn --split split --features features
              dcbmr evaluate cnn --split split --features features --upper-bound all-factors --json
    """
    from dcbmr.evaluation.evaluation import evaluate_models
    from dcbmr.factorization.factors import Factors
    from dcbmr.models.stack import load_model
    from dcbmr.plays.split import Split

    if features is None and not vectors:
        raise click.UsageError("give --features, or --vectors")
    data = Split.load(split)
    loaded = {str(path): load_model(path, n_threads=n_threads) for path in models}
    store = open_features(loaded.values(), features, vectors)
    assert store is not None
    bound = Factors.load(upper_bound) if upper_bound else None
    with show_progress() as progress:
        evaluation = evaluate_models(
            loaded,
            data,
            store,
            k=k,
            upper_bound=bound,
            n_threads=n_threads,
            random_state=random_state,
            progress=progress,
        )
    print_rows(evaluation.rows, form=form)
    report = next(iter(evaluation.reports.values()))
    reasons = ", ".join(f"{n} {why}" for why, n in report.left_out.items())
    click.echo(f"{report.n_users_left_out} users are not in the means: {reasons}", err=True)
    for songs, what in (
        (evaluation.candidates.without_features, "held-out songs have no features and are not scored"),
        (evaluation.candidates.without_plays, "songs have features but no plays"),
    ):
        if songs:
            click.echo(f"{len(songs)} {what}: {some(songs)}", err=True)
