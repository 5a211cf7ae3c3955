"""The demo: the experiment of demo.toml, on the embedded world."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dcbmr.base.directory import HEADER, kind_of, read_config, refuse_existing, write_config
from dcbmr.base.progress import Progress
from dcbmr.base.settings import check_settings
from dcbmr.errors import InputError
from dcbmr.evaluation.results import RESULTS, read_results
from dcbmr.experiment.config import ExperimentConfig, FeatureSettings
from dcbmr.experiment.experiment import KIND, VERSION, Experiment, run_experiment
from dcbmr.experiment.reading import read_experiment

_FILE = Path(__file__).with_name("demo.toml")
_SMALL_WORLD = {"n_songs": 240, "n_artists": 60, "n_users": 200, "mean_songs": 20}
_SMALL_EPOCHS = {"mlp": 10, "cnn-mse": 2, "cnn-wpe": 2}


def demo_config(
    size: str = "default", *, share: float | None = None, random_state: int = 0
) -> ExperimentConfig:
    """Return the configuration of the demo, "default" or "small"; None leaves the share as it is.

    Without torch it has no networks; see :func:`left_out`.
    """
    if size not in ("default", "small"):
        raise InputError(f"size must be 'default' or 'small'; got {size!r}")
    config = read_experiment(_FILE, without=left_out())
    world = config.world
    assert world is not None
    chosen: dict[str, Any] = {"random_state": random_state} | ({} if share is None else {"share": share})
    if size == "small":
        chosen |= _SMALL_WORLD
        rows = (
            replace(row, params={**row.params, **({"epochs": epochs} if epochs else {})})
            for row in config.rows
            for epochs in [_SMALL_EPOCHS.get(row.name)]
        )
        config = replace(config, rows=tuple(rows), features=FeatureSettings(n_words=(100,)))
    return replace(config, world=replace(world, **chosen), random_state=random_state)


def left_out() -> tuple[str, ...]:
    """Return the regressors of the demo that this installation lacks the means for: networks need torch."""
    return () if find_spec("torch") else ("mlp", "cnn")


def demo_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return what must be the same for a demo to go on: not its rows, which come with what is installed."""
    return {name: value for name, value in config.as_dict().items() if name != "rows"}


def has_all_rows(directory: Path, config: ExperimentConfig) -> bool:
    """Say whether the results of a demo are there, and have every row of ``config``."""
    if not (directory / RESULTS).is_file():
        return False
    found = {row["model"] for row in read_results(directory).rows}
    return all(row.name in found for row in config.rows)


def run_demo(
    directory: Path,
    config: ExperimentConfig,
    *,
    n_threads: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Experiment:
    """Make the embedded world and run the experiment on it; see :func:`run_experiment`."""
    directory = Path(directory)
    _prepare(directory, demo_settings(config), overwrite=overwrite, resume=resume)
    return run_experiment(config, directory, n_threads=n_threads, progress=progress)


def _prepare(directory: Path, settings: dict[str, Any], *, overwrite: bool, resume: bool) -> None:
    """Create the directory of a demo, or check that one to be continued has the same settings."""
    if resume and kind_of(directory) == KIND:
        found = read_demo_record(directory)
        check_settings(
            settings,
            found,
            f"{directory} was begun",
            remedy="give the same settings, or --overwrite to begin anew",
        )
        return
    if not overwrite and kind_of(directory) == KIND:
        raise InputError(f"{directory} exists; --resume continues it, --overwrite begins anew")
    refuse_existing(directory, kind=KIND, overwrite=overwrite or resume)
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    write_config(directory, kind=KIND, config=settings, version=VERSION)


def read_demo_record(directory: Path) -> dict[str, Any]:
    """Return the settings that a demo was begun with; InputError for one of an older dcbmr."""
    config = read_config(directory, kind=KIND, version=VERSION, remedy="begin anew with --overwrite")
    return {name: value for name, value in config.items() if name not in (*HEADER, "rows")}
