"""``dcbmr train --regressor auto``: try what is installed, show the trials, keep the best."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcbmr.cli._common import begin, say_finished, show_progress
from dcbmr.cli._tables import print_rows

if TYPE_CHECKING:
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack

AUTO = "auto"
_OWN = {"loss", "settings", "kinds", "validation_fraction", "artist_weight", "n_words", "variance"} | {
    "standardize", "weighting", "codebook", "warm_start", "device",
}  # fmt: skip


def check_options_of_auto(given: Iterable[str]) -> None:
    """Raise UsageError for options, by the names of their parameters, that auto chooses itself."""
    flags = {
        option.name: option.opts[0]
        for option in click.get_current_context().command.params
        if option.name in _OWN
    }
    if chosen := [flags[name] for name in given if name in flags]:
        raise click.UsageError(
            f"--regressor {AUTO} chooses by itself what {', '.join(chosen)} would say; leave "
            f"{'it' if len(chosen) == 1 else 'them'} out, or name a regressor"
        )


def train_chosen(
    factors: Path,
    features: Path,
    output: Path,
    *,
    split: Path | None,
    songs: Path | None,
    seconds: float,
    random_state: int,
    n_threads: int | None,
    overwrite: bool,
    force: bool,
    resume: bool,
) -> Model | Stack | None:
    """Choose and train, and print the trials; None where that is finished."""
    from dcbmr.base.directory import checkpoint_of
    from dcbmr.base.needs import check_need
    from dcbmr.factorization.factors import Factors, sizes_of
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.auto import train_auto
    from dcbmr.models.candidates import candidates
    from dcbmr.models.memory import need_of_auto
    from dcbmr.models.model import KIND, KINDS
    from dcbmr.models.stack import load_model
    from dcbmr.plays.songs import read_songs
    from dcbmr.plays.split import Split

    if not begin(output, kind=KIND, replaces=KINDS, overwrite=overwrite, resume=resume):
        choice = load_model(output).config.get("choice", {})
        say_finished(output, {"random_state": random_state}, choice)
        return None
    store = FeatureStore.open(features)
    tried, _ = candidates(store)
    if tried:
        check_need(need_of_auto(store, tried, sizes_of(factors)), output, force=force)
    named = read_songs(songs) if songs else None
    learned = Factors.load(factors)
    with show_progress() as progress:
        model = train_auto(
            learned if named is None else learned.named_by(named),
            store,
            seconds=seconds,
            split=Split.load(split) if split else None,
            artists=None if named is None else named.artist_of(),
            checkpoint=checkpoint_of(output),
            resume=resume,
            n_threads=n_threads,
            random_state=random_state,
            progress=progress,
        )
    choice = model.config["choice"]
    print_rows(choice["trials"], form=None)
    for name, why in choice["not_tried"].items():
        click.echo(f"not tried: {name}: {why}", err=True)
    click.echo(f"chosen: {choice['why']}", err=True)
    return model
