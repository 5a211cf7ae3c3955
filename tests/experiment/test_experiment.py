"""The demo's pipeline: whole, resumable, and with nothing of the answer built in."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from dcbmr import InputError
from dcbmr.cli import cli
from dcbmr.datasets.world import WorldSettings
from dcbmr.experiment.experiment import ExperimentSettings, Row, demo_settings, prepare, run_demo
from dcbmr.report.report import song_map, usage_coordinates, write_report

TINY = WorldSettings(n_songs=80, n_artists=20, n_users=60, mean_songs=16, random_state=1)
LINEAR = ExperimentSettings(
    rows=(Row("linear", "linear", "mse"),), n_factors=4, n_iterations=3, n_words=(20, 40), regularization=10.0
)
KEYS = {"model", "loss", "map_at_500", "auc", "n_users", "n_songs", "seconds"}


def table(results):
    return {row["model"]: {k: v for k, v in row.items() if k != "seconds"} for row in results["rows"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "d"
    shown = []
    results = run_demo(directory, TINY, LINEAR, progress=lambda *step: shown.append(step))
    # Each size of codebook is seen to come about.
    codebooks = {name for stage, _, _, figures in shown if stage == "codebook" for name in figures.items()}
    assert codebooks == {(f"{what}, words", n) for what in ("k-means", "count words") for n in (20, 40)}
    return directory, results


def test_results_are_complete(finished):
    directory, results = finished
    assert results == json.loads((directory / "results.json").read_text())
    assert all(set(row) >= KEYS for row in results["rows"])
    rows = table(results)
    assert set(rows) >= {"linear", "random", "upper-bound"}
    assert rows["upper-bound"]["map_at_500"] > rows["random"]["map_at_500"]
    assert rows["linear"]["over_linear"] == pytest.approx(1)
    assert results["settings"]["world"]["n_songs"] == 80
    assert results["n_words"] in (20, 40)
    assert set(results["validation_map_by_n_words"]) == {"20", "40"}
    best = max(results["validation_map_by_n_words"], key=results["validation_map_by_n_words"].get)
    assert results["n_words"] == int(best)
    assert results["peak_memory_mib"] > 50


def test_a_run_that_was_stopped_continues_to_the_same_table(finished, tmp_path):
    for stop_at in ("synthesize", "featurize", "codebook", "linear", "evaluate"):

        def stop(stage, step, n_steps, figures, stop_at=stop_at):
            if stage == stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "d", TINY, LINEAR, resume=True, progress=stop)
    results = run_demo(tmp_path / "d", TINY, LINEAR, resume=True)
    assert table(results) == table(finished[1])


def test_what_is_there_is_not_made_again(finished):
    directory, results = finished
    files = {p: p.stat().st_mtime_ns for p in directory.rglob("*.safetensors")}
    again = run_demo(directory, TINY, LINEAR, resume=True)
    assert table(again) == table(results)
    assert {p: p.stat().st_mtime_ns for p in directory.rglob("*.safetensors")} == files


def test_an_output_that_exists_is_kept(finished, tmp_path):
    directory, _ = finished
    with pytest.raises(InputError, match="exists; --resume continues it, --overwrite begins anew"):
        run_demo(directory, TINY, LINEAR)
    with pytest.raises(InputError, match=r"other settings: n_factors is 4 .wanted 5"):
        run_demo(directory, TINY, replace(LINEAR, n_factors=5), resume=True)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="was not written by dcbmr"):
        prepare(tmp_path, {}, overwrite=True)
    assert (tmp_path / "mine.txt").exists()


def test_an_unknown_regressor_is_refused_before_any_work(tmp_path):
    settings = replace(LINEAR, rows=(Row("x", "no-such"),))
    with pytest.raises(InputError, match="no-such"):
        run_demo(tmp_path / "d", TINY, settings)
    assert not (tmp_path / "d").exists()


def test_the_report_stands_alone(finished):
    directory, results = finished
    page = write_report(directory, songs=directory / "world" / "songs.tsv", title="A <title>").read_text()
    assert "A &lt;title&gt;" in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "@import" not in page
    assert page.count("<svg") == 1  # the linear model's map; it has no learning curve
    for row in results["rows"]:
        assert f"{row['map_at_500']:.4f}" in page


def test_usage_coordinates_are_the_cosines_of_usage_patterns():
    rng = np.random.default_rng(0)
    users, songs = rng.standard_normal((50, 4)), rng.standard_normal((9, 4))
    usage = users @ songs.T
    usage /= np.linalg.norm(usage, axis=0)
    ours = usage_coordinates(users, songs)
    np.testing.assert_allclose(ours @ ours.T, usage.T @ usage, atol=1e-6)
    assert song_map(users, songs).shape == (9, 2)


def test_demo_settings():
    world, settings = demo_settings()
    assert 2000 <= world.n_songs <= 4000
    assert world.n_artists >= 200
    assert world.n_users == 3000
    assert settings.heldout_fraction == 0.2
    assert demo_settings("small", share=0.2, random_state=7)[0].share == 0.2
    with pytest.raises(InputError, match="size must be"):
        demo_settings("huge")


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
    assert page.count("<svg") == 3  # learning curves, two maps
