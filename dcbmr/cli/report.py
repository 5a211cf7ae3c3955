"""``dcbmr report``: a page to look at and to listen to."""

from __future__ import annotations

from pathlib import Path

import click

from dcbmr.cli._common import (
    directory_argument,
    force_option,
    overwrite_option,
    seed_option,
    show_progress,
    threads_option,
)
from dcbmr.cli._serving import features_option, load_source, open_features, vectors_option

_path = click.Path(path_type=Path)


@click.command("report", short_help="Write a page with the song map, to look at and to listen to.")
@click.argument("source", metavar="MODEL|FACTORS|EXPERIMENT", type=directory_argument)
@click.option("-o", "--output", type=_path, required=True, help="The file to write, as report.html.")
@features_option
@vectors_option
@click.option("--songs", type=_path, help="Song, artist and title.  [default: an experiment's]")
@click.option("--tags", type=_path, help="Song, tag and, optionally, weight.  [default: an experiment's]")
@click.option(
    "--audio",
    type=_path,
    help="A folder of audio, or a manifest, to be played from where it lies.  [default: an experiment's]",
)
@click.option("--embed-audio", is_flag=True, help="Put clips of up to 200 songs into the page instead.")
@click.option("--title", help="Of the page.  [default: the name of the directory]")
@overwrite_option
@force_option("little memory or disk.")
@seed_option
@threads_option
def command(
    source: Path,
    output: Path,
    features: Path | None,
    vectors: tuple[str, ...],
    songs: Path | None,
    tags: Path | None,
    audio: Path | None,
    embed_audio: bool,
    title: str | None,
    overwrite: bool,
    force: bool,
    random_state: int,
    n_threads: int | None,
) -> None:
    """Write one HTML file that opens without a network: a map of the songs, and what is known of them.

    Songs lie near each other when the same people should like them. The page searches titles and artists,
    plays a song, and lists what is nearest to it by its listeners and by its audio (of an experiment: by its
    best model and by its linear one). Of a model on windows of frames, as cnn, it has what units hear, and
    which seconds speak for a song; of an experiment the tables, too.

    A map of 100,000 songs takes two minutes of two cores, and a gigabyte.

    \b
    Example:  dcbmr report experiments/mine -o mine.html
              dcbmr report cnn --features features --songs songs.tsv --audio audio -o cnn.html
    """
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack
    from dcbmr.report.of_experiment import is_experiment
    from dcbmr.report.report import require_report
    from dcbmr.report.write import write_report

    require_report()
    store = None
    if features or vectors:
        if is_experiment(source):
            raise click.UsageError("--features and --vectors are for models: an experiment has its own")
        loaded = load_source(source, n_threads) if vectors else None  # a model knows the kinds of vectors
        store = open_features([loaded] if isinstance(loaded, Model | Stack) else [], features, vectors)
    with show_progress() as progress:
        write_report(
            source,
            output,
            features=store,
            songs=songs,
            tags=tags,
            audio=audio,
            embed_audio=embed_audio,
            title=title or "",
            overwrite=overwrite,
            force=force,
            random_state=random_state,
            n_threads=n_threads,
            progress=progress,
        )
    click.echo(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)", err=True)
