"""An experiment from its file, in Python and on the command line; its report is made when it is due."""

import json
import os

import pytest
from click.testing import CliRunner

import dcbmr
from dcbmr.cli import cli

CONFIG = """
[data]
plays = "plays.tsv"
songs = "songs.tsv"
audio = "audio"
[split]
by = "artist"
[factorization]
n_factors = 4
n_iterations = 2
[features]
n_words = 8
[[rows]]
name = "linear"
regressor = "linear"
params = { regularization = 1.0 }
[training]
validation_fraction = 0.2
[evaluation]
k = 5
n_resamples = 0
"""


def test_an_experiment_of_a_file(small_world, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    file = tmp_path / "mine.toml"
    file.write_text(
        CONFIG.replace('s = "', f's = "{small_world}/').replace('audio = "', f'audio = "{small_world}/')
    )
    out = tmp_path / "e"
    assert all(why == "was not made yet" for _, why in dcbmr.plan_experiment(file, out))
    experiment = dcbmr.run_experiment(file, out)
    assert not any(why for _, why in dcbmr.plan_experiment(file, out))
    assert experiment.config == dcbmr.read_experiment(file)
    assert dcbmr.read_results(out / "mine").rows == experiment.results["rows"]
    assert dcbmr.load_model(experiment.models["linear"]).spec.name == "linear"
    assert "linear" in experiment.table()
    assert repr(experiment) == "Experiment(rows=['linear'], n_evaluations=1)"

    def run(*words):
        return CliRunner().invoke(
            cli, ["experiment", str(file), "-o", str(out), *words], catch_exceptions=False
        )

    def due():
        steps = json.loads(run("--dry-run", "--json").stdout)
        return {
            step["stage"]: step["would run"] for step in steps if not step["would run"].startswith("no: ")
        }

    assert due() == {"report": "was not made yet"}  # as after a kill before it
    assert run().exit_code == 0
    assert due() == {}
    report = out / "mine" / "report.html"
    os.utime(report, ns=(0, 0))
    assert due() == {"report": "results changed"}
    file.write_text(file.read_text().replace("k = 5", "k = 6"))
    assert due() == {"evaluate": "k was 5, is 6", "report": "follows evaluate"}
    run()
    assert due() == {}
    file.write_text(file.read_text().replace("k = 6", "k = 5"))  # as it was, and its stages are there
    assert due() == {"report": "settings changed"}
