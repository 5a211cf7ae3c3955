"""The fit of a regressor: here, or by all workers of an engine together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from dcbmr.base.directory import RECORD
from dcbmr.base.progress import Progress
from dcbmr.base.threads import resolve_n_threads
from dcbmr.contract import registry
from dcbmr.contract.contract import (
    FactorTarget,
    FitRun,
    LossSpec,
    Peers,
    Regressor,
    RegressorSpec,
    SongFeatures,
)
from dcbmr.contract.faults import calling, named
from dcbmr.engine.peers import run_together
from dcbmr.errors import DcbmrError, InputError
from dcbmr.features.stored_kind import INDEX, StoreFeatures

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine

Files = Mapping[str, bytes]  # of a saved regressor, by their names


def check_can_share(spec: RegressorSpec) -> None:
    """Raise InputError unless several workers can fit a regressor together."""
    if not spec.has_peers:
        raise InputError(
            f"regressor {spec.name!r} learns in one process: leave --engine (engine) out, or take one that "
            f"many workers can share: {registry.who_has('has_peers')}"
        )


def loss_of(spec: RegressorSpec, regressor: Regressor) -> LossSpec | None:
    """Return the registered loss that a regressor calls; None where it has none, or computes it itself."""
    name: str | None = getattr(regressor, "loss", None)
    if name is None or registry.loss_factory(spec, name) is None:
        return None
    return registry.find_loss(name)


def fit_here(
    spec: RegressorSpec, regressor: Regressor, songs: SongFeatures, target: FactorTarget, run: FitRun
) -> Regressor:
    """Fit a regressor in this process; what goes wrong names who is to blame."""
    mine: list[BaseException] = []
    run = replace(run, report=_noting(run.report, mine))
    # --threads holds for the BLAS under a model's NumPy, too.
    with (
        threadpool_limits(resolve_n_threads(run.n_threads), user_api="blas"),
        calling(spec, "fit", loss=loss_of(spec, regressor), mine=mine),
    ):
        try:
            fitted = regressor.fit(songs, target, run=run)
        except ConnectionError as error:
            if run.peers is not None:  # another process is lost, which is no fault of the regressor
                mine.append(error)
            raise
    if fitted is not regressor:
        raise DcbmrError(f"fit of {named(spec)} returned a {type(fitted).__name__}, wanted itself")
    return regressor


@dataclass(frozen=True)
class _Wanted:
    """What workers are to fit, and how."""

    regressor: str
    package: str
    arguments: Mapping[str, Any]
    checkpoint: Path | None
    resume: bool
    start: Files | None


def fit_on_workers(
    engine: RayEngine,
    spec: RegressorSpec,
    arguments: Mapping[str, Any],
    songs: SongFeatures,
    target: FactorTarget,
    run: FitRun,
) -> Regressor:
    """Fit a regressor on all workers of an engine together, and return it.

    Frames are read by the workers, from a store that all of them see; vectors and the target go to each node
    once. The first of them writes the checkpoint.
    """
    if isinstance(songs, StoreFeatures):
        engine.check_sees(songs.stored.directory / INDEX, "the features")
    if run.checkpoint is not None:
        engine.check_sees(run.checkpoint / RECORD, "the place of the output, for checkpoints")
    checkpoint = None if run.checkpoint is None else Path(os.path.abspath(run.checkpoint))
    start = None if run.start is None else _files_of(run.start)
    wanted = _Wanted(spec.name, spec.package, arguments, checkpoint, run.resume, start)
    shared = [engine.share(value) for value in (wanted, songs, target)]
    files = run_together(engine, _fit, *shared, what="the fit", progress=run.report)
    assert files is not None
    return _of_files(spec, files)


def _fit(
    peers: Peers, report: Progress, is_again: bool, wanted: _Wanted, songs: SongFeatures, target: FactorTarget
) -> Files | None:
    """What a worker does: fit, together with the others; the first returns what it has learned."""
    spec = registry.find_regressor(wanted.regressor)
    if spec.package != wanted.package:
        raise InputError(
            f"it has regressor {spec.name!r} of {spec.package}, and the command that of {wanted.package}: "
            "install the same version on all machines of the cluster"
        )
    made = registry.get_regressor(wanted.regressor, **wanted.arguments)
    start = None if wanted.start is None else _of_files(spec, wanted.start)
    run = FitRun(wanted.checkpoint, wanted.resume or is_again, None, report, peers, start)
    fit_here(spec, made, songs, target, run)
    return _files_of(made) if peers.rank == 0 else None


def _files_of(regressor: Regressor) -> Files:
    """Return what a regressor saves; a machine may load it that has not the device it was fitted on."""
    with TemporaryDirectory() as folder:
        regressor.save(Path(folder))
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _of_files(spec: RegressorSpec, files: Files) -> Regressor:
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        loaded: Regressor = spec.resolve().load(Path(folder))  # type: ignore[attr-defined]
        return loaded


def _noting(progress: Progress, raised: list[BaseException]) -> Progress:
    """Return a progress that keeps what it raises to stop the work, which is no fault of who reports."""

    def report(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float], /) -> None:
        try:
            progress(stage, step, n_steps, figures)
        except Exception as error:
            raised.append(error)
            raise

    return report
