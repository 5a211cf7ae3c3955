"""Models on held-out songs: at any k, on the same songs, and with each store and each frame read once."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dcbmr import (
    Evaluation,
    Factors,
    FeaturePipeline,
    FeatureStore,
    InputError,
    PlayCounts,
    WeightedALS,
    evaluate_models,
    evaluate_ranking,
    train,
)
from dcbmr.features import counted, stored_kind
from dcbmr.plays.split import Split


@pytest.fixture(scope="module")
def data(small_world):
    factors = Factors.load(small_world / "factors")
    return factors, Split.load(small_world / "split"), FeatureStore.open(small_world / "features")


@pytest.fixture(scope="module")
def linear(data):
    factors, _, store = data
    return train(factors, store, regressor="linear", pipeline=FeaturePipeline("bow_pca", n_words=16))


@pytest.fixture(scope="module")
def everything(small_world):
    return WeightedALS(n_factors=6, n_iterations=5).fit(PlayCounts.read(small_world / "plays.tsv")).factors_


@pytest.mark.parametrize("k", [1, 5, 500])
def test_any_cut_off(data, linear, everything, k):
    _, split, store = data
    found = evaluate_models({"linear": linear}, split, store, k=k, upper_bound=everything)
    assert [row["model"] for row in found.rows] == ["linear", "upper-bound", "random", "random (in theory)"]
    assert all(set(row) == set(found.rows[0]) and f"map_at_{k}" in row for row in found.rows)
    # The same by hand.
    predicted = linear.predict_store(store, split.heldout_songs)
    np.testing.assert_array_equal(found.predictions["linear"], predicted)
    column = {song: i for i, song in enumerate(split.heldout_songs)}
    row = {user: i for i, user in enumerate(linear.user_ids)}
    heldout = np.zeros((len(row), len(column)), np.float32)
    plays = split.heldout.counts.tocoo()
    for user, song, n in zip(*plays.coords, plays.data, strict=True):
        heldout[row[split.heldout.user_ids[user]], column[split.heldout.song_ids[song]]] = n
    report = evaluate_ranking(linear.user_factors, predicted, heldout, k=k)
    assert found.rows[0][f"map_at_{k}"] == pytest.approx(report.map_at_k, rel=1e-6)
    assert found.rows[0]["auc"] == pytest.approx(report.auc, rel=1e-6)
    assert found.rows[0]["lift"] == pytest.approx(report.map_at_k / found.rows[3][f"map_at_{k}"], rel=1e-6)


def test_it_shows_a_table_and_a_short_repr(data, linear):
    _, split, store = data
    found = evaluate_models({"linear": linear}, split, store, k=5)
    assert isinstance(found, Evaluation)
    header, *lines = found.table().splitlines()
    assert re.split("  +", header) == ["model", "map_at_5", "95 %", "auc", "auc, 95 %", "lift"]
    row = found.rows[0]
    assert re.split("  +", lines[0])[:3] == [
        "linear",
        f"{found.reports['linear'].map_at_k:.5f}",
        f"{row['map_at_5_low']:.4f}-{row['map_at_5_high']:.4f}",
    ]
    assert lines[2].startswith("random (in theory)")
    assert lines[4] == f"means over {row['n_users']} users, of rankings of 8 songs"
    # Figures end in one column.
    end = header.index("auc,") - 2
    assert {line[end - 1].isdigit() and line[end] == " " for line in lines[:3]} == {True}
    assert repr(found).startswith("Evaluation(map_at_5={'linear': 0.")
    assert len(repr(found)) < 100


def test_each_store_is_opened_once_and_each_frame_assigned_once(small_world, monkeypatch):
    """Three models of one pipeline, trained and evaluated, then the songs predicted again."""
    opened, assigned = [], []
    read_index, bag_of_words = stored_kind.read_index, counted.bag_of_words

    def opening(directory):
        opened.append(directory.name)
        return read_index(directory)

    def assigning(features, *args, **options):
        assigned.extend(features.song_ids)
        return bag_of_words(features, *args, **options)

    monkeypatch.setattr(stored_kind, "read_index", opening)
    monkeypatch.setattr(counted, "bag_of_words", assigning)
    factors, split = Factors.load(small_world / "factors"), Split.load(small_world / "split")
    store = FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    models = {
        name: train(factors, store, regressor=name, params=params, pipeline=pipeline)
        for name, params in {"linear": {}, "mlr": {}, "mlp": {"hidden": 8, "epochs": 1}}.items()
    }
    evaluate_models(models, split, store)
    models["mlp"].predict_store(store)
    assert sorted(opened) == ["mel", "mfcc"]  # which songs there are is read from the first kind
    assert sorted(assigned) == sorted(store.song_ids)


def test_what_saw_heldout_songs_is_refused(data, linear, everything):
    factors, split, store = replace(data[0], heldout_songs=()), *data[1:]
    seen = train(everything, store, regressor="linear", pipeline=linear.pipeline)
    with pytest.raises(InputError, match="seen has seen plays of 8 of the 8 songs that are held out"):
        evaluate_models({"good": linear, "seen": seen}, split, store)
    for part in ("codebook", "PCA"):
        pipeline = FeaturePipeline("bow_pca", n_words=16)
        pipeline.fit_transform(store["mfcc"].features(store.song_ids))
        if part == "PCA":
            pipeline.codebook_.songs_ = linear.pipeline.codebook_.songs_
        leaky = train(factors, store, regressor="linear", pipeline=pipeline)
        message = f"the {part} of leaky was learned from 8 of the 8 songs that are held out"
        with pytest.raises(InputError, match=message):
            evaluate_models({"leaky": leaky}, split, store)


def test_checks_come_before_the_work(data, linear, monkeypatch):
    factors, split, store = data
    monkeypatch.setattr(type(linear), "predict_store", lambda *_: pytest.fail("predicted before the checks"))
    with pytest.raises(InputError, match="these have plays of 0 of the 8 songs to score only"):
        evaluate_models({"linear": linear}, split, store, upper_bound=factors)
    with pytest.raises(InputError, match="a model cannot be called 'random'"):
        evaluate_models({"random": linear}, split, store)
    with pytest.raises(InputError, match="there is no model to evaluate"):
        evaluate_models({}, split, store)
    none = replace(split, heldout_songs=["nobody's"])
    with pytest.raises(InputError, match="none of the 1 held-out songs has features"):
        evaluate_models({"linear": linear}, none, store)
