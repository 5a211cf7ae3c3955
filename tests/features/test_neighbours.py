"""Songs that sound alike, without any plays."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import dcbmr
from dcbmr.cli import cli

SONGS = [f"song{i}" for i in range(30)]


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 6)).astype(np.float32)
    vectors[:, 1] *= 1000  # a unit of its own
    vectors[:, 2] = 5  # which tells nothing
    return vectors


@pytest.fixture(scope="module")
def store(tmp_path_factory, vectors):
    root = tmp_path_factory.mktemp("neighbours")
    rows = [",".join([song, *map(str, vector)]) for song, vector in zip(SONGS, vectors, strict=True)]
    (root / "v.csv").write_text("\n".join(["song,a,b,c,d,e,f", *rows, ""]))
    dcbmr.bring_vectors(root / "v.csv", root / "features", kind="v")
    np.savez(root / "v.npz", ids=np.array(SONGS), vectors=vectors)
    dcbmr.bring_vectors(root / "v.npz", root / "features", kind="space")
    return dcbmr.FeatureStore.open(root / "features")


def test_neighbours_are_those_by_the_cosine_of_equal_dimensions(store, vectors):
    top = dcbmr.similar_features(store, "v", ["song3", "song7"], k=29)
    apart = (vectors - vectors.mean(axis=0)) / np.where(vectors.std(axis=0) > 0, vectors.std(axis=0), 1)
    unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    for query, row in enumerate((3, 7)):
        cosine = unit @ unit[row]
        expected = [i for i in np.argsort(-cosine) if i != row]
        assert [song for song, _ in top[query]] == [SONGS[i] for i in expected]
        np.testing.assert_allclose([score for _, score in top[query]], cosine[expected], atol=1e-5)


def test_dimensions_of_an_embedding_keep_their_sizes(store, vectors):
    """Columns without names are one space."""
    [top] = dcbmr.similar_features(store, "space", ["song3"], k=1)
    apart = vectors - vectors.mean(axis=0)
    unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    assert top[0][0] == SONGS[np.argsort(-(unit @ unit[3]))[1]]


def test_kinds_are_made_of_what_is_stored(small_world):
    features = dcbmr.FeatureStore.open(small_world / "features")
    with pytest.warns(UserWarning, match="frames"):
        top = dcbmr.similar_features(features, "bow_pca", ["song00"], k=3, n_threads=1)
    # Each of ten artists has a pitch: song00, song10, song20 and song30 are one's.
    assert {song for song, _ in top[0]} <= {
        "song10",
        "song20",
        "song30",
        "song01",
        "song11",
        "song21",
        "song31",
    }


@pytest.mark.parametrize(
    ("kind", "song", "message"),
    [
        ("v", "sonk3", "unknown song 'sonk3'.*did you mean 'song3'"),
        ("w", "song3", "has no features of kind 'w': it has space, v"),
    ],
)
def test_what_cannot_be_compared(store, kind, song, message):
    with pytest.raises(dcbmr.InputError, match=message):
        dcbmr.similar_features(store, kind, [song])


def test_frames_are_no_vectors(small_world):
    features = dcbmr.FeatureStore.open(small_world / "features")
    fitting = f"{small_world / 'features'} has patterns and stats and bow and bow_pca"
    with pytest.raises(dcbmr.InputError, match=f"'mel' have frames, wanted one vector a song; {fitting}"):
        dcbmr.similar_features(features, "mel", ["song00"])
    result = run("similar", small_world / "features", "--song", "song00")
    assert result.exit_code == 2
    assert f"say which --kind to compare; {fitting}" in result.output


def test_equal_songs_cannot_be_compared(tmp_path):
    np.savez(tmp_path / "v.npz", ids=np.array(SONGS), vectors=np.ones((30, 3), np.float32))
    dcbmr.bring_vectors(tmp_path / "v.npz", tmp_path / "features", kind="v")
    with pytest.raises(dcbmr.InputError, match="song 'song3' is like the mean of all songs"):
        dcbmr.similar_features(dcbmr.FeatureStore.open(tmp_path / "features"), "v", ["song3"])


def run(*words):
    return CliRunner().invoke(cli, list(map(str, words)))


def test_the_command(store):
    result = run("similar", store.directory, "--kind", "v", "--song", "song3", "-k", 2, "--json")
    assert result.exit_code == 0, result.output
    top = dcbmr.similar_features(store, "v", ["song3"], k=2)
    found = [(row["song"], row["score"]) for row in json.loads(result.stdout)]
    assert found == [(song, pytest.approx(score)) for song, score in top[0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which --kind to compare;"),
        (("--kind", "v", "--by", "usage"), "--by is for models and factors"),
        (("--kind", "v", "--from-audio"), "--from-audio is for models and factors"),
    ],
)
def test_wrong_options(store, words, message):
    result = run("similar", store.directory, "--song", "song3", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_kind_is_for_features(small_world):
    result = run("similar", small_world / "factors", "--kind", "v", "--song", "song00")
    assert result.exit_code == 2
    assert "--kind is for features" in result.stderr
