"""Published data sets by name, and how one becomes a directory of plays, songs, tags, audio and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dcbmr.base.directory import new_directory, refuse_existing
from dcbmr.base.progress import Progress, silent
from dcbmr.base.spelling import close_names
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.datasets.published import Made, PublishedDataset

DATASETS = ("msd", "yambda", "music4all", "lastfm360k", "hetrec2011")  # the modules that read them


def convert_dataset(
    name: str,
    source: str | Path | Sequence[str | Path],
    directory: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Make of the files of a published data set what the toolkit reads; nothing is downloaded.

    Parameters
    ----------
    name : str
        A data set of ``dcbmr.datasets.DATASETS``: "msd", "yambda", "music4all", "lastfm360k", "hetrec2011".
    source : path, or sequence of paths
        Folders, searched with those within, and files, as they are published (unpacked).
    directory : path
        To write: ``plays.parquet``; and, where there are any, ``songs.tsv``, ``tags.parquet``, ``audio.tsv``
        (a manifest), vectors ``KIND.parquet``, and the songs to hold out of a split that the set has.
    overwrite : bool
        Replace such a directory.
    progress : Progress

    Returns
    -------
    list of str
        What there is to say: how much of what, what was left out and why, which files were missing.

    Raises
    ------
    InputError
        A file that is needed is missing, with the page where it is published; one is of another version; ids
        of two files have nothing in common; a line is wrong.
    """
    with converted(name, source, directory, overwrite=overwrite, progress=progress) as made:
        return made.notes


@contextmanager
def converted(
    name: str,
    source: str | Path | Sequence[str | Path],
    directory: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Iterator[Made]:
    """Lend what :func:`convert_dataset` made, to be added to before it appears at ``directory``."""
    from dcbmr.datasets.published import Made, SourceFiles

    dataset = _named(name)
    refuse_existing(Path(directory), kind="dataset", overwrite=overwrite)
    sources = [Path(path) for path in ([source] if isinstance(source, str | Path) else source)]
    files = SourceFiles(sources, dataset)
    config = {"name": name, "title": dataset.title, "page": dataset.page, "sources": list(map(str, sources))}
    with new_directory(Path(directory), kind="dataset", config=config, overwrite=overwrite) as folder:
        made = Made(folder, progress)
        dataset.convert(files, made)
        yield made


def _named(name: str) -> PublishedDataset:
    if name not in DATASETS:
        close = close_names(name, DATASETS, n=1, cutoff=0.5)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"no data set is called {name!r}; there are {', '.join(DATASETS)}{meant}")
    dataset: PublishedDataset = import_module(f"dcbmr.datasets.{name}").DATASET
    return dataset
