"""``dcbmr featurize``: audio files to features, and vectors that were made elsewhere into their store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcbmr.cli._common import (
    at_work,
    claim,
    engine_options,
    flags_of,
    force_option,
    output_option,
    plays_options,
    read_plays,
    show_progress,
    threads_option,
)

if TYPE_CHECKING:
    from dcbmr.features.featurize import FeaturizeReport
    from dcbmr.features.store import FeatureStore


@click.command("featurize", short_help="Extract features from audio: spectra, MFCCs, what plugins offer.")
@click.argument("audio", type=click.Path(path_type=Path), required=False)
@output_option("the features", required=False)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    help="What to extract, one of the features that `dcbmr plugins` lists, or bow; repeatable. Of --vectors, "
    "what to call them.  [default: mel, mfcc]",
)
@click.option(
    "--vectors",
    "vectors_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of AUDIO: vectors made elsewhere, one a song, as .npy with the ids beside it in .ids.txt, "
    ".npz (ids, vectors), Parquet, TSV or CSV.",
)
@click.option(
    "--plays",
    "plays_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plays to compare the ids of --vectors with: how many match, and why others do not; repeatable, as "
    "for `dcbmr factorize`.",
)
@plays_options
@click.option(
    "--codebook",
    type=click.Path(path_type=Path),
    default=None,
    help="Whose codewords the kind bow counts; see dcbmr codebook.",
)
@click.option(
    "--set",
    "to_set",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the extractors that have it, or KIND.NAME=VALUE of one; repeatable. `dcbmr plugins "
    "KIND` lists them.  [default: the paper's]",
)
@click.option("--offset", type=float, default=0.0, help="Seconds to skip in each file.")
@click.option("--duration", type=float, default=None, help="Seconds to read of each file.  [default: all]")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that a plugin may take for one file, which fails if it takes longer.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue what was interrupted, or look for new, changed and deleted files.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="With --resume, take songs out also where more than half of the files are gone: else a disk may be "
    "missing.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace what was made of audio, if it exists, or with --vectors the vectors of that name; other "
    "vectors that were brought stay.",
)
@force_option("little disk.")
@threads_option
@engine_options
@click.option(
    "--check",
    "to_check",
    type=click.Path(path_type=Path),
    default=None,
    help="Verify that existing features are finished and undamaged, and do nothing else.",
)
@click.option(
    "--repair",
    "to_repair",
    is_flag=True,
    help="With --check: make what is damaged again, of the same files.",
)
def command(
    audio: Path | None,
    output: Path | None,
    kinds: tuple[str, ...],
    vectors_file: Path | None,
    plays_files: tuple[Path, ...],
    reading: Mapping[str, Any],
    resume: bool,
    to_check: Path | None,
    to_repair: bool,
    **options: Any,
) -> int:
    """Extract features from AUDIO: log-mel spectra and MFCCs, or other kinds that are installed.

    With --vectors, add vectors of any origin to the features: what is known of tags, lyrics, years.

    AUDIO is a folder, searched recursively, or a manifest: TSV or CSV with the columns song and path (from
    the manifest's folder on), and others that are passed over. In a folder, a song's id is its file's name
    without the ending; hidden files and folders, and files whose endings are no audio's, are skipped. WAV,
    FLAC, MP3, Ogg, Opus, AIFF and others are read as they are; m4a, AAC and WMA need pip install
    'dcbmr[av]'. Channels are mixed by their mean; samples are not clipped.

    A file that cannot be used is left out and listed, with the reason, in failed.tsv of the output; one that
    is damaged, but can be read, is listed in damaged.tsv. Copies of a file, byte for byte, count as one. What
    goes wrong in a plugin costs the file, too, and names the plugin. Where mel is made, near-silent songs are
    listed in silent.tsv, and in same.tsv those that are one recording under two ids, as in two encodings.

    --resume reads what is new or has changed in size or time, and takes out songs whose files were deleted.

    With --engine ray, AUDIO and the output lie on a disk that all machines of the cluster share, and each
    worker extracts some hundred files at a time. The features are those of one machine.

    \b
    Example:  dcbmr featurize music/ -o features
              dcbmr featurize music/ -o words --kind bow --codebook codebook
              dcbmr featurize music/ -o both --kind mel --kind KIND --set KIND.NAME=VALUE
              dcbmr featurize --vectors lyrics.npz -o features --kind lyrics --plays plays.tsv
              dcbmr featurize --check features --repair
              dcbmr featurize /shared/music -o /shared/features --engine ray --ray-address 10.0.0.1:6379
    """
    from dcbmr.base.crashes import in_hand
    from dcbmr.base.directory import kind_of
    from dcbmr.features.store import FEATURES

    if to_check is not None and audio is None and output is None:
        return _check(
            to_check, to_repair=to_repair, codebook=options["codebook"], n_threads=options["n_threads"]
        )
    if to_check is not None or to_repair or (audio is None) == (vectors_file is None) or output is None:
        raise click.UsageError("wanted AUDIO or --vectors FILE, and -o DIR; or --check DIR [--repair] alone")
    if reading and not plays_files:
        raise click.UsageError(f"{flags_of(reading)} says how to read --plays FILE, which is missing")
    if vectors_file is not None:
        if resume or len(kinds) != 1:
            raise click.UsageError("--vectors wants one --kind NAME, and is whole or not there: no --resume")
        _bring(vectors_file, output, kinds[0], plays_files, reading, overwrite=options["overwrite"])
        return 0
    if plays_files:
        raise click.UsageError("--plays goes with --vectors")
    if options["prune"] and not resume:
        raise click.UsageError("--prune goes with --resume")
    if resume and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if in_hand.is_restarted:  # after a crash
        resume, options["overwrite"] = True, False
    claim(output, can_resume=lambda: kind_of(output) == FEATURES)
    assert audio is not None
    report = _run(audio, output, kinds=kinds or ("mel", "mfcc"), resume=resume, **options)
    _tell(report, output)
    return 1 if report.failed and not report.n_done and not report.n_present else 0


def _bring(
    source: Path,
    output: Path,
    kind: str,
    plays_files: tuple[Path, ...],
    reading: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    from dcbmr.features.brought import bring_vectors

    claim(output)
    songs = read_plays(plays_files, reading).song_ids if plays_files else None
    with show_progress() as bars:
        report = bring_vectors(
            source, output, kind=kind, songs_with_plays=songs, overwrite=overwrite, progress=bars
        )
    click.echo(f"{output / kind}: {report.n_songs:,} vectors of {report.n_dims:,} dimensions")
    if report.match is not None:
        click.echo(f"  {report.match.words('songs with plays', 'vectors')}")


def _run(
    audio: Path,
    output: Path,
    codebook: Path | None,
    to_set: tuple[str, ...],
    cluster: Mapping[str, Any],
    *,
    resume: bool,
    **options: Any,
) -> FeaturizeReport:
    from dcbmr.contract.params import parse_feature_settings
    from dcbmr.contract.registry import extractors
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.featurize import check_makers, featurize
    from dcbmr.features.recipe import factories_of

    if resume and output.exists():
        check_makers(output, options["kinds"])
    for kind in options["kinds"]:
        if kind in extractors() and (licence := extractors()[kind].licence):
            click.echo(f"{kind}: weights under {licence}", err=True)
    words = Codebook.load(codebook) if codebook else None
    params = parse_feature_settings(factories_of(options["kinds"]), to_set)

    with at_work(cluster, options["n_threads"]) as engine, show_progress() as bars:
        began = time.monotonic()

        def show(stage: str, n_over: int, n_files: int | None, figures: Mapping[str, float]) -> None:
            seconds = max(time.monotonic() - began, 1e-9)
            rates = f"{n_over / seconds:.1f} files/s, {figures['audio_s'] / 3600 / seconds:.3f} h audio/s"
            failed = f", {figures['failed']:.0f} failed" if figures["failed"] else ""
            bars(stage, n_over, n_files, figures, shown=rates + failed)

        return featurize(
            audio,
            output,
            params=params,
            codebook=words,
            resume=resume,
            engine=engine,
            progress=show,
            **options,
        )


def _tell(report: FeaturizeReport, output: Path) -> None:
    """Say what was done, and where to look for what went wrong."""
    from dcbmr.features.features_writer import DAMAGED, FAILED, SAME, SILENT, VANISHED

    n_failed = report.failed.total()
    skipped = f"{report.n_skipped} files skipped as no audio"
    copies = f", {report.n_copies} as copies of others" if report.n_copies else ""
    if not (report.n_done or n_failed or report.n_vanished):
        click.echo(f"{output}: finished before; all {report.n_present} songs are there, {skipped}{copies}")
        return
    hours = report.audio_s / 3600
    click.echo(
        f"{output}: {report.n_done} songs added ({hours:.2f} h of audio in {report.seconds:.1f} s), "
        f"{report.n_present} were there, {n_failed} failed, {skipped}{copies}"
    )
    for reason, n in report.failed.most_common():
        click.echo(f"  {n} failed: {reason}", err=True)
    if n_failed:
        click.echo(f"  see {output / FAILED}", err=True)
    if report.n_changed:
        click.echo(f"  {report.n_changed} files had changed and were read again")
    if report.n_vanished:
        click.echo(
            f"  {report.n_vanished} songs were taken out, as their files are gone: {output / VANISHED}"
        )
    if report.n_damaged:
        click.echo(
            f"  {report.n_damaged} files are damaged and were read as far as they go: {output / DAMAGED}",
            err=True,
        )
    if report.n_silent:
        click.echo(f"  {report.n_silent} songs are near-silent: {output / SILENT}", err=True)
    if report.n_same:
        click.echo(f"  {report.n_same} songs are the recording of another, too: {output / SAME}", err=True)


def _check(directory: Path, *, to_repair: bool, codebook: Path | None, n_threads: int | None) -> int:
    """Say what is damaged, or make it again; return 1 where features are damaged or unfinished then."""
    from dcbmr.features.store import FeatureStore

    if to_repair:
        claim(directory)
    store = FeatureStore.open(directory, unfinished=True)
    damaged = store.check()
    for kind, songs in damaged.items():
        click.echo(f"{directory / kind}: {'whole' if not songs else f'{len(songs)} songs damaged'}")
        for song in songs:
            click.echo(f"  damaged: {song}", err=True)
    is_damaged = any(damaged.values())
    if is_damaged and to_repair:
        is_damaged = _repair(store, damaged, codebook, n_threads)
    elif is_damaged:
        click.echo("  --repair makes them again", err=True)
    if store.n_wanted is not None:
        click.echo(store.what_is_missing(), err=True)
    return 1 if is_damaged or store.n_wanted is not None else 0


def _repair(
    store: FeatureStore, damaged: Mapping[str, list[str]], codebook: Path | None, n_threads: int | None
) -> bool:
    """Make damaged songs again, and return whether some are left."""
    from dcbmr.features.codebook import Codebook
    from dcbmr.features.repair import repair

    words = Codebook.load(codebook) if codebook else None
    with show_progress() as bars:
        report = repair(store, damaged, codebook=words, n_threads=n_threads, progress=bars)
    click.echo(
        f"{store.directory}: {report.n_repaired} songs made again, {len(report.left)} are still damaged"
    )
    for song, why in report.left.items():
        click.echo(f"  still damaged: {song}: {why}", err=True)
    return bool(report.left)
