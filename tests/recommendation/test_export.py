"""Exported vectors, searched by an index that knows nothing of us: its neighbours are our lists."""

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors

import dcbmr
from dcbmr import Factors, Recommender, export_vectors


@pytest.fixture(scope="module")
def factors():
    """Factors of very different lengths; user 4 and song 11 have no plays."""
    rng = np.random.default_rng(5)
    counts = (rng.random((25, 60)) < 0.3).astype(np.float32)
    counts[4] = counts[:, 11] = 0
    users = rng.standard_normal((25, 7)) * rng.uniform(0.01, 9, (25, 1))
    songs = rng.standard_normal((60, 7)) * rng.uniform(0.01, 9, (60, 1))
    users[4] = songs[11] = 0
    return Factors(user_factors=users, song_factors=songs, counts=csr_array(counts))


@pytest.fixture(scope="module")
def recommender(factors):
    """Song 11 has no plays and is predicted; of the others the model is silent."""
    predicted = np.random.default_rng(6).standard_normal((2, 7)).astype(np.float32)
    return Recommender.from_factors(factors).with_songs(["11", "fresh"], predicted)


def read(folder, file_format):
    """The ids and vectors of users and songs, and which songs were predicted."""
    if file_format == "npy":
        ids = [(folder / f"{name}.txt").read_text().splitlines() for name in ("users", "songs")]
        arrays = [np.load(folder / f"{name}.npy") for name in ("user_vectors", "song_vectors")]
        return *ids, *arrays, np.load(folder / "song_is_predicted.npy")
    users, songs = (pq.read_table(folder / f"{name}.parquet") for name in ("users", "songs"))
    vectors = [np.array(table["vector"].to_pylist(), np.float32) for table in (users, songs)]
    return (
        users["user"].to_pylist(),
        songs["song"].to_pylist(),
        *vectors,
        songs["is_predicted"].to_numpy(),
    )


def neighbours(users, songs, metric, k):
    """The rows of the k nearest songs of each user."""
    if metric == "ip":
        return np.argsort(-(users.astype(float) @ songs.T.astype(float)), axis=1)[:, :k]
    index = NearestNeighbors(
        n_neighbors=k, algorithm="brute", metric={"l2": "euclidean"}.get(metric, metric)
    ).fit(songs.astype(float))
    return index.kneighbors(users.astype(float), return_distance=False)


@pytest.mark.parametrize("file_format", ["parquet", "npy"])
@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_neighbours_are_the_lists(recommender, tmp_path, metric, file_format):
    report = export_vectors(recommender, tmp_path / "v", metric=metric, format=file_format)
    user_ids, song_ids, users, songs, is_predicted = read(tmp_path / "v", file_format)
    assert users.dtype == songs.dtype == np.float32
    assert user_ids == [str(row) for row in range(25) if row != 4]
    assert report.left_out == ("4",)
    found = neighbours(users, songs, metric, 12)
    wanted = recommender.recommend(user_ids, k=12, candidates="all")
    assert [[song_ids[row] for row in rows] for rows in found] == [
        [song for song, _ in top] for top in wanted
    ]
    assert [song for song, new in zip(song_ids, is_predicted, strict=True) if new] == ["11", "fresh"]
    assert (report.n_users, report.n_songs, report.n_predicted) == (24, 61, 2)
    assert report.n_dims == songs.shape[1] == 7 + (metric != "ip")


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_neighbours_in_faiss_are_the_lists(recommender, tmp_path, metric):
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is in the extra faiss")
    folder = tmp_path / "v"
    export_vectors(recommender, folder, metric=metric, format="faiss")
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "users.txt", "user_vectors.npy", "songs.txt", "song_is_predicted.npy", "songs.faiss",
    }  # fmt: skip
    user_ids, song_ids = ((folder / f"{name}.txt").read_text().splitlines() for name in ("users", "songs"))
    index = faiss.read_index(str(folder / "songs.faiss"))
    assert index.ntotal == len(song_ids)
    _, found = index.search(np.load(folder / "user_vectors.npy"), 12)
    wanted = recommender.recommend(user_ids, k=12, candidates="all")
    assert [[song_ids[row] for row in rows] for rows in found] == [
        [song for song, _ in top] for top in wanted
    ]


def test_scores_come_back_from_cosines(recommender, tmp_path):
    export_vectors(recommender, tmp_path / "v", metric="cosine")
    user_ids, _, users, songs, _ = read(tmp_path / "v", "parquet")
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(songs, axis=1), 1, atol=1e-6)
    longest = json.loads((tmp_path / "v/config.json").read_text())["max_norm"]
    lengths = np.linalg.norm(recommender.vectors_of(user_ids), axis=1)
    scores = recommender.vectors_of(user_ids) @ recommender.song_factors.T
    np.testing.assert_allclose(users @ songs.T * lengths[:, None] * longest, scores, atol=1e-3)


def test_users_are_as_newer_plays_say(factors, tmp_path):
    plays = dcbmr.PlayCounts(["3", "zoe"], ["5", "8"], csr_array(np.array([[2, 0], [1, 9]], np.float32)))
    recommender = Recommender.from_factors(factors, plays=plays)
    export_vectors(recommender, tmp_path / "v")
    user_ids, _, users, *_ = read(tmp_path / "v", "parquet")
    counts = np.zeros((2, 60), np.float32)
    counts[0, 5], counts[1, 5], counts[1, 8] = 2, 1, 9
    rows = [user_ids.index("3"), user_ids.index("zoe")]
    np.testing.assert_array_equal(users[rows], factors.fold_in_users(csr_array(counts)))
    np.testing.assert_array_equal(users[user_ids.index("6")], factors.user_factors[6])


def test_the_digest_is_of_the_model(factors, tmp_path):
    retrained = replace(factors, user_factors=factors.user_factors * 1.001)
    digests = []
    for name, given in (("one", factors), ("same", factors), ("other", retrained)):
        given.save(tmp_path / name)
        recommender = Recommender.from_factors(given)
        export_vectors(recommender, tmp_path / f"of-{name}", model=tmp_path / name)
        config = json.loads((tmp_path / f"of-{name}/config.json").read_text())
        assert config["model"] == str(tmp_path / name)
        digests.append(config["model_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_what_cannot_be_exported(factors, recommender, tmp_path, monkeypatch):
    with pytest.raises(dcbmr.InputError, match="metric must be one of ip, cosine, l2; got 'dot'"):
        export_vectors(recommender, tmp_path / "v", metric="dot")
    with pytest.raises(dcbmr.InputError, match="format must be one of parquet, npy, faiss; got 'csv'"):
        export_vectors(recommender, tmp_path / "v", format="csv")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(dcbmr.InputError, match=r"format faiss needs faiss: pip install 'dcbmr\[faiss\]'"):
        export_vectors(recommender, tmp_path / "v", format="faiss")
    nothing = Recommender(factors, [], np.zeros((0, 7), np.float32))
    with pytest.raises(dcbmr.InputError, match="nothing to export: 24 users with plays, 0 songs"):
        export_vectors(nothing, tmp_path / "v")
    flat = Recommender(factors, ["1"], np.zeros((1, 7), np.float32))
    with pytest.raises(dcbmr.InputError, match="all songs have zeros"):
        export_vectors(flat, tmp_path / "v", metric="l2")
    assert not list(tmp_path.iterdir())
    export_vectors(recommender, tmp_path / "v")
    with pytest.raises(dcbmr.InputError, match="exists"):
        export_vectors(recommender, tmp_path / "v")
    export_vectors(recommender, tmp_path / "v", format="npy", overwrite=True)
    assert not (tmp_path / "v/users.parquet").exists()
