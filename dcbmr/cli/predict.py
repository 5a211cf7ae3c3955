"""``dcbmr predict``: the factors of songs, from their audio."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import (
    begin,
    directory_argument,
    force_option,
    overwrite_option,
    show_progress,
    threads_option,
)
from dcbmr.cli._serving import hear_files, open_features, vectors_option
from dcbmr.cli._tables import print_rows, table_options


@click.command("predict", short_help="Predict the factors of songs from their audio.")
@click.argument("model", metavar="MODEL", type=directory_argument)
@click.argument("audio", metavar="[AUDIO]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--features", type=directory_argument, help="From `dcbmr featurize`: predict all its songs.")
@vectors_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Directory to write the predictions to, instead of printing them.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Keep the predictions in OUTPUT, which must be of this model, and predict the songs of --features "
    "that are new or have changed.",
)
@overwrite_option
@force_option("little memory or disk.")
@threads_option
@table_options
def command(
    model: Path,
    audio: tuple[Path, ...],
    features: Path | None,
    vectors: tuple[str, ...],
    output: Path | None,
    resume: bool,
    overwrite: bool,
    force: bool,
    n_threads: int | None,
    form: str | None,
) -> None:
    """Predict the factors of songs from audio files, from folders of them, or from a feature store.

    The directory holds songs.txt, one id a line, song_factors.npy, (n_songs, n_factors) float32, and a digest
    of the model; `dcbmr recommend --predicted` reads it.

    \b
    Example:  dcbmr predict cnn new.mp3 demos/ --tsv
              dcbmr predict cnn --features features -o predicted --resume
              dcbmr predict joined new.mp3 --vectors tags-of-new.parquet
    """
    if bool(audio) == (features is not None) and not (vectors and not audio):
        raise click.UsageError("give either audio files or --features, or --vectors")
    if resume and (output is None or audio):
        raise click.UsageError("--resume goes with --features and -o DIR")
    from dcbmr.base.needs import check_need
    from dcbmr.models.memory import need_of_predicting
    from dcbmr.models.stack import load_model
    from dcbmr.recommendation.predicted import SONGS, Predicted, predict_new

    kept = None
    if output is not None and not begin(output, kind=SONGS, overwrite=overwrite, resume=resume):
        kept = Predicted.load(output, model=model)
    loaded = load_model(model, n_threads=n_threads)
    store = open_features([loaded], features, vectors)
    if store is not None and not audio:
        check_need(need_of_predicting([loaded], store), output or Path(), force=force)
        with show_progress() as progress:
            made = predict_new(loaded, store, kept=kept, progress=progress)
    else:
        new = hear_files(loaded, audio, store)
        made = Predicted(new.song_ids, new.song_factors)
    songs, factors = made.song_ids, made.song_factors
    if output is not None:
        made.save(output, model=model, overwrite=overwrite or resume)
        n_new = "" if made.n_new is None else f", {made.n_new} of them new"
        click.echo(f"{output}: {len(songs)} songs{n_new}, {factors.shape[1]} factors each")
        return
    # A terminal has no room for all factors; the exact forms have them all.
    n_shown = factors.shape[1] if form else min(8, factors.shape[1])
    rows = [
        {"song": song, **{f"factor_{j}": float(row[j]) for j in range(n_shown)}}
        for song, row in zip(songs, factors, strict=True)
    ]
    left = factors.shape[1] - n_shown
    print_rows(rows, form=form, title=f"{left} more factors with --tsv, --json or -o" if left else None)
