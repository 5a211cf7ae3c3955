"""The report: one page that stands alone, whatever the cut-off and whatever is known of the songs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    ExperimentConfig,
    FeatureSettings,
    Row,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.experiment import run_experiment
from dcbmr.report.report import song_map, usage_coordinates, write_report


@pytest.fixture(scope="module")
def experiment(small_world, tmp_path_factory):
    config = ExperimentConfig(
        rows=(Row("linear", "linear", "mse"),),
        data=DataSettings(
            plays=(small_world / "plays.tsv",), audio=small_world / "audio", songs=small_world / "songs.tsv"
        ),
        split=SplitSettings(by="artist"),
        factorization={"n_factors": 4, "n_iterations": 3, "regularization": 10.0},
        features=FeatureSettings(n_words=(20,)),
        training=TrainingSettings(validation_fraction=0.2),
        evaluation=EvaluationSettings(k=3),
    )
    return run_experiment(config, tmp_path_factory.mktemp("experiment"))


def test_the_report_stands_alone(experiment, tmp_path):
    write_report(tmp_path / "r.html", experiment, title="A <title>", about="Forty songs.")
    page = (tmp_path / "r.html").read_text()
    assert "A &lt;title&gt;" in page
    assert "Forty songs." in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "@import" not in page
    assert page.count("<svg") == 1  # the linear model's map; it has no learning curve


def test_any_cut_off_is_shown(experiment, tmp_path):
    write_report(tmp_path / "r.html", experiment)
    page = (tmp_path / "r.html").read_text()
    assert "mAP@3<" in page
    assert "@500" not in page
    for row in experiment.results["rows"]:
        assert f"<td>{row['map_at_3']:.4f}</td>" in page


def test_the_map_is_coloured_by_what_is_known_of_the_songs(experiment, tmp_path):
    songs = experiment.evaluation.candidates.song_ids
    labels = {"mood": {song: f"mood {i % 2}" for i, song in enumerate(songs)}}
    for known, seen in (({}, "by artist"), (labels, "by mood")):
        write_report(tmp_path / "r.html", experiment, labels=known)
        page = (tmp_path / "r.html").read_text()
        assert re.findall(r"by (?:artist|mood)", page) == [seen]


def test_a_learning_curve_is_drawn_by_step(experiment, tmp_path):
    steps = [(1, 0.1), (2, 0.3), (2, 0.2)]  # the second one was cut short, and done again
    entries = [{"stage": "fit", "step": s, "n_steps": 2, "validation_map": value} for s, value in steps]
    write_report(tmp_path / "r.html", replace(experiment, curves={"linear": entries}))
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "part of the training" in page


def test_usage_coordinates_are_the_cosines_of_usage_patterns():
    rng = np.random.default_rng(0)
    users, songs = rng.standard_normal((50, 4)), rng.standard_normal((9, 4))
    usage = users @ songs.T
    usage /= np.linalg.norm(usage, axis=0)
    ours = usage_coordinates(users, songs)
    np.testing.assert_allclose(ours @ ours.T, usage.T @ usage, atol=1e-6)
    assert song_map(users, songs).shape == (9, 2)
