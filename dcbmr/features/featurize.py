"""Audio files to a feature store: many at once, continued where it was, a bad file costing only itself."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcbmr.audio.decode import AudioError, check_piece
from dcbmr.audio.files import SongFiles, Source, find_songs
from dcbmr.base.directory import CONFIG, kind_of, read_config, refuse_existing
from dcbmr.base.needs import check_need
from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress, silent
from dcbmr.base.threads import resolve_n_threads
from dcbmr.contract import registry
from dcbmr.contract.contract import SongFeatures
from dcbmr.errors import InputError
from dcbmr.features.apart import made_apart
from dcbmr.features.codebook import Codebook
from dcbmr.features.extraction import Extracted, SongExtractor, made_rows, too_short
from dcbmr.features.features_writer import SAME, SILENT, FeaturesWriter, create_features
from dcbmr.features.parts import PARTS, cut_into_parts, failed_in, part_of, parts_of
from dcbmr.features.recipe import TIMEOUT_S, Recipe, check_installed
from dcbmr.features.room import need_of_features
from dcbmr.features.sources import KnownFiles, find_changes
from dcbmr.features.store import FEATURES, FeatureStore
from dcbmr.features.stored_kind import in_memory
from dcbmr.features.writer import check_made_alike

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine


@dataclass
class FeaturizeReport:
    """What a run of :func:`featurize` did.

    Attributes
    ----------
    n_done : int
        Songs added to the store, those whose files had changed among them.
    n_present : int
        Songs of the source that were there before, and whose files are as they were.
    n_changed : int
        Songs that were there, and whose files have changed since.
    n_vanished : int
        Songs that were there, and whose files are gone; they were taken out.
    n_damaged : int
        Songs added although parts of their files were lost; ``damaged.tsv`` lists all of the store.
    n_silent : int
        Songs of the store that are near-silent, where mel is made; ``silent.tsv`` lists them.
    n_same : int
        Songs of the store whose recording another song is, too, where mel is made; ``same.tsv`` lists them,
        each with the first one.
    n_copies : int
        Files left out because another one of the same song has the same bytes.
    n_skipped : int
        Files in the folder whose endings are no audio's.
    failed : Counter
        How many files failed of each cause; ``failed.tsv`` lists them.
    audio_s, seconds : float
        Length of the audio of the added songs, and the time the run took.
    """

    n_done: int = 0
    n_present: int = 0
    n_changed: int = 0
    n_vanished: int = 0
    n_damaged: int = 0
    n_silent: int = 0
    n_same: int = 0
    n_copies: int = 0
    n_skipped: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    seconds: float = 0.0


def featurize(
    source: Source,
    directory: str | os.PathLike[str],
    *,
    kinds: Iterable[str] = ("mel", "mfcc"),
    params: Mapping[str, Any] | None = None,
    codebook: Codebook | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    timeout_s: float = TIMEOUT_S,
    n_threads: int | None = None,
    resume: bool = False,
    prune: bool = False,
    overwrite: bool = False,
    force: bool = False,
    engine: RayEngine | None = None,
    progress: Progress | None = None,
) -> FeaturizeReport:
    """Extract features of audio files into ``directory``, to be read with :class:`FeatureStore`.

    Several files are worked on at once, and written in the order of the list, so that the store does not
    depend on ``n_threads``. A file that cannot be used is skipped and listed in ``failed.tsv``.

    Parameters
    ----------
    source : path-like, mapping or iterable
        A folder, searched recursively but for what is hidden; a manifest (TSV or CSV: song, path, and more
        under a header; relative paths from its own folder); one audio file; a mapping from song id to path;
        or paths. Without a manifest, the id of a song is its file's name without the ending.
    directory : path-like
        Where to write.
    kinds : iterable of str
        Any of :func:`dcbmr.extractors`, or "bow". Each file is decoded once for all of them, and mel and
        MFCCs cost little more together than one: the spectrum is shared.
    params : mapping, optional
        Parameters of the extractors: "sr" of each kind that has one, "mfcc.n_mfcc" of one. The defaults of
        mel and MFCCs are the paper's.
    codebook : Codebook, optional
        Whose codewords the kind "bow" counts; MFCCs are then made as its frames were.
    offset, duration : float, optional
        Seconds to skip in each file, and to read at most.
    timeout_s : float
        Seconds that a plugin may take for a kind of one file, which fails if it takes longer. The kinds of
        dcbmr itself are not watched.
    n_threads : int, optional
        Files worked on at once; None for every core.
    resume : bool
        Continue what was interrupted, or add new files. Songs that are there are not read again unless the
        size or the time of their files has changed; those that failed are tried again. A song is taken out
        when its file is gone, if the source lists it, or if it lay in the folder that the source is or, of
        a manifest, lies in; songs of other sources stay.
    prune : bool
        Take songs out also where more than half of the files are gone, which is refused otherwise: a disk
        may be missing.
    overwrite : bool
        Replace what is there, but for vectors that were brought (:func:`dcbmr.bring_vectors`).
    force : bool
        Begin also where the disk seems too small.
    engine : RayEngine, optional
        Extract on its workers, which must see the files and the directory under the same paths. The store
        holds the same as one that one machine made.
    progress : Progress, optional
        Told of every file, with ``failed`` and ``audio_s`` so far; it may raise to stop.

    Returns
    -------
    FeaturizeReport

    Raises
    ------
    InputError
        A kind or a parameter that nobody offers; no audio; files of one song that differ; the directory
        exists, or was made with other settings.
    DcbmrError
        Writing failed, as on a full disk; what was finished before is kept, and ``resume`` continues.
    """
    began = time.monotonic()
    root = Path(directory)
    n_threads = resolve_n_threads(n_threads)
    resume = resume and root.exists()
    kinds = tuple(kinds)
    if resume:
        check_makers(root, kinds)
    recipe = Recipe(kinds, params=params, codebook=codebook)
    check_piece(offset, duration)
    if not timeout_s > 0:
        raise InputError(f"timeout_s: wanted a positive number of seconds, got {timeout_s}")
    config = {"kinds": list(recipe.kinds), "offset": offset, "duration": duration}
    if resume:
        there = read_config(root, kind=FEATURES)
        _check_kinds(root, recipe.kinds, there.get("kinds") or [])
        check_made_alike(root, config, there)
    elif not overwrite and kind_of(root) == FEATURES:
        raise InputError(f"{root} exists; --resume continues it, --overwrite replaces it")
    else:
        refuse_existing(root, kind=FEATURES, overwrite=overwrite)
    report = FeaturizeReport()
    with find_songs(source) as songs:
        report.n_skipped, report.n_copies = songs.n_skipped, songs.n_copies
        if not resume:
            need = need_of_features(recipe.configs, songs, len(songs), duration=duration)
            check_need(need, root, force=force)
            create_features(root, recipe.configs, config, overwrite=overwrite)
        with FeaturesWriter(root, recipe.configs) as writer, closing(KnownFiles()) as known:
            _compare(root, writer, songs, known, report, prune=prune)
            n_todo = len(songs.failed) + len(songs)

            def tell() -> None:
                n_failed = report.failed.total()
                figures = {"failed": float(n_failed), "audio_s": report.audio_s}
                (progress or silent)("featurize", report.n_done + n_failed, n_todo, figures)

            for error in songs.failed:
                _take("", error, writer, known, report)
                tell()
            piece: dict[str, Any] = {"offset": offset, "duration": duration, "timeout_s": timeout_s}
            if engine is None:
                work = SongExtractor(recipe, **piece, directory=root)
                with OrderedPool(work, close=_close, n_threads=n_threads) as pool:
                    for (song, _), result in pool.in_order(songs):
                        _take(song, result, writer, known, report)
                        tell()
            else:
                how = {"kinds": kinds, "params": params, "codebook": codebook, **piece}
                for part, found in _on_workers(engine, songs, root, how):
                    _take_part(part, found, songs, writer, known, report)
                    tell()
            shutil.rmtree(root / PARTS, ignore_errors=True)
            listed = writer.finish()
            report.n_silent, report.n_same = listed[SILENT], listed[SAME]
    report.seconds = time.monotonic() - began
    return report


def check_makers(directory: str | os.PathLike[str], kinds: Iterable[str]) -> None:
    """Raise InputError where a kind of a store to be continued is made by nobody here, with what to do."""
    not_here = set(kinds) - set(registry.extractors())
    if not not_here:  # a store takes memory for each song when it is opened
        return
    store = FeatureStore.open(directory, unfinished=True)
    for kind in not_here.intersection(store.kinds):
        check_installed(store[kind].config)


def _check_kinds(root: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raise InputError where features that are to be continued lack a kind that is wanted."""
    new = [kind for kind in wanted if kind not in there]
    if not new:
        return
    holds = " and ".join(there) or "vectors that were brought"
    store = FeatureStore.open(root, unfinished=True)
    need_none = " and ".join(kind for kind in new if kind in store and kind not in store.kinds)
    raise InputError(
        f"{root} holds {holds}: --resume adds songs, not {' and '.join(new)}; featurize all kinds to another "
        "directory" + (f", or leave out {need_none}: models make it of what is there" if need_none else "")
    )


