"""From a model or an experiment to the file of its page."""

from __future__ import annotations

from pathlib import Path

from dcbmr.base.directory import check_writable
from dcbmr.base.needs import check_need, of_report
from dcbmr.base.progress import Progress
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors, sizes_of
from dcbmr.features.store import FeatureStore
from dcbmr.models.memory import need_of_predicting
from dcbmr.models.stack import load_model_or_factors
from dcbmr.report.of_experiment import is_experiment, page_of_experiment
from dcbmr.report.of_model import page_of_model
from dcbmr.report.report import require_report, save_page
from dcbmr.report.sources import Sources


def write_report(
    source: Path | str,
    file: Path | str,
    *,
    features: FeatureStore | None = None,
    songs: Path | str | None = None,
    tags: Path | str | None = None,
    audio: Path | str | None = None,
    embed_audio: bool = False,
    title: str = "",
    overwrite: bool = False,
    force: bool = False,
    random_state: int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write one HTML file that opens without a network: a map of the songs, and what is known of them.

    Parameters
    ----------
    source : path
        Of a model, a stack or factors, or the folder of an experiment's results.
    file : path
        The page; audio is found from where it lies.
    features : FeatureStore, optional
        Its songs come in by their audio, and the others are compared by it, too; not for experiments, which
        have their own, nor for factors.
    songs : path, optional
        Song, artist and title; an experiment's own if None.
    tags : path, optional
        Song, tag and, optionally, weight; an experiment's own if None.
    audio : path, optional
        A folder of audio, or a manifest, to be played from where it lies; an experiment's own if None.
    embed_audio : bool
        Put short clips of up to 200 songs into the page instead.
    title : str
        The name of the directory by default.
    overwrite : bool
        Replace a file that is there.
    force : bool
        Only warn where memory or disk will not do. The page of an experiment takes no more than its
        evaluation did, and is not asked about.
    random_state : int
        Seed of the map: the same one gives the same page.
    n_threads : int, optional
        Threads; every core by default.
    progress : Progress, optional
        Told of each step; it may raise to stop.

    Raises
    ------
    InputError
        The extra ``report`` is not installed; the source is none, or a part of it is gone; the file exists;
        options that do not go with the source.
    DcbmrError
        The file cannot be written.
    """
    require_report()
    source, file = Path(source), Path(file)
    if file.is_dir():
        raise InputError(f"{file} is a directory; wanted the file to write, as {file / 'report.html'}")
    if file.exists() and not overwrite:
        raise InputError(f"{file} exists; give another file, or --overwrite to replace it")
    check_writable(file)
    of_experiment = is_experiment(source)
    if of_experiment and features is not None:
        raise InputError("features are for models: an experiment has its own")
    if embed_audio and audio is None and not of_experiment:
        raise InputError("--embed-audio needs --audio: a folder of audio, or a manifest")
    sources = Sources(
        file,
        songs=None if songs is None else Path(songs),
        tags=None if tags is None else Path(tags),
        audio=None if audio is None else Path(audio),
        embed_audio=embed_audio,
        random_state=random_state,
    )
    if of_experiment:
        page = page_of_experiment(source, sources, title=title, n_threads=n_threads, progress=progress)
    else:
        loaded = load_model_or_factors(source, n_threads)
        if isinstance(loaded, Factors) and features is not None:
            raise InputError(
                f"{source} holds factors: songs cannot be placed by their audio without a model; "
                "give the directory that `dcbmr train` wrote"
            )
        sizes, n_songs, predicting = sizes_of(source), 0, None
        if not isinstance(loaded, Factors) and features is not None:
            n_songs, predicting = len(loaded.songs_in(features)), need_of_predicting([loaded], features)
        check_need(of_report(sizes, max(n_songs, sizes.n_songs), predicting), file, force=force)
        page = page_of_model(
            loaded, source, sources, features=features, title=title, n_threads=n_threads, progress=progress
        )
    save_page(file, page)
