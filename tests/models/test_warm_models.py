"""A training that starts from yesterday's model."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dcbmr import InputError
from dcbmr.cli import cli
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.training import train

SMALL = {"hidden": 16, "epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def world(small_world):
    return Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")


def trained(world, regressor="mlp", factors=None, **options):
    params = {**SMALL, **options.pop("params", {})}
    own, store = world
    return train(factors or own, store, regressor=regressor, params=params, n_threads=1, **options)


@pytest.fixture(scope="module")
def yesterday(world, tmp_path_factory):
    """A model that was saved and loaded, as that of another night is."""
    from dcbmr.features.pipeline import FeaturePipeline

    path = tmp_path_factory.mktemp("models") / "yesterday"
    trained(world, pipeline=FeaturePipeline("bow", n_words=8), loss="softmax").save(path)
    return Model.load(path)


def test_starts_where_the_model_stood(world, yesterday):
    before = yesterday.predict_store(world[1])
    still = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    tonight = trained(world, params=still, warm_start=yesterday, loss="softmax")
    np.testing.assert_allclose(tonight.predict_store(world[1]), before, atol=1e-5)
    assert tonight.config["is_warm_start"]
    assert tonight.pipeline is yesterday.pipeline
    moved = trained(world, params={"epochs": 1}, warm_start=yesterday, loss="softmax")
    assert not np.array_equal(moved.predict_store(world[1]), before)
    np.testing.assert_array_equal(yesterday.predict_store(world[1]), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"params": {"hidden": 17}}, "the network to start from is another one: .*size mismatch"),
        ({"kind": "bow_pca"}, "kind is 'bow_pca', but the pipeline makes 'bow'"),
    ],
)
def test_refuses_what_it_cannot_start_from(world, yesterday, options, said):
    with pytest.raises(InputError, match=said):
        trained(world, warm_start=yesterday, **options)


@pytest.mark.parametrize(
    ("regressor", "said"),
    [
        ("linear", "regressor 'linear' has no warm start: leave it out, or take one that has: .*cnn.*mlp"),
        ("cnn", "takes frames, which 'bow' is not"),
    ],
)
def test_refuses_other_regressors(world, yesterday, regressor, said):
    with pytest.raises(InputError, match=said):
        train(*world, regressor=regressor, warm_start=yesterday)


def test_refuses_a_model_that_has_learned_the_songs_to_judge_by(world, yesterday):
    factors = world[0]
    song = yesterday.song_ids[3]
    counts = factors.counts.tolil()
    counts[:, list(factors.song_ids).index(song)] = 0
    without = replace(factors, counts=counts.tocsr(), heldout_songs=(*factors.heldout_songs, song))
    with pytest.raises(InputError, match="was learned from 1 of|was trained on 1 of"):
        trained(world, factors=without, warm_start=yesterday)


def test_on_the_command_line(small_world, tmp_path):
    words = ["train", "--factors", small_world / "factors", "--features", small_world / "features"]

    def run(*more):
        return CliRunner().invoke(cli, [str(word) for word in (*words, *more)])

    sets = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    mlp = ("--regressor", "mlp", *sets)
    assert run(*mlp, "--kind", "bow", "--words", 8, "-o", tmp_path / "one").exit_code == 0
    start = ("--warm-start", tmp_path / "one")
    result = run(*mlp, *start, "--words", 8, "-o", tmp_path / "two")
    assert "with --warm-start, --words is the model's: leave it out" in result.output
    result = run("--regressor", "linear", *start, "-o", tmp_path / "two")
    assert "has no warm start" in str(result.exception)
    assert run(*mlp, *start, "-o", tmp_path / "two").exit_code == 0
    assert Model.load(tmp_path / "two").kind == "bow"
