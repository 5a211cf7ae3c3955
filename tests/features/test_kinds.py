"""Kinds of any name: stored ones know what they are, whether anybody offers them or not."""

import json

import numpy as np
import pytest
from sounds import tone, write

import dcbmr
from dcbmr.features.features_writer import create_features
from dcbmr.features.writer import StoreWriter, create_store
from dcbmr.models.kinds import check_kind

N_SONGS, N_DIMS = 7, 5


def brought(directory, vectors, kind="tags", **options):
    """Write vectors that no plugin made, one a song."""
    made = dcbmr.FeatureConfig(
        kind=kind, shape="vectors", dtype="<f4", n_dims=vectors.shape[1], settings={"file": "x"}, **options
    )
    create_features(directory, [made], {"kinds": [kind]}, overwrite=False)
    (directory / "unfinished.json").unlink()
    writer = StoreWriter(directory / kind, made)
    assert list(writer.index()) == []
    writer.cut()
    for song, vector in enumerate(vectors):
        writer.append_rows(f"song {song}", vector[None])
    writer.commit()
    writer.close()
    return dcbmr.FeatureStore.open(directory)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((N_SONGS, N_DIMS)).astype(np.float32)


def test_vectors_of_any_name_are_read_back(tmp_path, vectors):
    store = brought(tmp_path / "f", vectors, licence="CC0")
    assert (store.kinds, store.song_ids[2]) == (("tags",), "song 2")
    stored = store["tags"]
    assert (stored.shape, stored.n_dims, stored.dtype) == ("vectors", N_DIMS, np.float32)
    assert (stored.config.licence, stored.config.package, stored.settings) == ("CC0", "", {"file": "x"})
    np.testing.assert_array_equal(stored["song 3"], vectors[3])
    order = [4, 0, 4, 6]
    features = stored.features([f"song {i}" for i in order])
    assert (features.kind, features.n_dims, features.dtype) == ("tags", N_DIMS, np.float32)
    assert features.vectors().flags.c_contiguous
    np.testing.assert_array_equal(features.vectors(), vectors[order])
    np.testing.assert_array_equal(features.n_frames, [1] * 4)
    with pytest.raises(dcbmr.InputError, match="they have no frames"):
        features.frames(0)
    assert store.check() == {"tags": []}


def test_vectors_over_several_shards(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr("dcbmr.features.writer._MAX_SHARD_BYTES", 3 * N_DIMS * 4)
    stored = brought(tmp_path / "f", vectors)["tags"]
    assert len(list((tmp_path / "f" / "tags").glob("*.bin"))) == 3
    np.testing.assert_array_equal(stored.features(stored.song_ids[::-1]).vectors(), vectors[::-1])


def test_a_song_of_two_vectors_is_damage(tmp_path, vectors):
    brought(tmp_path / "f", vectors)
    index = tmp_path / "f" / "tags" / "songs.tsv"
    lines = index.read_text().splitlines()
    song, shard, row, _, crc = lines[-1].split("\t")
    index.write_text("\n".join([*lines[:-2], f"{song}\t{shard}\t{int(row) - 1}\t2\t{crc}"]) + "\n")
    with pytest.raises(dcbmr.InputError, match="is damaged: song 'song 6' has not one vector"):
        dcbmr.FeatureStore.open(tmp_path / "f")["tags"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": "waves"}, "is damaged: shape is 'waves'"),
        ({"dtype": "|O"}, r"is damaged: dtype is '\|O'"),
        ({"feature": "../mel"}, "kind '../mel': wanted a letter"),
        ({"feature": "mel"}, "holds 'mel' features, not 'tags'"),
    ],
)
def test_what_a_config_says_is_not_trusted(tmp_path, vectors, changed, message):
    brought(tmp_path / "f", vectors)
    config = tmp_path / "f" / "tags" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.FeatureStore.open(tmp_path / "f")["tags"]


def test_folders_whose_names_are_no_kinds_are_passed_over(tmp_path, vectors):
    brought(tmp_path / "f", vectors)
    made = dcbmr.FeatureStore.open(tmp_path / "f")["tags"].config
    create_store(tmp_path / "f" / "a.b", made)
    (tmp_path / "f" / "notes").mkdir()
    assert dcbmr.FeatureStore.open(tmp_path / "f").kinds == ("tags",)


def test_stores_made_before_kinds_knew_their_shape(tmp_path):
    """Their settings lie beside the layout; mel and mfcc are frames, bow is vectors."""
    for name, length in (("a", 1.0), ("b", 2.0)):
        write(tmp_path / f"{name}.wav", tone(length))
    dcbmr.featurize(tmp_path, tmp_path / "f")
    kept = dcbmr.FeatureStore.open(tmp_path / "f")
    for kind in ("mel", "mfcc"):
        file = tmp_path / "f" / kind / "config.json"
        config = json.loads(file.read_text())
        settings = config.pop("settings")
        for new in ("shape", "package", "licence"):
            del config[new]
        file.write_text(json.dumps({**config, **settings}))
    old = dcbmr.FeatureStore.open(tmp_path / "f")
    for kind in ("mel", "mfcc"):
        assert old[kind].config == dcbmr.FeatureConfig.from_json(
            {**kept[kind].config.to_json(), "package": ""}
        )
        np.testing.assert_array_equal(old[kind]["b"], kept[kind]["b"])
    write(tmp_path / "c.wav", tone(1.5))
    assert dcbmr.featurize(tmp_path, tmp_path / "f", resume=True).n_done == 1


def test_a_kind_that_nobody_offers_is_trained_on(tmp_path, vectors):
    spec = dcbmr.regressors()["linear"]
    store = brought(tmp_path / "f", vectors)
    check_kind(spec, "tags", store)
    pipeline = dcbmr.FeaturePipeline("tags")
    assert (pipeline.source, pipeline.is_fitted) == ("tags", False)
    learned = pipeline.learn(store, store.song_ids).vectors()
    pipeline.save(tmp_path / "pipeline")
    again = dcbmr.FeaturePipeline.load(tmp_path / "pipeline")
    assert (again.kind, again.is_fitted) == ("tags", True)
    features = store["tags"].features(store.song_ids)
    np.testing.assert_array_equal(again.transform(features).vectors(), learned)
    with pytest.raises(dcbmr.InputError, match="'cnn' takes frames, which 'tags' is not; .* no such kind"):
        check_kind(dcbmr.regressors()["cnn"], "tags", store)
    with pytest.raises(
        dcbmr.InputError,
        match="unknown kind of feature 'tag'; .* has tags, installed: mel, mfcc, patterns, stats, bow",
    ):
        check_kind(spec, "tag", store)
    with pytest.raises(dcbmr.InputError, match="no features of kind 'mfcc': it has tags"):
        store[dcbmr.FeaturePipeline("bow").source]
