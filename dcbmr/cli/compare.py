"""``dcbmr compare``: evaluations side by side, with tests."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dcbmr.cli._bars import Mark
from dcbmr.cli._common import directory_argument, seed_option, show_progress
from dcbmr.cli._tables import print_rows, table_options


@click.command("compare", short_help="Put evaluations side by side, with tests.")
@click.argument("evaluations", metavar="EVALUATION...", nargs=-1, required=True, type=directory_argument)
@click.option(
    "--metric",
    type=click.Choice(["map_at_k", "auc", "recall_at_k", "hit_rate_at_k", "ndcg_at_k", "mrr"]),
    default="map_at_k",
    show_default=True,
    help="What to compare.",
)
@click.option("-k", type=click.IntRange(min=1), help="Cut-off.  [default: that of the evaluations]")
@click.option("--row", "rows", multiple=True, help="Compare this row; may be given again.  [default: all]")
@click.option(
    "--pool",
    is_flag=True,
    help="Rows of one name are one row: seeds where the songs scored are the same, else folds.",
)
@seed_option
@table_options
@click.option("--latex", "form", flag_value="latex", type=click.UNPROCESSED, help="Print a LaTeX tabular.")
def command(
    evaluations: tuple[Path, ...],
    metric: str,
    k: int | None,
    rows: tuple[str, ...],
    pool: bool,
    random_state: int,
    form: str | None,
) -> None:
    """Compare the rows of what `dcbmr evaluate -o EVALUATION` wrote, on the held-out plays that all have.

    Prints each row with its 95 % interval over users and artists, its distance from the best row and the
    p-value of that (corrected after Holm for the number of pairs), and in words which rows are better than
    which; of rows that were ranked among other candidates, which figure is higher and no more. Rows of one
    name in several evaluations are told apart by these, unless pooled.

    \b
    Example:  dcbmr compare eval-cnn eval-linear
              dcbmr compare eval-fold* --pool --row cnn --row linear --latex
    """
    from dcbmr.base.text import latex_table
    from dcbmr.evaluation.comparison import compare_evaluations
    from dcbmr.evaluation.kept import Evaluation
    from dcbmr.evaluation.results import for_json
    from dcbmr.evaluation.table import shown_comparison

    if len(set(evaluations)) < len(evaluations):
        raise click.UsageError("an evaluation is given twice")
    with show_progress() as progress:
        found = compare_evaluations(
            {str(path): Evaluation.load(path) for path in evaluations},
            metric=metric,
            k=k,
            rows=rows or None,
            pool=pool,
            random_state=random_state,
            progress=progress,
        )
    if form == "json":
        click.echo(json.dumps(for_json(found.as_dict()), indent=2))
    elif form == "tsv":
        print_rows(for_json(found.rows), form="tsv")
    else:
        shown = shown_comparison(found.rows, found.metric)
        if form == "latex":
            click.echo(latex_table(shown))
        else:
            marks = [Mark(row[found.metric], row["low"], row["high"]) for row in found.rows]
            print_rows(shown, form=None, bars={found.metric: marks}, digits={"below best": 4})
    click.echo("\n".join(found.words), err=form is not None)