def _compare(
    root: Path,
    writer: FeaturesWriter,
    songs: SongFiles,
    known: KnownFiles,
    report: FeaturizeReport,
    *,
    prune: bool,
) -> None:
    """Leave in ``songs`` what is to be read; take the songs out of the store whose files have vanished."""
    for file, removed in writer.lines():
        if removed:
            known.remove(file.song)
        else:
            known.put(file)
    for part in parts_of(root):  # a run on workers was killed
        writer.take_up(part, known)
    found = find_changes(songs, known, prune=prune)
    if found.moved:
        writer.update_files(known)
    report.n_present, report.n_changed = found.n_same, found.n_changed
    report.n_vanished = found.n_gone + len(found.vanished)
    is_whole = not len(songs) and not found.vanished
    writer.begin(found.n_same + found.n_elsewhere + len(songs), is_whole=is_whole)
    for file in found.vanished:
        writer.vanish(file)


def _take(
    song: str,
    result: Extracted | AudioError,
    writer: FeaturesWriter,
    known: KnownFiles,
    report: FeaturizeReport,
) -> None:
    """Write what became of a song's file."""
    if isinstance(result, AudioError):
        writer.fail(song, result)
        if song in known:  # what is there is of a file that is no more
            writer.remove(song)
        report.failed[result.cause] += 1
    else:
        writer.append(result)
        report.n_done += 1
        report.n_damaged += bool(result.file.damage)
        report.audio_s += result.audio_s


