"""The demo: the embedded world, and the experiment on it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dcbmr.base.progress import Progress
from dcbmr.contract import registry
from dcbmr.datasets.world import World, WorldSettings
from dcbmr.errors import InputError
from dcbmr.experiment.experiment import Experiment, prepare, run_experiment
from dcbmr.experiment.settings import PAPER_ROWS, ExperimentSettings
from dcbmr.experiment.stages import Run

# Chosen on validation songs of worlds with other seeds; see benchmarks/README.md.
_DEMO_FACTORS: dict[str, Any] = {"n_factors": 12, "regularization": 100.0}
# Networks that learn within seconds on two cores: few filters, since what they shall hear is simple.
_DEMO_CNN: dict[str, Any] = {"channels": (16, 32), "epochs": 40, "learning_rate": 3e-3}
_DEMO_PARAMS: dict[str, dict[str, Any]] = {
    "cnn-mse": _DEMO_CNN,
    "cnn-wpe": {**_DEMO_CNN, "learning_rate": 1e-3},
}


_SMALL_PARAMS: dict[str, dict[str, Any]] = {
    "mlp": {"epochs": 10},
    "cnn-mse": {**_DEMO_CNN, "epochs": 2},
    "cnn-wpe": {**_DEMO_CNN, "epochs": 2},
}


def demo_settings(
    size: str = "default", *, share: float | None = None, random_state: int = 0
) -> tuple[WorldSettings, ExperimentSettings]:
    """Return the settings of the demo, "default" or "small"; None leaves the share as it is."""
    chosen: dict[str, Any] = {"random_state": random_state} | ({} if share is None else {"share": share})
    if size not in ("default", "small"):
        raise InputError(f"size must be 'default' or 'small'; got {size!r}")
    if size == "small":
        chosen |= {"n_songs": 240, "n_artists": 60, "n_users": 200, "mean_songs": 20}
    params = _DEMO_PARAMS if size == "default" else _SMALL_PARAMS
    return WorldSettings(**chosen), ExperimentSettings(
        rows=tuple(replace(row, params=params.get(row.name, {})) for row in PAPER_ROWS),
        n_words=(250, 500) if size == "default" else (100,),
        random_state=random_state,
        **_DEMO_FACTORS,
    )


def demo_record(world: WorldSettings, settings: ExperimentSettings) -> dict[str, Any]:
    """Return what ``config.json`` of a demo records."""
    return {"world": asdict(world), **asdict(settings)}


def run_demo(
    directory: Path,
    world: WorldSettings,
    settings: ExperimentSettings,
    *,
    n_threads: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Experiment:
    """Make the embedded world and run the experiment on it; see :func:`run_experiment`."""
    directory = Path(directory)
    for row in settings.rows:  # rather now than after minutes
        registry.resolve(registry.find_regressor(row.regressor))
    prepare(directory, demo_record(world, settings), overwrite=overwrite, resume=resume)
    run = Run(directory, progress)
    with run.stage("synthesize"):
        made = directory / "world" / "made"
        if not made.exists():
            World(world).write(
                directory / "world",
                n_threads=n_threads,
                progress=run.report,
            )
            made.touch()
    return run_experiment(
        directory / "world" / "plays.parquet",
        directory / "world" / "audio",
        directory,
        settings,
        songs=directory / "world" / "songs.tsv",
        n_threads=n_threads,
        progress=progress,
        about={"world": asdict(world)},
    )
