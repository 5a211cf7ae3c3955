"""From what a store holds to the features of a regressor: each frame assigned once, learned parts kept."""

import json

import numpy as np
import pytest
from scipy.sparse import issparse

from dcbmr import FeaturePipeline, FeatureStore, InputError, MemoryFeatures
from dcbmr.features import counted
from dcbmr.features.memory import VectorFeatures


@pytest.fixture
def assigned(monkeypatch):
    """The songs whose frames were assigned to words, in order, with repetitions."""
    songs = []

    def count(features, *args, **options):
        songs.extend(features.song_ids)
        return real(features, *args, **options)

    real = counted.bag_of_words
    monkeypatch.setattr(counted, "bag_of_words", count)
    return songs


@pytest.fixture
def stored(small_world):
    return FeatureStore.open(small_world / "features")["mfcc"]


@pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword")
def test_each_frame_of_a_store_is_assigned_once(stored, small_world, assigned):
    songs = list(stored.song_ids)
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    learned = pipeline.fit_transform(stored.features(songs[:20]))
    np.testing.assert_array_equal(
        pipeline.transform(stored.features(songs[:20])).vectors(), learned.vectors()
    )
    assert assigned == songs[:20]
    mixed = [*songs[15:30], songs[3], songs[3]]
    again = pipeline.transform(stored.features(mixed)).vectors()
    assert assigned == songs[:30]
    # Another pipeline that has the same codebook shares them; whatever it makes of the counts.
    other = FeaturePipeline("bow", codebook=pipeline.codebook_, weighting="sqrt")
    other.source = "mfcc"
    roots = other.transform(stored.features(mixed)).vectors()
    assert assigned == songs[:30]
    # Another store, and frames in memory, are counted for themselves.
    elsewhere = FeatureStore.open(small_world / "features")["mfcc"].features(mixed)
    np.testing.assert_array_equal(pipeline.transform(elsewhere).vectors(), again)
    assert assigned[30:] == list(dict.fromkeys(mixed))
    frames = MemoryFeatures("mfcc", mixed, [stored[song] for song in mixed])
    np.testing.assert_allclose(other.transform(frames).vectors().toarray(), roots.toarray(), rtol=1e-6)
    np.testing.assert_array_equal(roots.toarray()[-1], roots.toarray()[-2])
    # Another codebook has counts of its own.
    FeaturePipeline("bow", n_words=9).fit_transform(stored.features(songs[:2]))
    assert assigned[-2:] == songs[:2]


def test_counts_beyond_the_bound_are_not_kept(stored, assigned, monkeypatch):
    songs = list(stored.song_ids)
    pipeline = FeaturePipeline("bow", n_words=16)
    first = pipeline.fit_transform(stored.features(songs[:10])).vectors()
    kept = stored.counted[pipeline.codebook_.digest]
    assert kept.n_bytes < 39 * 4 * stored.n_frames[:10].sum() / 15
    monkeypatch.setattr(counted, "_MOST_BYTES", kept.n_bytes)
    for _ in range(2):
        both = pipeline.transform(stored.features(songs[:12])).vectors()
        np.testing.assert_array_equal(both[:10].toarray(), first.toarray())
        assert both[10:].sum() == stored.n_frames[10:12].sum()
    assert assigned == [*songs[:12], *songs[10:12]]
    assert list(kept.row_of) == songs[:10]


def test_what_is_kept_cannot_be_written_to(stored):
    pipeline = FeaturePipeline("bow", n_words=16)
    counts = pipeline.fit_transform(stored.features(stored.song_ids)).vectors()
    with pytest.raises(ValueError, match="read-only"):
        counts.data[0] = 1


@pytest.mark.parametrize("kind", ["mel", "mfcc", "bow", "bow_pca"])
def test_save_and_load(small_world, tmp_path, kind):
    store = FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline(kind, n_words=16, variance=0.8, weighting="sqrt")
    features = store[pipeline.source].features(store.song_ids[:25])
    made = pipeline.fit_transform(features)
    assert made.kind == kind
    pipeline.save(tmp_path / "pipeline")
    loaded = FeaturePipeline.load(tmp_path / "pipeline")
    assert loaded.standardize or kind in ("mel", "mfcc")
    assert (repr(loaded), loaded.settings()) == (repr(pipeline), pipeline.settings())
    again = loaded.transform(features)
    if kind in ("mel", "mfcc"):
        assert again is features
    else:
        wanted, found = (
            f.vectors().toarray() if issparse(f.vectors()) else f.vectors() for f in (made, again)
        )
        np.testing.assert_array_equal(found, wanted)
        assert loaded.codebook_.seen(store.song_ids) == list(store.song_ids[:25])
    if kind == "bow_pca":
        assert loaded.pca_.seen(store.song_ids) == list(store.song_ids[:25])


