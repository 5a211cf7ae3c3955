"""Lists of many users as a file: what recommend gives, whatever the size of a block."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array

import dcbmr
from dcbmr import Factors, Recommender, save_lists
from dcbmr.recommendation import lists


@pytest.fixture(scope="module")
def recommender():
    """User 3 has no plays, and user 5 has played every song."""
    rng = np.random.default_rng(2)
    counts = (rng.random((20, 30)) < 0.3).astype(np.float32)
    counts[3], counts[5] = 0, 1
    users, songs = rng.standard_normal((20, 4)), rng.standard_normal((30, 4))
    users[3] = 0
    return Recommender.from_factors(Factors(user_factors=users, song_factors=songs, counts=csr_array(counts)))


@pytest.mark.parametrize("block_rows", [1, 21, 1 << 20])
def test_lists_are_those_of_recommend(recommender, tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr(lists, "_BLOCK_ROWS", block_rows)
    steps = []
    report = save_lists(
        recommender, tmp_path / "lists", k=7, progress=lambda stage, *step: steps.append(step[:2])
    )
    table = pq.read_table(tmp_path / "lists/lists.parquet")
    wanted = [
        (user, rank, song, score)
        for user, found in zip(
            recommender.user_ids, recommender.recommend(recommender.user_ids, k=7), strict=True
        )
        for rank, (song, score) in enumerate(found, 1)
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == wanted
    assert table.schema.names == ["user", "rank", "song", "score"]
    assert report.without_songs == ("3", "5")
    assert (tmp_path / "lists/without_songs.txt").read_text() == "3\n5\n"
    config = json.loads((tmp_path / "lists/config.json").read_text())
    assert (config["n_users"], config["n_rows"]) == (report.n_users, report.n_rows) == (18, len(wanted))
    assert steps[-1] == (20, 20)
    assert len(steps) == -(-20 // max(1, block_rows // 7))


def test_what_stops_leaves_nothing(recommender, tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_BLOCK_ROWS", 1)

    def stop(stage, step, n_steps, figures):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_lists(recommender, tmp_path / "lists", progress=stop)
    with pytest.raises(dcbmr.InputError, match="unknown user 'nobody'"):
        save_lists(recommender, tmp_path / "lists", user_ids=["1", "nobody"])
    assert not list(tmp_path.iterdir())


def test_limited_to_some_songs(recommender):
    fresh = np.ones((1, 4), np.float32)
    few = recommender.with_songs(["fresh"], fresh).limited_to(["7", "2", "fresh", "9"], without=["9", "x"])
    assert few.song_ids == ["2", "7", "fresh"]
    assert few.is_predicted.tolist() == [False, False, True]
    whole = recommender.with_songs(["fresh"], fresh).recommend(["0", "1"], k=31)
    wanted = [[pair for pair in found if pair[0] in few.song_ids] for found in whole]
    assert [[song for song, _ in found] for found in few.recommend(["0", "1"], k=31)] == [
        [song for song, _ in found] for found in wanted
    ]
    assert few.limited_to().song_ids == few.song_ids
    with pytest.raises(dcbmr.InputError, match="no song to choose from"):
        few.limited_to([]).recommend(["0"])
