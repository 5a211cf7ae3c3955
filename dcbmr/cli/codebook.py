"""``dcbmr codebook``: learn the codewords that a bag of words counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    at_work,
    begin,
    engine_options,
    force_option,
    output_option,
    overwrite_option,
    seed_option,
    show_progress,
    threads_option,
)

if TYPE_CHECKING:
    from dcbmr.base.progress import Progress
    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.features.codebook import Codebook

_N_DIMS = 39  # of MFCCs, in the paper's settings


@click.command("codebook", short_help="Learn the codewords that a bag of words counts.")
@click.argument("source", type=click.Path(path_type=Path))
@output_option("the codebook")
@click.option(
    "--words",
    "n_words",
    type=click.IntRange(min=1),
    default=4000,
    show_default=True,
    help="How many codewords to learn (the paper's 4000).",
)
@click.option(
    "--iterations", "n_iterations", type=click.IntRange(min=0), default=25, show_default=True, help="At most."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-4,
    show_default=True,
    help="Stop when the inertia falls by less than this share.",
)
@click.option(
    "--standardize/--no-standardize",
    default=True,
    show_default=True,
    help="Measure distances in standard deviations of each dimension of the frames; as they are, codewords "
    "of MFCCs tell loudness and little else.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Frames in the random sample to learn from; a million take 330 MB.",
)
@click.option(
    "--without",
    type=click.Path(path_type=Path),
    default=None,
    help="File of songs to leave out, one a line, as heldout_songs.txt of a split.",
)
@threads_option
@engine_options
@seed_option
@overwrite_option
@force_option("little memory or disk.")
def command(
    source: Path,
    output: Path,
    max_frames: int,
    without: Path | None,
    cluster: Mapping[str, Any],
    overwrite: bool,
    force: bool,
    **settings: Any,
) -> None:
    """Learn a codebook by k-means from SOURCE.

    SOURCE is a directory of features with MFCCs, or audio: a folder or a manifest, as for featurize. Of
    audio nothing is kept but a random sample of frames.

    With --engine ray the workers of a cluster read the audio, which lies on a disk that all machines share,
    and the codewords are the same.

    \b
    Example:  dcbmr codebook music/ -o codebook --without split/heldout_songs.txt
              dcbmr featurize music/ -o words --kind bow --codebook codebook
              dcbmr codebook /shared/music -o codebook --engine ray --ray-address 10.0.0.1:6379
    """
    from dcbmr.base.directory import CONFIG
    from dcbmr.base.needs import check_need, of_codebook
    from dcbmr.features.store import FeatureStore
    from dcbmr.plays.songs import read_song_list

    is_store = (source / CONFIG).is_file()
    if is_store and cluster["engine"] != "local":
        raise click.UsageError(
            f"{source} has frames, of which a sample is soon read on one machine: leave --engine out"
        )
    begin(output, kind="codebook", overwrite=overwrite)
    left_out = read_song_list(without) if without else set()
    n_frames = (
        min(max_frames, int(FeatureStore.open(source)["mfcc"].n_frames.sum())) if is_store else max_frames
    )
    need = of_codebook(n_frames, _N_DIMS, settings["n_words"], is_streamed=not is_store)
    check_need(need, output, force=force)
    with at_work(cluster, settings["n_threads"]) as engine, show_progress() as bar:
        if is_store:
            codebook = _from_store(source, left_out, max_frames=max_frames, progress=bar, **settings)
        else:
            codebook = _from_audio(
                source, left_out, max_frames=max_frames, engine=engine, progress=bar, **settings
            )
    codebook.save(output, overwrite=overwrite)
    click.echo(
        f"{output}: {codebook.n_words} codewords, mean squared distance "
        f"{codebook.inertia_ / codebook.n_frames_:.6g} over {codebook.n_frames_} frames "
        f"of {0 if codebook.songs_ is None else len(codebook.songs_):,} songs, "
        f"{len(codebook.inertias_)} iterations"
    )


def _from_store(source: Path, left_out: set[str], **options: Any) -> Codebook:
    from dcbmr.features.codebook import fit_codebook
    from dcbmr.features.store import FeatureStore

    store = FeatureStore.open(source)["mfcc"]
    return fit_codebook(store.features([song for song in store if song not in left_out]), **options)


def _from_audio(
    source: Path,
    left_out: set[str],
    *,
    max_frames: int,
    engine: RayEngine | None,
    progress: Progress,
    **settings: Any,
) -> Codebook:
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.words import fit_codebook_to_audio

    codebook = Codebook(**settings)
    failed = fit_codebook_to_audio(
        source, codebook, max_frames=max_frames, without=left_out, engine=engine, progress=progress
    )
    for error in failed:
        click.echo(f"skipped {error}", err=True)
    return codebook
