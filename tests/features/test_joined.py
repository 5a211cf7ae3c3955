"""Several vector kinds as one: standardized on the training songs, the mean where a part is not known."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr.features.brought import bring_vectors
from dcbmr.features.in_hand import with_vectors
from dcbmr.features.joined import JoinedPipeline, load_pipeline, pipeline_to
from dcbmr.features.standardization import Standardization

rng = np.random.default_rng(3)
SONGS = [f"s{i:02d}" for i in range(30)]
MOOD = rng.normal(5, [1, 20, 0.1], (30, 3)).astype(np.float32)
YEAR = rng.integers(1960, 2020, (20, 1)).astype(np.float32)
# As if a plugin had made them of audio: every song needs them.
SOUND = rng.normal(-2, [3, 1], (30, 2)).astype(np.float32)


def bring(root, kind, ids, vectors):
    np.savez(root / "v.npz", ids=np.array(ids), vectors=vectors)
    bring_vectors(root / "v.npz", root / "f", kind=kind)


@pytest.fixture
def store(tmp_path):
    bring(tmp_path, "mood", SONGS, MOOD)
    bring(tmp_path, "year", SONGS[10:], YEAR)
    bring(tmp_path, "sound", SONGS, SOUND)
    config = tmp_path / "f" / "sound" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"settings": {"n": 2}, "package": "x 1.0"}))
    return dcbmr.FeatureStore.open(tmp_path / "f")


def test_columns_are_the_parts_standardized_on_the_training_songs(store):
    """Against the same in plain NumPy."""
    train = SONGS[:20]
    joined = pipeline_to(["sound", "year"])
    assert (joined.kind, joined.sources, joined.is_fitted) == ("sound+year", ("sound", "year"), False)
    assert list(joined.songs_in(store)) == SONGS
    learned = joined.learn(store, train).vectors()
    assert (learned.shape, learned.dtype, joined.is_fitted) == ((20, 4), np.float32, True)
    sound = (SOUND - SOUND[:20].mean(0)) / np.sqrt(SOUND[:20].var(0).mean())
    np.testing.assert_allclose(learned[:, :2], sound[:20], atol=1e-5)
    years = YEAR[:10]  # of the training songs s10 to s19
    np.testing.assert_array_equal(learned[:10, 2], 0)
    np.testing.assert_allclose(learned[10:, 2], (years[:, 0] - years.mean()) / years.std(), atol=1e-4)
    np.testing.assert_allclose(learned[:, 3], [-1] * 10 + [1] * 10, atol=1e-6)  # half of them have a year
    # Others, in any order, on what was learned.
    songs = [SONGS[25], SONGS[0], SONGS[25]]
    made = joined.make(songs, joined.read(store, songs)).vectors()
    np.testing.assert_allclose(made[:, :2], sound[[25, 0, 25]], atol=1e-5)
    np.testing.assert_allclose(made[[0, 2], 2], (YEAR[15, 0] - years.mean()) / years.std(), atol=1e-4)
    assert (made[1, 2], made[1, 3], made[0, 3]) == (0, -1, 1)


def test_the_parts_have_mean_zero_and_the_same_deviation(store):
    learned = pipeline_to(["mood", "sound"]).learn(store, SONGS).vectors()
    np.testing.assert_allclose(learned[:, :5].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose([learned[:, :3].var(0).mean(), learned[:, 3:5].var(0).mean()], 1, rtol=1e-4)
    # Within a part the dimensions keep what they are to each other.
    np.testing.assert_allclose(
        learned[:, 1].std() / learned[:, 0].std(), MOOD[:, 1].std() / MOOD[:, 0].std(), rtol=1e-3
    )
    np.testing.assert_array_equal(learned[:, 5], 0)  # all are known, which tells nothing


def test_songs_that_are_needed_and_songs_that_may_lack(store, tmp_path):
    assert list(pipeline_to(["year", "sound"]).songs_in(store)) == SONGS
    # Where no part is of audio, a song needs any.
    bring(tmp_path, "lyrics", ["new", *SONGS[:3]], MOOD[:4])
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert pipeline_to(["year", "lyrics"]).songs_in(store) == [*SONGS[10:], "new", *SONGS[:3]]
    with pytest.raises(dcbmr.InputError, match="no training song has features of kind 'year'"):
        pipeline_to(["year", "sound"]).learn(store, SONGS[:5])


def test_a_store_without_a_part_that_may_lack(store, tmp_path):
    joined = pipeline_to(["sound", "year"])
    joined.learn(store, SONGS[:20])
    without = dcbmr.FeatureStore.of({"sound": store["sound"]})
    joined.check_store(without)
    made = joined.make(SONGS, joined.read(without, SONGS)).vectors()
    np.testing.assert_array_equal(made[:, 2], 0)
    np.testing.assert_allclose(made[:, 3], -1, atol=1e-6)
    with pytest.raises(dcbmr.InputError, match="no features of kind 'sound': it has year"):
        joined.check_store(dcbmr.FeatureStore.of({"year": store["year"]}))


def test_saved_and_loaded(store, tmp_path):
    joined = pipeline_to(["sound", "year", "mood"])
    with pytest.raises(dcbmr.InputError, match="not fitted yet"):
        joined.save(tmp_path / "p")
    with pytest.raises(dcbmr.InputError, match="not fitted yet"):
        joined.make(SONGS, joined.read(store, SONGS))
    joined.learn(store, SONGS[:20])
    joined.save(tmp_path / "p")
    again = load_pipeline(tmp_path / "p")
    assert isinstance(again, JoinedPipeline)
    assert (again.kind, again.sources, again.settings()) == (joined.kind, joined.sources, joined.settings())
    for pipeline in (joined, again):
        names = [name for name, part in pipeline.learned() if part.seen([SONGS[3]]) == [SONGS[3]]]
        # s03 has no year
        assert names == [
            f"{what} of {kind!r}" for what in ("standardization", "scale") for kind in ("sound", "mood")
        ]
    np.testing.assert_array_equal(
        again.make(SONGS, again.read(store, SONGS)).vectors(),
        joined.make(SONGS, joined.read(store, SONGS)).vectors(),
    )


@pytest.mark.parametrize(
    ("kinds", "message"), [(["a", "a"], "got a, a"), ([], "got none"), ("../", "kind '../'")]
)
def test_kinds_that_cannot_be_joined(kinds, message):
    with pytest.raises(dcbmr.InputError, match=message):
        pipeline_to(kinds)


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_standardization(kind):
    """A constant becomes zero, whatever it is of others; nothing depends on the blocks."""
    matrix = np.hstack([rng.normal(1e4, 1, (9000, 2)), np.full((9000, 1), 0.1)]).astype(np.float32)
    learned = Standardization.fit(kind(matrix), [str(i) for i in range(9000)])
    out = np.empty((9001, 3), np.float32)
    learned.transform(kind(np.vstack([matrix, [[0, 0, 7]]]).astype(np.float32)), out)
    np.testing.assert_allclose(out[:9000, :2].var(0).mean(), 1, rtol=1e-3)
    assert not out[:, 2].any()


def test_vectors_of_a_file_over_those_of_a_store(store, tmp_path):
    np.savez(tmp_path / "new.npz", ids=np.array(["new", "s29"]), vectors=np.array([[1.0], [2.0]]))
    view = with_vectors(store, tmp_path / "new.npz", kind="year")
    assert (view.kinds, set(view.song_ids)) == (store.kinds, {"new", *SONGS})
    assert "new" not in store["year"]
    found = view["year"].features(["s10", "new", "s29", "s11"]).vectors()
    np.testing.assert_array_equal(found, [YEAR[0], [1], [2], YEAR[1]])
    assert "s09" not in view["year"]
    assert view["year"].marks(["s11", "s09"]).tolist() == store["year"].marks(["s11", "s09"]).tolist()
    bring_vectors(tmp_path / "new.npz", tmp_path / "brought", kind="year")
    brought = dcbmr.FeatureStore.open(tmp_path / "brought")["year"]
    assert view["year"].marks(["new", "s29"]).tolist() == brought.marks(["new", "s29"]).tolist()
    with pytest.raises(dcbmr.InputError, match=r"lacks 1 of 2 songs: 's09'"):
        view["year"].features(["new", "s09"])
    alone = with_vectors(None, tmp_path / "new.npz", kind="year")
    assert (alone.kinds, alone.song_ids, alone["year"]["s29"]) == (("year",), ("new", "s29"), [2])
    with pytest.raises(dcbmr.InputError, match="new.npz has no features of kind 'mfcc': it has year"):
        alone["mfcc"]
    with pytest.raises(dcbmr.InputError, match="has vectors of 1 dimensions, where 'mood' has 3"):
        with_vectors(store, tmp_path / "new.npz", kind="mood")