def test_standardization_is_a_setting(stored, tmp_path):
    pipeline = FeaturePipeline("bow", n_words=16, standardize=False)
    pipeline.fit_transform(stored.features(stored.song_ids))
    assert pipeline.codebook_.scale_ is None
    assert pipeline.settings()["standardize"] is False
    pipeline.save(tmp_path / "pipeline")
    config = json.loads((tmp_path / "pipeline" / "config.json").read_text())
    del config["standardize"]  # as it was before there was a choice
    (tmp_path / "pipeline" / "config.json").write_text(json.dumps(config))
    assert FeaturePipeline.load(tmp_path / "pipeline").settings() == pipeline.settings()
    assert FeaturePipeline("bow", codebook=pipeline.codebook_).settings()["standardize"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "../bag"}, "kind '../bag': wanted a letter, then letters, digits"),
        ({"n_words": 0}, "n_words must be at least 1; got 0"),
        ({"variance": 1.5}, r"variance must be in \(0, 1\]; got 1.5"),
        ({"weighting": "log"}, "weighting must be 'count' or 'sqrt'; got 'log'"),
    ],
)
def test_wrong_settings_are_refused_before_the_work(options, message):
    with pytest.raises(InputError, match=message):
        FeaturePipeline(**({"kind": "bow"} | options))


def test_an_unfitted_pipeline_says_so(stored, tmp_path):
    pipeline = FeaturePipeline("bow", n_words=16)
    with pytest.raises(InputError, match="not fitted yet: call fit_transform first"):
        pipeline.transform(stored.features(stored.song_ids))
    with pytest.raises(InputError, match="there is nothing to save"):
        pipeline.save(tmp_path / "pipeline")


def test_vectors_as_they_are_stored_are_standardized_by_dimension(tmp_path):
    """On the training songs; a dimension that is the same for all of them tells nothing."""
    songs = [f"song{i}" for i in range(30)]
    rng = np.random.default_rng(0)
    vectors = rng.normal([0, 2000, 5], [1e-3, 10, 0], (30, 3)).astype(np.float32)
    vectors[25, 2] = 7  # but not for others
    pipeline = FeaturePipeline("v")
    with pytest.raises(InputError, match="this pipeline to 'v' is not fitted yet"):
        pipeline.transform(VectorFeatures("v", songs, vectors))
    learned = pipeline.fit_transform(VectorFeatures("v", songs[:20], vectors[:20])).vectors()
    made = pipeline.transform(VectorFeatures("v", songs, vectors)).vectors()
    wanted = (vectors - vectors[:20].mean(0)) / np.where([True, True, False], vectors[:20].std(0), np.inf)
    np.testing.assert_allclose(made, wanted, atol=1e-4)
    np.testing.assert_array_equal(learned, made[:20])
    [(name, seen)] = [(name, part.seen(["song3", "song20"])) for name, part in pipeline.learned()]
    assert (name, seen) == ("standardization of 'v'", ["song3"])
    pipeline.save(tmp_path / "p")
    again = FeaturePipeline.load(tmp_path / "p")
    np.testing.assert_array_equal(again.transform(VectorFeatures("v", songs, vectors)).vectors(), made)


def test_an_embedding_has_one_scale():
    rng = np.random.default_rng(0)
    vectors = rng.normal([0, 200], [1, 10], (50, 2)).astype(np.float32)
    features = VectorFeatures("v", [f"song{i}" for i in range(50)], vectors, is_embedding=True)
    made = FeaturePipeline("v").fit_transform(features).vectors()
    scale = np.sqrt(vectors.var(0, dtype=np.float64).mean())
    np.testing.assert_allclose(made, (vectors - vectors.mean(0)) / scale, atol=1e-4)


def test_vectors_of_models_made_before_they_were_standardized_stay_as_they_are(tmp_path):
    features = VectorFeatures("v", ["a", "b"], np.array([[1, 2], [3, 5]], np.float32))
    pipeline = FeaturePipeline("v")
    pipeline.fit_transform(features)
    pipeline.save(tmp_path / "p")
    file = tmp_path / "p" / "config.json"
    config = json.loads(file.read_text())
    del config["is_standardized"]
    file.write_text(json.dumps(config))
    assert FeaturePipeline.load(tmp_path / "p").transform(features) is features