def _on_workers(
    engine: RayEngine, songs: SongFiles, root: Path, how: Mapping[str, Any]
) -> Iterator[tuple[Path, FeaturizeReport]]:
    """Yield each part of the songs, and what making it did."""
    engine.check_sees(root / CONFIG, "the output")
    for _, path in islice(songs, 1):
        engine.check_sees(path, "the audio")
    root = root.absolute()
    shutil.rmtree(root / PARTS, ignore_errors=True)  # what was in it has been taken up
    parts = cut_into_parts(songs, len(songs), root, engine.n_workers)
    made = engine.map(_make_part, parts, engine.share(how), what="files")
    return ((part_of(root, number), report) for number, report in enumerate(made))


def _make_part(task: tuple[Path, Mapping[str, str]], how: Mapping[str, Any]) -> FeaturizeReport:
    """Make a part; of one that a lost worker began, what is missing, but for a file that crashes."""
    part, songs = task
    given = {"source": songs, "directory": part, **how, "resume": True, "force": True}
    begun = part.with_suffix(".begun")
    if not begun.exists():
        begun.parent.mkdir(exist_ok=True)
        begun.touch()
        return featurize(**given)
    found = made_apart(featurize, given)
    return FeaturizeReport(**{**found, "failed": Counter(found["failed"])})


def _take_part(
    part: Path,
    found: FeaturizeReport,
    songs: SongFiles,
    writer: FeaturesWriter,
    known: KnownFiles,
    report: FeaturizeReport,
) -> None:
    """Write what became of the files of a part."""
    for song, reason in failed_in(part):
        writer.fail(song, AudioError(songs.path_of(song) or "", reason))
        if song in known:
            writer.remove(song)
    taken = writer.take_up(part, known)
    report.failed += found.failed
    report.n_done += len(taken)
    report.n_damaged += sum(bool(file.damage) for file in taken)
    report.audio_s += found.audio_s


def _close(result: Extracted | AudioError) -> None:
    if isinstance(result, Extracted):
        result.close()


def features_of_files(paths: Iterable[str | os.PathLike[str]], recipe: Recipe) -> dict[str, SongFeatures]:
    """Return the features of audio files in memory, by kind.

    Raises
    ------
    InputError
        A file cannot be used, or is too short.
    """
    songs: list[str] = []
    made: dict[str, list[NDArray[Any]]] = {kind: [] for kind in recipe.kinds}
    for path in [os.fspath(path) for path in paths]:
        songs.append(Path(path).stem)
        parts = [rows for rows, _ in made_rows(path, recipe)]
        for config in recipe.configs:
            rows = np.concatenate([part[config.kind] for part in parts if config.kind in part])
            if not len(rows):
                raise too_short(path, config)
            made[config.kind].append(rows)
    return {config.kind: in_memory(config, songs, made[config.kind]) for config in recipe.configs}
