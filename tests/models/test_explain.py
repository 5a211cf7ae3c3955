"""What a model responds to: on a network whose answer can be computed by hand, and from the command line."""

import json

import numpy as np
import pytest
from dcbmr_torch.cnn import CNN
from planted import SMALL_CNN, planted_order

from dcbmr import InputError
from dcbmr.cli import main
from dcbmr.factorization.factors import Factors
from dcbmr.features.featurize import featurize
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.explain import explain, window_scores
from dcbmr.models.model import Model
from dcbmr.models.training import train


def test_activations_of_factors_are_the_predictions():
    songs, target = planted_order()
    model = CNN(**SMALL_CNN).fit(songs, target)
    every = np.arange(len(songs.song_ids))
    rows, starts, length, values = model.activations(songs, every)
    assert length == 16
    means = [values[rows == song].mean(0) for song in range(len(songs.song_ids))]
    np.testing.assert_allclose(means, model.predict(songs), atol=1e-5)
    windows = songs.windows(rows, starts, length).astype(np.float16).astype(np.float32)  # as it is stored
    # The first ReLU by hand: standardize, convolve, normalize, clip, the maximum over time.
    state = {name: value.numpy() for name, value in model._network.state_dict().items()}
    heard = (windows - state["input_mean"]) * state["input_scale"]
    filters = state["body.0.layers.0.weight"][:, :, 0]  # (channels, n_dims, 4)
    patches = np.lib.stride_tricks.sliding_window_view(heard, 4, axis=1)  # (B, time, n_dims, 4)
    out = np.einsum("btdk,cdk->btc", patches, filters)
    norm = {
        name: state[f"body.0.layers.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    }
    out = (out - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    np.testing.assert_allclose(
        model.activations(songs, every, layer=1)[3], np.maximum(out, 0).max(1), rtol=1e-3, atol=1e-4
    )
    with pytest.raises(InputError, match="layer 4: the network has layers 1 to 3"):
        model.activations(songs, every, layer=4)


@pytest.fixture(scope="module")
def models(small_world, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    small = {"cnn": {"channels": (4, 4), "hidden": (8,), "epochs": 1}, "mlp": {"hidden": 8, "epochs": 1}}
    factors = Factors.load(small_world / "factors")
    for name, params in small.items():
        pipeline = FeaturePipeline("mel" if name == "cnn" else "bow_pca", n_words=20)
        features = FeatureStore.open(small_world / "features")
        model = train(factors, features, regressor=name, params=params, pipeline=pipeline, n_threads=1)
        model.save(directory / name)
    return directory


def rows(capsys, *words):
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in (*words, "--json")])
    assert not done.value.code
    return json.loads(capsys.readouterr().out)


def test_the_command_lists_and_draws(small_world, models, capsys, tmp_path):
    words = ["explain", models / "cnn", "--features", small_world / "features", "-k", 3, "--unit", 1]
    found = rows(capsys, *words, "--pictures", tmp_path / "pictures")
    assert [row["rank"] for row in found] == [1, 2, 3, -1, -2, -3]
    values = [row["value"] for row in found]
    assert values[:3] == sorted(values[:3], reverse=True)
    assert values[3:] == sorted(values[3:])
    assert len({row["song"] for row in found[:3]}) == 3
    assert all(0 <= row["start_s"] < row["end_s"] for row in found)
    assert (tmp_path / "pictures" / "unit0001.png").read_bytes().startswith(b"\x89PNG")
    units = rows(capsys, *words[:-2], "--layer", 2)
    assert {row["unit"] for row in units} == {0, 1, 2, 3}
    assert min(row["rank"] for row in units) == 1


@pytest.mark.parametrize("layer", [None, 3])
def test_song_by_song_the_same_windows_are_found(small_world, models, monkeypatch, layer):
    model = Model.load(models / "cnn")
    store = FeatureStore.open(small_world / "features")
    heard = model.features_of(store)
    whole = explain(model, store, layer=layer, k=4)
    values = model.regressor.activations(heard, np.arange(len(heard.song_ids)), layer=layer)[3]
    for unit in range(values.shape[1]):
        assert [e.value for e in whole if (e.unit, e.rank) == (unit, 1)] == [values[:, unit].max()]
    monkeypatch.setattr("dcbmr.models.explain._BLOCK", 7)
    in_blocks = explain(model, store, layer=layer, k=4)
    for found, wanted in zip(in_blocks, whole, strict=True):
        assert found.value == pytest.approx(wanted.value, rel=1e-4, abs=1e-6)
        assert (found.unit, found.rank) == (wanted.unit, wanted.rank)
    assert np.mean([a.song == b.song for a, b in zip(in_blocks, whole, strict=True)]) > 0.95
    few = explain(model, store, layer=layer, units=[2, 0], k=1000)
    assert [e.unit for e in few[: len(heard.song_ids)]] == [2] * len(heard.song_ids)
    chosen = store.song_ids[5:8]
    of_chosen = explain(model, store, song_ids=chosen, layer=layer, units=[1], k=1000)
    assert {e.song for e in of_chosen} == set(chosen)


def test_the_score_of_a_song_is_the_mean_of_its_windows(small_world, models, monkeypatch):
    model, store = Model.load(models / "cnn"), FeatureStore.open(small_world / "features")
    songs = list(store.song_ids[3:12])
    users = np.random.default_rng(0).standard_normal((len(songs), 6))
    found = window_scores(model, store, users, song_ids=songs)
    assert [one.song for one in found] == songs
    predicted = model.predict_store(store, songs)
    np.testing.assert_allclose(
        [one.scores.mean() for one in found], (users * predicted).sum(axis=1), rtol=1e-4, atol=1e-5
    )
    monkeypatch.setattr("dcbmr.models.explain._BLOCK", 4)
    for one, again in zip(found, window_scores(model, store, users[0], song_ids=songs), strict=True):
        assert (one.start_s == again.start_s).all()
        assert ((one.start_s >= 0) & (one.start_s < one.end_s)).all()
    # The strongest window of a factor is the one that says the most for a user who likes that factor alone.
    best = explain(model, store, song_ids=songs, units=[1], k=1)[0]
    likes = window_scores(model, store, np.eye(6)[1], song_ids=songs)[songs.index(best.song)]
    window = int(likes.scores.argmax())
    assert likes.scores[window] == pytest.approx(best.value, rel=1e-4)
    assert (likes.start_s[window], likes.end_s[window]) == (best.start_s, best.end_s)
    with pytest.raises(InputError, match=r"users has shape \(2, 6\)"):
        window_scores(model, store, users[:2], song_ids=songs)


def test_times_are_those_of_the_file(small_world, models, tmp_path):
    featurize(small_world / "audio", tmp_path / "later", kinds=["mel"], offset=1.0)
    found = explain(Model.load(models / "cnn"), FeatureStore.open(tmp_path / "later"), units=[0], k=40)
    assert min(excerpt.start_s for excerpt in found) == 1.0
    assert 3.0 < max(excerpt.end_s for excerpt in found) <= 4.0  # songs last from two seconds to four


def test_listening_can_be_stopped(small_world, models):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(Model.load(models / "cnn"), FeatureStore.open(small_world / "features"), progress=stop)


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("mlp", [], "regressor 'mlp' has no activations"),
        ("cnn", ["--unit", 99], "unit 99: there are units 0 to"),
        ("cnn", ["--layer", 9], "layer 9: the network has layers 1 to 3"),
    ],
)
def test_what_cannot_be_explained(small_world, models, capsys, model, more, message):
    with pytest.raises(SystemExit) as done:
        main(["explain", f"{models / model}", "--features", f"{small_world / 'features'}", *map(str, more)])
    assert done.value.code == 2
    assert message in capsys.readouterr().err
