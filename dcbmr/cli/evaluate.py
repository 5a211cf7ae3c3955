"""``dcbmr evaluate``: how well models rank songs that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    at_work,
    begin,
    directory_argument,
    engine_options,
    force_option,
    output_option,
    overwrite_option,
    seed_option,
    show_progress,
    some,
    threads_option,
)
from dcbmr.cli._serving import open_features, vectors_option
from dcbmr.cli._tables import of_column, print_evaluation, print_rows, table_options

if TYPE_CHECKING:
    from dcbmr.evaluation.groups import By


@click.command("evaluate", short_help="Score models on the songs held out, or factors on plays.")
@click.argument("models", metavar="MODEL|FACTORS...", nargs=-1, required=True, type=directory_argument)
@click.option("--split", type=directory_argument, required=True, help="From `dcbmr split`.")
@click.option("--features", type=directory_argument, help="From `dcbmr featurize`; factors need none.")
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
@click.option(
    "--baselines",
    is_flag=True,
    help="Add rows for shuffled audio, the nearest songs, a user's plays of the artist, the mean song.",
)
@click.option(
    "--tags",
    type=click.Path(path_type=Path),
    help="Song, tag and, optionally, weight: adds the user's plays of songs with the same tags.",
)
@click.option(
    "--resamples",
    "n_resamples",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Draws of users and artists, for intervals and tests; 0 for neither.",
)
@click.option(
    "--by",
    type=click.Choice(["popularity", "activity", "artist"]),
    help="Print the rows once more, by deciles of songs or of users, or new artists apart.",
)
@click.option(
    "--lists",
    "n_listed",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add what lists of every user's N best are like: coverage, Gini of exposure, popularity.",
)
@output_option("the evaluation, for `dcbmr compare`,", required=False)
@overwrite_option
@force_option("little memory or disk.")
@seed_option
@threads_option
@engine_options
@table_options
def command(
    models: tuple[Path, ...],
    split: Path,
    features: Path | None,
    vectors: tuple[str, ...],
    upper_bound: Path | None,
    k: int,
    baselines: bool,
    tags: Path | None,
    n_resamples: int,
    by: By | None,
    n_listed: int | None,
    output: Path | None,
    overwrite: bool,
    force: bool,
    random_state: int,
    n_threads: int | None,
    cluster: Mapping[str, Any],
    form: str | None,
) -> None:
    """Rank all held-out songs for every user by what each MODEL predicts from their audio.

    Prints the mean average precision at K and the area under the ROC curve, over the users that have both
    training plays and held-out plays, with 95 % intervals over users and artists, beside what random scores
    reach (drawn once, and in theory); and in words which models differ. --json and --tsv have more: recall,
    hit rate, NDCG and MRR; with --by, they have the rows of the groups alone. Models that have seen the
    held-out songs are refused.

    With FACTORS in the place of models and a split by play, ranks for every user the songs that the user has
    not played in training, beside the popularity of the songs. Factors that have seen held-out plays are
    refused.

    With --engine ray the workers of a cluster rank blocks of users, to the same figures.

    \b
    Example:  dcbmr evaluate linear cnn --split split --features features
              dcbmr evaluate cnn --split split --features features --upper-bound all-factors --json
              dcbmr evaluate cnn --split split --features features --baselines -o eval-cnn
              dcbmr evaluate factors --split warm
              dcbmr evaluate factors --split warm --engine ray --ray-address 10.0.0.1:6379
    """
    from dcbmr.base.directory import kind_of
    from dcbmr.base.needs import check_need
    from dcbmr.evaluation.evaluation import evaluate_models
    from dcbmr.evaluation.figures import metric_name
    from dcbmr.evaluation.groups import check_groups, rows_by_group
    from dcbmr.evaluation.kept import KIND
    from dcbmr.evaluation.memory import need_of_evaluation
    from dcbmr.evaluation.table import shown_groups, shown_lists, who_was_ranked
    from dcbmr.evaluation.warm import evaluate_factors
    from dcbmr.factorization.factors import Factors, sizes_of
    from dcbmr.models.memory import need_of_predicting
    from dcbmr.models.stack import load_model
    from dcbmr.plays.split import Split
    from dcbmr.plays.tags import SongTags

    if output is not None:
        begin(output, kind=KIND, overwrite=overwrite)
    elif overwrite:
        raise click.UsageError("--overwrite is for -o DIR")
    data = Split.load(split)
    if by:
        check_groups(data, by)
    need = partial(
        need_of_evaluation,
        data,
        sizes_of(models[0]).n_factors,
        len(models),
        upper_bound=upper_bound is not None,
        baselines=baselines,
        tags=tags is not None,
    )
    how: dict[str, Any] = {
        "k": k,
        "n_resamples": n_resamples,
        "n_listed": n_listed,
        "n_threads": n_threads,
        "random_state": random_state,
    }
    if all(kind_of(path) == "factors" for path in models):
        for_models = {
            "--features": features,
            "--vectors": vectors,
            "--upper-bound": upper_bound,
            "--tags": tags,
            "--baselines": baselines,
        }
        for option, given in for_models.items():
            if given:
                raise click.UsageError(f"{option} is for models, and these are factors")
        check_need(need(), output or Path(), force=force)
        factors = {str(path): Factors.load(path) for path in models}
        with at_work(cluster, n_threads) as engine, show_progress() as progress:
            evaluation = evaluate_factors(factors, data, engine=engine, progress=progress, **how)
    else:
        loaded = {str(path): load_model(path, n_threads=n_threads) for path in models}
        store = open_features(loaded.values(), features, vectors)
        if store is None:
            raise click.UsageError("models need --features, from `dcbmr featurize`, or --vectors")
        predicting = need_of_predicting(loaded.values(), store)
        check_need(need(predicting=predicting), output or Path(), force=force)
        bound = Factors.load(upper_bound) if upper_bound else None
        with at_work(cluster, n_threads) as engine, show_progress() as progress:
            evaluation = evaluate_models(
                loaded,
                data,
                store,
                upper_bound=bound,
                baselines=baselines,
                tags=SongTags.read(tags) if tags else None,
                engine=engine,
                progress=progress,
                **how,
            )
    if output is not None:
        evaluation.save(output, overwrite=overwrite)
    if form and by:
        print_rows(rows_by_group(evaluation, data, by), form=form)
    else:
        print_evaluation(evaluation.rows, form=form)
    click.echo("\n".join([who_was_ranked(evaluation.rows), *evaluation.words]), err=form is not None)
    if n_listed and not form:
        click.echo()
        print_rows(shown_lists(evaluation.rows, n_listed), form=None, title=f"lists of {n_listed}")
    if by and not form:
        click.echo()
        groups = shown_groups(rows_by_group(evaluation, data, by))
        bars = of_column(groups, metric_name("map_at_k", k))
        print_rows(groups, form=None, title=f"by {by}", bars=bars, digits={"auc": 4, "lift": 2})
    report = next(iter(evaluation.reports.values()))
    reasons = ", ".join(f"{n} {why}" for why, n in report.left_out.items())
    click.echo(f"{report.n_users_left_out} users are not in the means: {reasons}", err=True)
    for songs, what in (
        (evaluation.candidates.without_features, "held-out songs have no features and are not scored"),
        (evaluation.candidates.without_plays, "songs have features but no plays"),
    ):
        if songs:
            click.echo(f"{len(songs)} {what}: {some(data.songs.with_names(songs))}", err=True)
    if output is not None:
        click.echo(f"wrote {output}", err=True)
