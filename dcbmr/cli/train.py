"""``dcbmr train``: learn song factors from features."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._auto import AUTO, check_options_of_auto, train_chosen
from dcbmr.cli._common import (
    at_work,
    begin,
    directory_argument,
    engine_options,
    force_option,
    is_given,
    output_option,
    overwrite_option,
    say_finished,
    seed_option,
    show_progress,
    threads_option,
    words_options,
)

if TYPE_CHECKING:
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack


@click.command("train", short_help="Train a regressor from features to song factors.")
@click.option(
    "--regressor",
    required=True,
    help="One of those that `dcbmr plugins` lists, or auto: what is installed is tried on artists held out "
    "in turn, and the best, or a mean of the best, is trained.",
)
@click.option(
    "--loss", default=None, help="Objective, for regressors that have a choice; `dcbmr plugins` lists them."
)
@click.option("--factors", type=click.Path(path_type=Path), required=True, help="From `dcbmr factorize`.")
@click.option("--features", type=click.Path(path_type=Path), required=True, help="From `dcbmr featurize`.")
@output_option("the model")
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    default=None,
    help="From `dcbmr split`: factors that have seen its held-out songs are refused, and validation songs "
    "are chosen by artist if it knows artists.",
)
@click.option(
    "--songs",
    type=click.Path(path_type=Path),
    default=None,
    help="SONGS.tsv (song, artist, title): validation songs, and those that auto holds out, are chosen by "
    "artist, --artist-weight finds the songs of one, and the model remembers artists and titles.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Hyper-parameter of the regressor, or loss.NAME=VALUE of its loss; repeatable. `dcbmr plugins NAME` "
    "lists them.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    help="Kind of feature to train on, any of the regressor's shape: mel or mfcc, bow or bow_pca, or another "
    "that FEATURES has. Vectors are standardized on the training songs: each dimension, or an embedding (of "
    "--vectors: columns without names) as a whole. Repeated, vectors of several kinds side by side; songs "
    "that lack vectors of --vectors have the mean there.  [default: the regressor's own]",
)
@click.option(
    "--validation",
    "validation_fraction",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the training songs for early stopping and model choice.",
)
@click.option(
    "--artist-weight",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="A song's prediction is so much the mean over the songs of its artist in FEATURES, and for the rest "
    "its own. Needs artists: of --songs, or of --split.",
)
@words_options
@click.option(
    "--codebook",
    type=click.Path(path_type=Path),
    default=None,
    help="From `dcbmr codebook`, learned --without the held-out songs, or it is refused: FEATURES then hold "
    "its words (`dcbmr featurize --kind bow`).",
)
@click.option(
    "--warm-start",
    type=directory_argument,
    metavar="MODEL",
    help="Start from a model of the same regressor and settings, for those that can (`dcbmr plugins` says "
    "which); what prepares the features is the model's.",
)
@click.option(
    "--device", default=None, help="Where to compute, for regressors that have a choice: auto, cpu, cuda, ..."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    help="For all that auto does. What it chooses is the same every time only where they suffice.",
)
@seed_option
@threads_option
@engine_options
@overwrite_option
@force_option("little memory or disk.")
@click.option("--resume", is_flag=True, help="Continue a training of the same settings that was killed.")
@click.pass_context
def command(
    context: click.Context,
    regressor: str,
    loss: str | None,
    factors: Path,
    features: Path,
    output: Path,
    split: Path | None,
    songs: Path | None,
    settings: tuple[str, ...],
    kinds: tuple[str, ...],
    validation_fraction: float,
    artist_weight: float,
    words: Mapping[str, Any],
    codebook: Path | None,
    warm_start: Path | None,
    device: str | None,
    seconds: float,
    random_state: int,
    n_threads: int | None,
    cluster: Mapping[str, Any],
    overwrite: bool,
    force: bool,
    resume: bool,
) -> None:
    """Train a regressor on the songs that have both plays and features.

    With --engine ray the workers of a cluster share the songs of each batch, as networks can: what they learn
    follows one machine within the noise of summation. FEATURES and the output lie on a disk that all machines
    share.

    \b
    Example:  dcbmr train --regressor auto --factors factors --features features --songs songs.tsv -o model
              dcbmr train --regressor cnn --loss mse --factors factors --features features -o cnn
              dcbmr train --regressor linear --factors factors --features features -o linear
              dcbmr train --regressor linear --kind bow_pca --kind tags --factors factors \\
                  --features features -o joined
              dcbmr train --regressor cnn --factors tonight --features features --warm-start cnn \\
                  --set epochs=5 -o cnn-tonight
              dcbmr train --regressor cnn --factors factors --features /shared/features -o /shared/cnn \\
                  --engine ray --ray-address 10.0.0.1:6379
    """
    from dcbmr.base.directory import checkpoint_of, read_config
    from dcbmr.base.needs import check_need
    from dcbmr.contract import registry
    from dcbmr.contract.params import parse_regressor_settings
    from dcbmr.factorization.factors import Factors, sizes_of
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.joined import need_of, pipeline_to
    from dcbmr.features.store import FeatureStore
    from dcbmr.models.fitting import check_can_share
    from dcbmr.models.kinds import check_kinds
    from dcbmr.models.memory import need_of_training
    from dcbmr.models.model import KIND, KINDS, VERSION, Model
    from dcbmr.models.training import train, training_songs
    from dcbmr.models.warm_start import check_can_start
    from dcbmr.plays.songs import read_songs
    from dcbmr.plays.split import Split

    given = [name for name in context.params if is_given(name)]
    if regressor == AUTO:
        check_options_of_auto(given)
        if cluster != {"engine": "local"}:
            raise click.UsageError(
                f"--regressor {AUTO} works on one machine: leave --engine out, or name a regressor"
            )
        trained = train_chosen(
            factors,
            features,
            output,
            split=split,
            songs=songs,
            seconds=seconds,
            random_state=random_state,
            n_threads=n_threads,
            overwrite=overwrite,
            force=force,
            resume=resume,
        )
        if trained is not None:
            _keep(trained, output, overwrite=overwrite or resume)
        return
    if "seconds" in given:
        raise click.UsageError(f"--seconds is for --regressor {AUTO}; leave it out")
    spec = registry.find_regressor(regressor)
    if cluster["engine"] != "local":
        check_can_share(spec)
    if warm_start is not None:
        check_can_start(spec)
        _refuse_own_features(given)
    params, loss_params = parse_regressor_settings(spec, settings, loss=loss)
    pipeline = pipeline_to(
        kinds or spec.kind,
        **words,
        codebook=Codebook.load(codebook) if codebook else None,
        n_threads=n_threads,
        random_state=random_state,
    )
    if not begin(output, kind=KIND, replaces=KINDS, overwrite=overwrite, resume=resume):
        made = read_config(output, kind=KIND, version=VERSION)
        # The seed has a place of its own, and where it was computed makes no other model.
        kept = {
            name: value for name, value in made["params"].items() if name not in ("random_state", "device")
        }
        chosen = {"loss": loss, "loss_params": loss_params}
        wanted = {
            "regressor": regressor,
            "params": params | {name: value for name, value in chosen.items() if value},
            **pipeline.settings(),
            "random_state": random_state,
            "validation_fraction": validation_fraction,
        }
        say_finished(output, wanted, {**made, "params": kept})
        return
    checkpoint = checkpoint_of(output)
    start = None if warm_start is None else Model.load(warm_start, n_threads=n_threads)
    if start is not None:
        pipeline = start.pipeline
    store = FeatureStore.open(features)
    check_kinds(spec, pipeline, store)
    to_fit = registry.get_regressor(regressor, **params, **({} if loss is None else {"loss": loss}))
    need = need_of_training(spec, to_fit, need_of(pipeline, store), sizes_of(factors))
    check_need(need, output, force=force)
    named = read_songs(songs) if songs else None
    learned = Factors.load(factors)
    if named is not None:
        learned = learned.named_by(named)
    both = training_songs(learned, pipeline.songs_in(store))
    click.echo(f"training on {len(both.song_ids):,} songs, {both.left_out()}", err=True)
    gpus = 1 if device == "cuda" else 0
    with at_work(cluster, n_threads, n_gpus=gpus) as engine, show_progress() as progress:
        model = train(
            learned,
            store,
            regressor=regressor,
            loss_params=loss_params,
            loss=loss,
            params=params,
            pipeline=pipeline if start is None else None,
            warm_start=start,
            split=Split.load(split) if split else None,
            artists=None if named is None else named.artist_of(),
            validation_fraction=validation_fraction,
            artist_weight=artist_weight,
            device=device,
            checkpoint=checkpoint,
            resume=resume,
            n_threads=n_threads,
            random_state=random_state,
            engine=engine,
            progress=progress,
        )
    _keep(model, output, overwrite=overwrite or resume)


def _keep(model: Model | Stack, output: Path, *, overwrite: bool) -> None:
    """Write a model, and do away with the checkpoints that it was made by."""
    from dcbmr.base.directory import checkpoint_of

    model.save(output, overwrite=overwrite)
    shutil.rmtree(checkpoint_of(output))
    click.echo(f"wrote {output}", err=True)


def _refuse_own_features(given: Iterable[str]) -> None:
    """Refuse what says how features are prepared, where the model to start from says it."""
    names = {"kinds": "kind", "n_words": "words"} | {
        name: name for name in ("variance", "standardize", "weighting", "codebook")
    }
    if flags := [f"--{names[name]}" for name in given if name in names]:
        raise click.UsageError(f"with --warm-start, {', '.join(flags)} is the model's: leave it out")
