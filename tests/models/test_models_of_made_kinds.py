"""Models of a kind that the store lacks and makes of its frames: as if featurize had stored it."""

import json

import numpy as np
import pytest

import dcbmr
from dcbmr.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword")


@pytest.fixture(scope="module")
def factors(small_world):
    return dcbmr.Factors.load(small_world / "factors")


@pytest.fixture(scope="module")
def frames(small_world):
    return dcbmr.FeatureStore.open(small_world / "features")


@pytest.fixture(scope="module")
def stored(small_world, tmp_path_factory):
    root = tmp_path_factory.mktemp("stats") / "f"
    dcbmr.featurize(small_world / "audio", root, kinds=["stats"])
    return dcbmr.FeatureStore.open(root)


def test_the_model_is_that_of_stored_statistics(factors, frames, stored, small_world, tmp_path):
    made = dcbmr.train(factors, frames, regressor="linear", kind="stats")
    wanted = dcbmr.train(factors, stored, regressor="linear", kind="stats")
    assert made.config["features"] == wanted.config["features"]
    np.testing.assert_array_equal(made.predict_store(frames), wanted.predict_store(stored))
    made.save(tmp_path / "m")
    again = dcbmr.Model.load(tmp_path / "m")
    # Each is put to use on the other's store, and on a file.
    np.testing.assert_array_equal(again.predict_store(stored), wanted.predict_store(frames))
    np.testing.assert_allclose(
        again.predict_files([small_world / "audio" / "song03.wav"]),
        again.predict_store(frames, ["song03"]),
        rtol=1e-4,
        atol=1e-6,
    )
    split = dcbmr.Split.load(small_world / "split")
    evaluation = dcbmr.evaluate_models({"stats": again}, split, frames)
    assert set(evaluation.candidates.song_ids) == set(split.heldout_songs)
    assert len(dcbmr.Recommender.from_model(again, features=frames).song_ids) == 40


def test_joined_with_words(factors, frames, small_world):
    pipeline = dcbmr.pipeline_to(["bow_pca", "stats"], n_words=16)
    model = dcbmr.train(factors, frames, regressor="linear", pipeline=pipeline)
    assert [config["feature"] for config in model.config["features"]] == ["mfcc", "stats"]
    np.testing.assert_allclose(
        model.predict_files([small_world / "audio" / "song03.wav"]),
        model.predict_store(frames, ["song03"]),
        rtol=1e-3,
        atol=1e-5,
    )


def test_frames_that_were_made_otherwise_are_refused(factors, stored, small_world, tmp_path):
    dcbmr.featurize(small_world / "audio", tmp_path / "f", params={"mel.hop_length": 256})
    model = dcbmr.train(factors, stored, regressor="linear", kind="stats")
    with pytest.raises(dcbmr.InputError, match=r"mel.hop_length is 256 \(wanted 512\)"):
        model.predict_store(dcbmr.FeatureStore.open(tmp_path / "f"))


def test_command_line(small_world, tmp_path, capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert stopped.value.code == 0, err
        return out

    features, model = small_world / "features", tmp_path / "m"
    run(
        *("train", "--regressor", "linear", "--kind", "stats", "--factors", small_world / "factors"),
        *("--features", features, "-o", model),
    )
    [row] = json.loads(run("predict", model, small_world / "audio" / "song00.wav", "--json"))
    rows = json.loads(run("predict", model, "--features", features, "--json"))
    assert row["factor_0"] == pytest.approx(rows[0]["factor_0"], rel=1e-4, abs=1e-6)
    run("evaluate", model, "--split", small_world / "split", "--features", features)
    assert run("similar", features, "--kind", "stats", "--song", "song00", "-k", "3")
