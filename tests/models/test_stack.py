"""A stack: the weighted sum of its models' scores, whatever users they score with."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array

from dcbmr import (
    Factors,
    FeaturePipeline,
    FeatureStore,
    InputError,
    Model,
    Stack,
    WeightedALS,
    evaluate_models,
    load_model,
    train,
)
from dcbmr.cli import cli
from dcbmr.plays.split import Split
from dcbmr.recommendation.recommender import Recommender

WEIGHTS = {"linear": 1.0, "words": 3.0, "mlr": 2.0}


@pytest.fixture(scope="module")
def store(small_world):
    return FeatureStore.open(small_world / "features")


@pytest.fixture(scope="module")
def models(small_world, store, tmp_path_factory):
    """Two models that score with the factors' users, of two kinds of feature, and one with its own."""
    factors = Factors.load(small_world / "factors")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    words = FeaturePipeline("bow", n_words=9)
    made = {
        "linear": train(factors, store, regressor="linear", pipeline=pipeline),
        "words": train(factors, store, regressor="linear", pipeline=words),
        "mlr": train(factors, store, regressor="mlr", pipeline=pipeline),
    }
    root = tmp_path_factory.mktemp("models")
    for name, model in made.items():
        model.save(root / name)
    return root, made


def scores(model, predicted):
    return model.user_factors @ predicted.T


@pytest.mark.parametrize("names", [("linear", "words"), ("linear", "mlr"), ("words", "mlr", "linear")])
def test_its_score_is_the_weighted_sum_of_its_models_scores(models, store, small_world, tmp_path, names):
    made = [models[1][name] for name in names]
    weights = [WEIGHTS[name] for name in names]
    stack = Stack(made, weights=weights)
    songs = Split.load(small_world / "split").heldout_songs
    wanted = sum(w * scores(m, m.predict_store(store, songs)) for m, w in zip(made, weights, strict=True))
    wanted /= sum(weights)
    predicted = stack.predict_store(store, songs)
    np.testing.assert_allclose(scores(stack, predicted), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    # Of factors alone it predicts in their units, and needs no users of its own.
    own = "mlr" in names
    assert (stack.own_user_factors is None) != own
    assert (predicted.shape[1] == 6) != own
    stack.save(tmp_path / "stack")
    loaded = load_model(tmp_path / "stack")
    assert isinstance(loaded, Stack)
    assert (loaded.weights, repr(loaded)) == (stack.weights, repr(stack))
    np.testing.assert_array_equal(loaded.predict_store(store, songs), predicted)
    np.testing.assert_array_equal(loaded.user_factors, stack.user_factors)
    file = small_world / "audio" / f"{songs[0]}.wav"
    np.testing.assert_allclose(loaded.predict_files([file]), predicted[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("names", [("linear", "words"), ("words", "mlr", "linear")])
def test_new_users_are_folded_in_by_each_model(models, store, names):
    made = [models[1][name] for name in names]
    stack = Stack(made)
    plays = csr_array(made[0].factors.counts[:7, made[0]._training_rows])
    assert stack.song_ids == made[0].song_ids
    songs = store.song_ids[:5]
    wanted = sum(m.fold_in_users(plays) @ m.predict_store(store, songs).T for m in made) / len(made)
    found = stack.fold_in_users(plays) @ stack.predict_store(store, songs).T
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    top = Recommender.from_model(stack, features=store).recommend_for(
        [made[0].song_ids[0]], k=4, candidates="all"
    )
    assert (top.songs >= 0).all()


def test_the_factors_are_held_once_and_read_when_needed(models, small_world, tmp_path):
    Stack([models[1]["linear"], models[1]["mlr"]]).save(tmp_path / "stack")
    assert [path.parent.name for path in tmp_path.rglob("factors.safetensors")] == ["factors"]
    loaded = Stack.load(tmp_path / "stack")
    assert loaded.models[0].factors is loaded.models[1].factors is loaded.factors
    (tmp_path / "stack" / "factors").rename(tmp_path / "elsewhere")
    assert Stack.load(tmp_path / "stack").predict_files([small_world / "audio" / "song01.wav"]).shape[0] == 1


def test_models_of_other_factors_are_refused(models, small_world, store):
    split = Split.load(small_world / "split")
    other = WeightedALS(n_factors=6, n_iterations=3, random_state=5).fit(split.train).factors_
    stranger = train(other, store, regressor="linear", pipeline=models[1]["linear"].pipeline)
    with pytest.raises(
        InputError, match="model 1 of the stack was trained on other factors .*: user_factors"
    ):
        Stack([models[1]["linear"], stranger])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, np.nan], [1.0, -1.0]])
def test_weights_that_are_none_are_refused(models, weights):
    with pytest.raises(InputError, match="weights must be 2 positive numbers"):
        Stack([models[1]["linear"], models[1]["mlr"]], weights=weights)


def test_a_stack_of_one_is_that_model(models, store, small_world):
    split = Split.load(small_world / "split")
    found = evaluate_models(
        {"alone": models[1]["linear"], "stack": Stack([models[1]["linear"]])}, split, store, k=7
    )
    alone, stack = found.rows[:2]
    assert (alone["map_at_7"], alone["auc"]) == (stack["map_at_7"], stack["auc"])
    assert (alone["loss"], stack["loss"]) == ("mse", None)


def run(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_take_its_directory(models, small_world, tmp_path):
    root, made = models
    both = tmp_path / "both"
    run("stack", root / "linear", root / "mlr", "-o", both, "--weight", 1, "--weight", 3)
    assert load_model(both).weights == [0.25, 0.75]
    features = ("--features", small_world / "features", "--json")
    table = json.loads(run("evaluate", both, root / "linear", "--split", small_world / "split", *features))
    assert [row["model"] for row in table[:2]] == [str(both), str(root / "linear")]
    found = json.loads(run("recommend", both, "--user", "user03", "-k", 3, "--candidates", "all", *features))
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert len(json.loads(run("similar", both, "--song", "song03", "-k", 2, *features))) == 2
    file = small_world / "audio" / "song03.wav"
    row = json.loads(run("predict", both, file, "--json"))[0]
    width = 6 + made["mlr"].user_factors.shape[1]
    assert len(row) == 1 + width
    with pytest.raises(InputError, match="holds 'stack', not 'model'"):
        Model.load(both)
