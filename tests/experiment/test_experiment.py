"""The demo's pipeline: whole, resumable, and with nothing of the answer built in."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcbmr import FeatureStore, InputError, _core, get_regressor, read_results
from dcbmr.cli import cli
from dcbmr.datasets.world import WorldSettings
from dcbmr.experiment.config import (
    DataSettings,
    ExperimentConfig,
    FeatureSettings,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.demo import demo_config, run_demo
from dcbmr.experiment.experiment import run_experiment
from dcbmr.experiment.reading import read_experiment
from dcbmr.experiment.rows import Row
from dcbmr.features.codebook import Codebook
from dcbmr.features.stored_kind import StoredKind

TINY = ExperimentConfig(
    rows=(Row("linear", "linear", "mse"),),
    world=WorldSettings(n_songs=80, n_artists=20, n_users=60, mean_songs=16, random_state=1),
    split=SplitSettings(by="artist"),
    factorization={"n_factors": 4, "n_iterations": 3, "regularization": 10.0},
    features=FeatureSettings(n_words=(20, 40)),
)
ONE_SIZE = FeatureSettings(n_words=(20,))
KEYS = {"model", "loss", "map_at_500", "auc", "n_users", "n_songs", "seconds"}


def table(experiment):
    rows = experiment.results["rows"]
    return {row["model"]: {k: v for k, v in row.items() if k != "seconds"} for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "d"
    shown = []
    experiment = run_demo(directory, TINY, progress=lambda *step: shown.append(step))
    # Each size of codebook is seen to come about.
    codebooks = {name for stage, _, _, figures in shown if stage == "codebook" for name in figures.items()}
    assert codebooks == {(f"{what}, words", n) for what in ("k-means", "count words") for n in (20, 40)}
    return directory, experiment


def test_results_are_complete(finished):
    directory, experiment = finished
    results = json.loads((directory / "results.json").read_text())
    assert results == json.loads(json.dumps(experiment.results))
    assert read_results(directory).rows == results["rows"]
    assert results["words"] == experiment.evaluation.words
    assert all(set(row) >= KEYS for row in results["rows"])
    rows = table(experiment)
    assert set(rows) >= {"linear", "random", "upper-bound"}
    assert rows["upper-bound"]["map_at_500"] > rows["random"]["map_at_500"]
    assert rows["linear"]["over_linear"] == pytest.approx(1)
    assert results["settings"]["world"]["n_songs"] == 80
    assert results["n_words"] in (20, 40)
    assert set(results["validation_map_by_n_words"]) == {"20", "40"}
    best = max(results["validation_map_by_n_words"], key=results["validation_map_by_n_words"].get)
    assert results["n_words"] == int(best)
    assert {"synthesize", "linear", "evaluate"} <= results["seconds"].keys()
    for of in ("seconds", "processor_seconds", "memory_mib"):
        assert results[of].keys() == results["seconds"].keys()
        assert min(results[of].values()) > 0
    assert results["peak_memory_mib"] == max(results["memory_mib"].values()) > 50


def test_a_run_that_was_stopped_continues_to_the_same_table(finished, tmp_path):
    for stop_at in ("synthesize", "featurize", "codebook", "linear", "evaluate"):

        def stop(stage, step, n_steps, figures, stop_at=stop_at):
            if stage == stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "d", TINY, resume=True, progress=stop)
    assert table(run_demo(tmp_path / "d", TINY, resume=True)) == table(finished[1])


def test_what_is_there_is_not_made_again(finished):
    directory, experiment = finished
    files = {p: p.stat().st_mtime_ns for p in directory.rglob("*.safetensors")}
    again = run_demo(directory, TINY, resume=True)
    assert table(again) == table(experiment)
    assert {p: p.stat().st_mtime_ns for p in directory.rglob("*.safetensors")} == files


def test_nothing_empty_is_left(finished):
    directory, _ = finished
    found = list(directory.rglob("*"))
    assert not [path for path in found if path.is_dir() and not any(path.iterdir())]
    assert not [path for path in found if "checkpoint" in path.name]


def test_a_fit_that_was_stopped_keeps_its_curve(tmp_path):
    pytest.importorskip("torch")
    row = Row("mlp", "mlp", "mse", params={"epochs": 4, "device": "cpu"})
    settings = replace(TINY, features=ONE_SIZE, rows=(row,))

    def stop(stage, step, n_steps, figures):
        if stage == "mlp" and "validation_map" in figures and step == n_steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "d", settings, progress=stop)
    (file,) = (tmp_path / "d" / "stages").glob("train-*/curve.jsonl")
    file.write_text('{"stage": "fit", "st')  # as it is on a disk that was full
    experiment = run_demo(tmp_path / "d", settings, resume=True)
    curve = experiment.curves["mlp"]
    assert [json.loads(line) for line in file.read_text().splitlines()] == curve
    epochs = [entry["step"] / entry["n_steps"] for entry in curve if "validation_map" in entry]
    assert epochs == [0.25, 0.5, 0.75, 1]
    assert run_demo(tmp_path / "d", settings, resume=True).curves == experiment.curves


def test_without_validation_songs_there_is_no_choice_of_words(small_world, tmp_path):
    def run(n_words):
        data = DataSettings(plays=(small_world / "plays.tsv",), audio=small_world / "audio")
        features = FeatureSettings(n_words=n_words)
        training = TrainingSettings(validation_fraction=0.0)
        config = replace(
            TINY, world=None, data=data, split=SplitSettings(), features=features, training=training
        )
        return run_experiment(config, tmp_path / "e")

    results = run((20,)).results
    assert (results["n_words"], results["validation_map_by_n_words"]) == (20, {})
    with pytest.raises(InputError, match="no songs are set aside to choose"):
        run((20, 30))


@pytest.fixture
def counted(monkeypatch):
    """What is opened and what is counted from here on: stores by path, and frames put into words."""
    opened, frames = Counter(), Counter()
    open_store, open_kind = FeatureStore.open.__func__, StoredKind.__init__

    def opening(cls, directory):
        opened[Path(directory).name] += 1
        return open_store(cls, directory)

    def opening_kind(self, directory, kind):
        opened[Path(directory).name] += 1
        open_kind(self, directory, kind)

    class Counting:
        def __init__(self, codebook):
            self._search, self._size = _core.NearestWord(codebook.words_, codebook.scale_), codebook.n_words

        def assign(self, rows, *rest):
            frames[self._size] += len(rows)
            return self._search.assign(rows, *rest)

    monkeypatch.setattr(FeatureStore, "open", classmethod(opening))
    monkeypatch.setattr(StoredKind, "__init__", opening_kind)
    monkeypatch.setattr(Codebook, "_nearest_word", property(Counting))
    return opened, frames


ALL_ROWS = replace(demo_config("small"), world=TINY.world, features=ONE_SIZE, factorization={"n_factors": 4})


def test_a_store_is_opened_once(counted, tmp_path):
    pytest.importorskip("torch")
    opened, _ = counted
    run_demo(tmp_path / "d", ALL_ROWS)
    assert opened == {"features": 1, "mel": 1, "mfcc": 1}


def test_a_frame_is_put_into_words_once(counted, tmp_path):
    pytest.importorskip("torch")
    _, frames = counted
    run_demo(tmp_path / "d", ALL_ROWS)
    n_frames = FeatureStore.open(tmp_path / "d" / "features")["mfcc"].n_frames
    assert frames == {20: n_frames.sum()}  # a resumed run may count once more, and no run more than once
    run_demo(tmp_path / "d", ALL_ROWS, resume=True)
    assert frames[20] <= 2 * n_frames.sum()


def test_an_output_that_exists_is_kept(finished, tmp_path):
    directory, _ = finished
    with pytest.raises(InputError, match="exists; --resume continues it, --overwrite begins anew"):
        run_demo(directory, TINY)
    with pytest.raises(InputError, match=r"other settings: factorization.n_factors is 4 .wanted 5"):
        run_demo(directory, replace(TINY, factorization={**TINY.factorization, "n_factors": 5}), resume=True)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="was not written by dcbmr"):
        run_demo(tmp_path, TINY, overwrite=True)
    assert (tmp_path / "mine.txt").exists()


def test_the_demo_is_the_experiment_of_the_examples():
    example = Path(__file__).parents[2] / "examples" / "demo.toml"
    assert read_experiment(example) == demo_config()


def test_demo_config():
    config = demo_config()
    assert 2000 <= config.world.n_songs <= 4000
    assert config.world.n_artists >= 200
    assert config.world.n_users == 3000
    assert config.split.fraction == 0.2
    small = demo_config("small", share=0.2, random_state=7)
    assert (small.world.share, small.world.random_state, small.random_state) == (0.2, 7, 7)
    with pytest.raises(InputError, match="size must be"):
        demo_config("huge")


@pytest.mark.parametrize("size", ["default", "small"])
def test_the_demo_gives_its_regressors_parameters_that_they_have(size):
    pytest.importorskip("torch")
    for row in demo_config(size).rows:
        regressor = get_regressor(row.regressor, **row.params)
        assert {name: getattr(regressor, name) for name in row.params} == row.params


def test_the_demo_without_torch_has_no_networks(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert [row.regressor for row in demo_config().rows] == ["mlr", "linear"]


@pytest.mark.slow
def test_the_small_demo_without_torch_is_completed_when_it_is_there(tmp_path):
    pytest.importorskip("torch")
    lacking = (
        "from importlib.machinery import PathFinder\n"
        "find, lacks = PathFinder.find_spec, {'torch', 'bokeh'}\n"
        "PathFinder.find_spec = lambda name, *of: None if name.split('.')[0] in lacks else find(name, *of)\n"
    )
    demo = "from dcbmr.cli import main; main(['demo', '-o', 'demo', '--size', 'small', *{}])"
    said = []
    for before, options in (lacking, []), (lacking, ["--resume"]), ("", ["--resume"]), ("", ["--resume"]):
        code = before + demo.format(options)
        made = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        said.append(made.stderr)
    models = {row["model"] for row in json.loads((tmp_path / "demo" / "results.json").read_text())["rows"]}
    assert {"mlr", "linear", "mlp", "cnn-mse", "cnn-wpe"} <= models
    assert "without the networks mlp and cnn" in said[0]
    assert "no report.html: a report needs bokeh: pip install 'dcbmr[report]'" in said[0]
    assert "is finished" in said[1]
    assert "report.html" in said[2]
    assert "is finished" in said[3]


@pytest.mark.slow
def test_the_small_demo_from_the_command_line(tmp_path):
    from click.testing import CliRunner

    pytest.importorskip("torch")
    out = tmp_path / "demo"
    done = CliRunner().invoke(
        cli, ["demo", "-o", str(out), "--size", "small", "--tsv"], catch_exceptions=False
    )
    assert done.exit_code == 0
    for said in (done.stderr, (out / "report.html").read_text()):
        assert "This is the small demo" in said
    results = json.loads((out / "results.json").read_text())
    models = [row["model"] for row in results["rows"]]
    assert models == [
        "mlr",
        "linear",
        "mlp",
        "cnn-mse",
        "cnn-wpe",
        "upper-bound",
        "random",
        "random (in theory)",
    ]
    assert all(set(row) >= KEYS for row in results["rows"])
    assert all(np.isfinite(row["map_at_500"]) and 0 < row["auc"] < 1 for row in results["rows"])
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == models
    assert "words in the codebook" in done.stderr
    page = (out / "report.html").read_text()
    assert 'id="curves"' in page
    assert 'id="map"' in page
