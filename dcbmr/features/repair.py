"""Make again what is damaged in a store, and nothing else: the bytes that were written, at their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcbmr.audio.decode import AudioError
from dcbmr.base.directory import read_config
from dcbmr.base.pool import OrderedPool
from dcbmr.base.progress import Progress, silent
from dcbmr.features.codebook import Codebook
from dcbmr.features.extraction import Extracted, SongExtractor
from dcbmr.features.recipe import TIMEOUT_S, Recipe
from dcbmr.features.sources import read_sources
from dcbmr.features.store import FEATURES, FeatureStore
from dcbmr.features.stored_kind import Entry, is_brought
from dcbmr.features.writer import StoreWriter, writing


@dataclass
class RepairReport:
    """What became of damaged songs.

    Attributes
    ----------
    n_repaired : int
        Songs that are whole again.
    left : dict of str to str
        Songs that are still damaged, and why.
    """

    n_repaired: int = 0
    left: dict[str, str] = field(default_factory=dict)


def repair(
    store: FeatureStore,
    damaged: Mapping[str, Iterable[str]],
    *,
    codebook: Codebook | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RepairReport:
    """Make the features of damaged songs again, of the files that they were made of.

    Parameters
    ----------
    store : FeatureStore
    damaged : mapping of str to iterable of str
        The songs of each kind, as :meth:`FeatureStore.check` found them.
    codebook : Codebook, optional
        Whose codewords the kind "bow" counts.
    n_threads : int, optional
        Files worked on at once; None for every core.
    progress : Progress, optional
        Told of every song.

    Returns
    -------
    RepairReport

    Raises
    ------
    InputError
        Another process is writing; a kind is made by nobody here, or otherwise than it was.
    DcbmrError
        Writing failed, as on a full disk.
    """
    report = RepairReport()
    root = store.directory
    songs_of = {kind: set(songs) for kind, songs in damaged.items() if songs}
    for kind in [kind for kind in songs_of if is_brought(store[kind].config)]:
        why = (
            f"{kind!r} was brought, not made of audio: bring it again (dcbmr featurize --vectors --overwrite)"
        )
        report.left |= dict.fromkeys(songs_of.pop(kind), why)
    if not songs_of:
        return report
    recipe = Recipe.again([store[kind].config for kind in songs_of], codebook=codebook)
    config = read_config(root, kind=FEATURES)
    work = SongExtractor(
        recipe,
        offset=config.get("offset", 0.0),
        duration=config.get("duration"),
        timeout_s=TIMEOUT_S,
        directory=root,
    )
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(closing(StoreWriter(root / kind, store[kind].config)))
            for kind in songs_of
        }
        entries = {
            kind: {entry.song: entry for entry in writers[kind].index() if entry.song in songs}
            for kind, songs in songs_of.items()
        }
        todo = dict(_files(root, set().union(*songs_of.values()), report))
        with OrderedPool(work, close=_close, n_threads=n_threads) as pool:
            for n_over, ((song, path), result) in enumerate(pool.in_order(todo.items()), 1):
                of_song = {kind: found[song] for kind, found in entries.items() if song in found}
                if isinstance(result, AudioError):
                    report.left[song] = str(result)
                elif all(_is_as_written(result, kind, entry) for kind, entry in of_song.items()):
                    with writing(root):
                        for kind, entry in of_song.items():
                            result.frames[kind].seek(0)
                            writers[kind].mend(entry, result.frames[kind])
                    report.n_repaired += 1
                else:
                    report.left[song] = (
                        f"its features come out otherwise than they were written; touch {path}, and --resume "
                        "reads it as a file that has changed"
                    )
                (progress or silent)("repair", n_over, len(todo), {})
    return report


def _files(root: Path, songs: Set[str], report: RepairReport) -> Iterator[tuple[str, str]]:
    """Yield the songs whose files are as they were, and their files; list the others."""
    files = {file.song: file for file in read_sources(root) if file.song in songs}
    for song, file in files.items():
        now = file.at(file.path) if file.is_known else None
        if not file.is_known:
            report.left[song] = "its file is not known; featurize again, with --overwrite"
        elif now is None:
            report.left[song] = f"its file {file.path} is gone; --resume takes the song out"
        elif now != replace(file, damage="", outline=""):
            report.left[song] = f"its file {file.path} has changed; --resume reads it again"
        else:
            yield song, file.path


def _is_as_written(found: Extracted, kind: str, entry: Entry) -> bool:
    return (found.n_frames[kind], found.crc32[kind]) == (entry.n_frames, entry.crc32)


def _close(result: Extracted | AudioError) -> None:
    if isinstance(result, Extracted):
        result.close()
