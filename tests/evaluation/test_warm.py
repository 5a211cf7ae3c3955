"""Factors on held-out plays of songs that they know."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reference import rank_metrics

import dcbmr
from dcbmr.cli import main


@pytest.fixture(scope="module")
def data():
    """Two tastes, half of the songs for each; a song is played the more, the lower its number in its half."""
    rng = np.random.default_rng(0)
    taste = rng.integers(2, size=(200, 1))
    likes = np.where(np.arange(30) % 2 == taste, 0.8, 0.05) * np.linspace(1, 0.4, 30)
    counts = rng.poisson(2, (200, 30)) * (rng.random((200, 30)) < likes)
    plays = dcbmr.PlayCounts.from_matrix(counts, [f"u{i}" for i in range(200)], [f"s{i}" for i in range(30)])
    artists = {f"s{i}": f"a{i // 3}" for i in range(30)}
    split = dcbmr.split_plays(plays, by="play", artists=artists, fraction=0.2, random_state=1)
    return plays, split, dcbmr.WeightedALS(n_factors=4, random_state=0).fit(split).factors_


def dense(plays, user_ids, song_ids):
    table = dict(zip(*_pairs(plays), strict=True))
    return np.array([[table.get((user, song), 0) > 0 for song in song_ids] for user in user_ids])


def _pairs(plays):
    matrix = plays.counts.tocoo()
    users, songs = plays.user_ids[matrix.row], plays.song_ids[matrix.col]
    return list(zip(users, songs, strict=True)), matrix.data


def test_it_is_what_one_would_write(data):
    _, split, factors = data
    found = dcbmr.evaluate_factors({"als": factors}, split, k=5, n_resamples=100)
    assert [row["model"] for row in found.rows] == ["als", "popularity", "random", "random (in theory)"]
    users, songs = split.heldout.user_ids, split.train.song_ids
    heldout, trained = dense(split.heldout, users, songs), dense(split.train, users, songs)
    row = {user: i for i, user in enumerate(factors.user_ids)}
    column = {song: i for i, song in enumerate(factors.song_ids)}
    mine = factors.user_factors[[row[user] for user in users]]
    theirs = factors.song_factors[[column[song] for song in songs]]
    listeners = dense(split.train, split.train.user_ids, songs).sum(axis=0)
    # Scores as the kernel sums them, in the order of the factors, each product rounded once with its sum.
    scores = np.zeros((len(users), len(songs)))
    for d in range(mine.shape[1]):
        scores = (scores + mine[:, d : d + 1].astype(float) * theirs[:, d].astype(float)).astype(np.float32)
    for name, of in (("als", scores), ("popularity", np.tile(listeners.astype(np.float32), (len(users), 1)))):
        wanted = [rank_metrics(of[u][~trained[u]], heldout[u][~trained[u]], 5) for u in range(len(users))]
        means = found.reports[name].means()
        for metric, mean in means.items():
            assert mean == pytest.approx(np.nanmean([figures[metric] for figures in wanted]), rel=1e-9), (
                metric
            )
    report = found.reports["als"]
    np.testing.assert_array_equal(report.ranks.n_candidates, (~trained).sum(axis=1))
    assert found.reports["als"].auc > 0.7 > found.reports["popularity"].auc > 0.5
    expected = dcbmr.random_row(report).expected["recall_at_k"]
    assert expected == pytest.approx(np.mean(5 / (~trained).sum(axis=1)))


def test_it_is_kept_and_compared(data, tmp_path):
    _, split, factors = data
    worse = dcbmr.WeightedALS(n_factors=1, random_state=0).fit(split).factors_
    found = dcbmr.evaluate_factors({"als": factors, "one": worse}, split, n_resamples=100)
    found.save(tmp_path / "kept")
    again = dcbmr.Evaluation.load(tmp_path / "kept")
    assert again.rows == found.rows
    np.testing.assert_array_equal(again.reports["one"].ranks.ranks, found.reports["one"].ranks.ranks)
    assert len(found.comparisons) == 3  # als, one, popularity


def test_wrong_input(data):
    plays, split, factors = data
    with pytest.raises(dcbmr.InputError, match="there are no factors"):
        dcbmr.evaluate_factors({}, split)
    with pytest.raises(dcbmr.InputError, match="cannot be called 'popularity'"):
        dcbmr.evaluate_factors({"popularity": factors}, split)
    everything = dcbmr.WeightedALS(n_factors=2).fit(plays).factors_
    n = split.heldout.counts.nnz
    with pytest.raises(dcbmr.InputError, match=f"all has seen {n} of the {n} plays that are held out"):
        dcbmr.evaluate_factors({"all": everything}, split)
    by_song = dcbmr.split_plays(plays)
    with pytest.raises(dcbmr.InputError, match="evaluate models"):
        dcbmr.evaluate_factors({"als": dcbmr.WeightedALS(n_factors=2).fit(by_song).factors_}, by_song)
    nothing = replace(split, heldout=split.heldout.keep_songs(np.zeros(split.heldout.counts.shape[1], bool)))
    with pytest.raises(dcbmr.InputError, match="none of the 0 songs"):
        dcbmr.evaluate_factors({"als": factors}, nothing)
    fewer = split.train.keep_songs(np.arange(len(split.train.song_ids)) > 1)
    with pytest.raises(dcbmr.InputError, match="als does not know 2 of the 30 songs"):
        dcbmr.evaluate_factors({"als": dcbmr.WeightedALS(n_factors=2).fit(fewer).factors_}, split)


def run(*words, status=0):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == status


def test_on_the_command_line(data, tmp_path, capsys):
    plays, *_ = data
    with open(tmp_path / "plays.tsv", "w") as file:
        for (user, song), n in zip(*_pairs(plays), strict=True):
            print(user, song, int(n), sep="\t", file=file)
    warm, factors = str(tmp_path / "warm"), str(tmp_path / "factors")
    run("split", tmp_path / "plays.tsv", "-o", warm, "--by", "play")
    run("factorize", warm, "-o", factors, "--factors", "4")
    capsys.readouterr()
    run("evaluate", factors, "--split", warm, "--resamples", "50", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in rows][:2] == [factors, "popularity"]
    assert rows[0]["auc"] > 0.6
    run("evaluate", factors, "--split", warm, "--baselines", status=2)
    assert "--baselines is for models" in capsys.readouterr().err
