"""Whether a report is there, and of the results that there are."""

from __future__ import annotations

from pathlib import Path

from dcbmr.evaluation.results import RESULTS
from dcbmr.experiment.config import ExperimentConfig
from dcbmr.experiment.experiment import results_are
from dcbmr.report.report import REPORT


def why_report(folder: Path, config: ExperimentConfig) -> str | None:
    """Say why the report of an experiment whose stages are made has to be written; None where it is there."""
    report, results = folder / REPORT, folder / RESULTS
    if not report.is_file():
        return "was not made yet"
    if not results_are(folder, {"settings": config.as_dict()}):
        return "settings changed"
    return "results changed" if report.stat().st_mtime_ns < results.stat().st_mtime_ns else None
