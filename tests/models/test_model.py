"""A model on disk: what it holds is held once, and read when it is needed."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from dcbmr import Factors, FeaturePipeline, FeatureStore, InputError, Model, train
from dcbmr.cli import cli
from dcbmr.recommendation.recommender import Recommender


@pytest.fixture(scope="module")
def models(small_world, tmp_path_factory):
    """A linear and a metric model, as trained and as written."""
    root = tmp_path_factory.mktemp("models")
    factors = Factors.load(small_world / "factors")
    store = FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    made = {name: train(factors, store, regressor=name, pipeline=pipeline) for name in ("linear", "mlr")}
    for name, model in made.items():
        model.save(root / name)
    return root, made


@pytest.mark.parametrize("name", ["linear", "mlr"])
def test_prediction_reads_no_factors(models, small_world, tmp_path, name):
    root, made = models
    shutil.copytree(root / name, tmp_path / "alone", ignore=lambda *_: ["factors"])
    alone = Model.load(tmp_path / "alone")
    assert repr(alone) == repr(made[name])
    store = FeatureStore.open(small_world / "features")
    np.testing.assert_array_equal(alone.predict_store(store), made[name].predict_store(store))
    file = small_world / "audio" / "song00.wav"
    np.testing.assert_array_equal(alone.predict_files([file]), made[name].predict_files([file]))
    done = CliRunner().invoke(cli, ["predict", str(tmp_path / "alone"), str(file), "--json"])
    assert done.exit_code == 0, done.output
    with pytest.raises(InputError, match="factors is no dcbmr factors directory: it does not exist"):
        _ = alone.factors


@pytest.mark.parametrize("name", ["linear", "mlr"])
def test_a_model_copied_alone_recommends_and_folds_in(models, small_world, tmp_path, name):
    root, made = models
    shutil.copytree(root / name, tmp_path / "alone")
    alone = Model.load(tmp_path / "alone")
    np.testing.assert_array_equal(alone.user_factors, made[name].user_factors)
    assert alone.song_ids == made[name].song_ids
    plays = alone.factors.counts[:5, alone._training_rows]
    np.testing.assert_array_equal(alone.fold_in_users(plays), made[name].fold_in_users(plays))
    store = FeatureStore.open(small_world / "features")
    tops = [
        Recommender.from_model(model, features=store).recommend(["user03"], k=5, candidates="all")
        for model in (alone, made[name])
    ]
    np.testing.assert_array_equal(tops[0].songs, tops[1].songs)
    assert alone.factors is alone.factors


@pytest.mark.parametrize("name", ["linear", "mlr"])
def test_nothing_is_held_twice(models, name):
    root, made = models
    names = {str(path.relative_to(root / name)) for path in (root / name).rglob("*") if path.is_file()}
    ours = {n for n in names if not n.startswith(("regressor/", "factors/"))}
    assert ours == {
        "config.json",
        "training_songs.npy",
        "pipeline/config.json",
        "pipeline/codebook/config.json",
        "pipeline/codebook/codebook.safetensors",
        "pipeline/pca/config.json",
        "pipeline/pca/pca.safetensors",
    }
    # Users of the model's own are made of the plays that the factors hold.
    shapes = [
        t.shape
        for file in (root / name / "regressor").glob("*.safetensors")
        for t in load_file(file).values()
    ]
    assert shapes
    assert len(made[name].user_ids) not in {n for shape in shapes for n in shape}


def test_a_model_knows_how_it_was_made(models):
    root, made = models
    config = json.loads((root / "linear" / "config.json").read_text())
    assert config["package"].startswith("dcbmr ")
    assert (config["feature"], config["source"], config["width"]) == ("bow_pca", "mfcc", 6)
    shown = "Model('linear', loss='mse', kind='bow_pca', n_songs=32, n_users=60, n_factors=6)"
    assert repr(made["linear"]) == repr(Model.load(root / "linear")) == shown
    assert "loss" not in repr(made["mlr"])


def change(directory, **settings):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | settings))


def test_a_model_of_an_older_dcbmr_is_refused_with_what_to_do(models, tmp_path):
    shutil.copytree(models[0] / "linear", tmp_path / "old")
    change(tmp_path / "old", format_version=1)
    with pytest.raises(InputError, match="train it again: dcbmr train --factors .*old/factors --features"):
        Model.load(tmp_path / "old")
    Factors.load(tmp_path / "old" / "factors")


def test_a_model_whose_plugin_is_missing_names_it(models, tmp_path):
    shutil.copytree(models[0] / "linear", tmp_path / "strange")
    change(tmp_path / "strange", regressor="forest", package="dcbmr-forest 2.0")
    with pytest.raises(
        InputError,
        match=r"of dcbmr-forest 2.0, which is not installed: pip install dcbmr-forest==2.0; installed: ",
    ):
        Model.load(tmp_path / "strange")


def test_songs_of_an_artist_are_heard_together(small_world, tmp_path):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    songs = list(store["mfcc"].song_ids)
    artists = {song: f"artist {i // 3}" for i, song in enumerate(songs[:-1])}  # the last is of nobody known
    alone = train(factors, store, regressor="linear", pipeline=pipeline, artists=artists).predict_store(store)
    made = train(factors, store, regressor="linear", pipeline=pipeline, artists=artists, artist_weight=0.25)
    together = made.predict_store(store)
    for first in range(0, len(songs) - 1, 3):
        own = alone[first : min(first + 3, len(songs) - 1)]
        expected = 0.75 * own + 0.25 * own.mean(axis=0)
        np.testing.assert_allclose(together[first : first + len(own)], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(together[-1], alone[-1])
    # Which other songs are asked for changes nothing: the store has them all.
    np.testing.assert_allclose(
        made.predict_store(store, [songs[4], songs[4]]), together[[4, 4]], rtol=1e-4, atol=1e-6
    )
    made.save(tmp_path / "model")
    np.testing.assert_array_equal(Model.load(tmp_path / "model").predict_store(store), together)
    with pytest.raises(InputError, match="between 0 and 1; got 2"):
        train(factors, store, regressor="linear", artists=artists, artist_weight=2)
    with pytest.raises(InputError, match="no artist is known: give a table"):
        train(replace(factors, artists=None), store, regressor="linear", artist_weight=1)
