"""evaluate, recommend, similar and predict from the command line, on a small world that is really heard."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from real_data import RECORDINGS, needs_data

import dcbmr
from dcbmr import Codebook, FeatureStore
from dcbmr.cli import cli
from dcbmr.evaluation.evaluation import evaluate_models
from dcbmr.features.codebook import frame_config
from dcbmr.features.featurize import featurize
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.models.model import Model
from dcbmr.models.training import train
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import Split


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    """The small world with a linear model, a metric model and factors of all plays in a folder of its own."""
    root = tmp_path_factory.mktemp("serving")
    factors = dcbmr.Factors.load(small_world / "factors")
    for name in ("linear", "mlr"):
        small_model(factors, small_world / "features", name).save(root / name)
    dcbmr.WeightedALS(n_factors=6, n_iterations=5).fit(
        PlayCounts.read(small_world / "plays.tsv")
    ).factors_.save(root / "all")
    for name in ("audio", "split", "factors", "features", "plays.tsv", "songs.tsv"):
        (root / name).symlink_to(small_world / name)
    return root


def small_model(factors, features, regressor):
    """A model of a bag of sixteen words, which are learned in no time."""
    return train(
        factors,
        FeatureStore.open(features),
        regressor=regressor,
        pipeline=FeaturePipeline("bow_pca", n_words=16),
    )


def run(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(*words):
    return json.loads(run(*words, "--json").stdout)


def refused(*words):
    """Return the message of an InputError."""
    with pytest.raises(dcbmr.InputError) as error:
        run(*words)
    return str(error.value)


EVALUATE = ("--split", "split", "--features", "features")


@pytest.fixture(autouse=True)
def _inside(world, monkeypatch):
    monkeypatch.chdir(world)


def test_evaluate_beside_luck_and_upper_bound():
    table = {
        row["model"]: row for row in rows("evaluate", "linear", "mlr", *EVALUATE, "--upper-bound", "all")
    }
    assert list(table) == ["linear", "mlr", "upper-bound", "random", "random (in theory)"]
    assert table["linear"]["auc"] > 0.6
    assert table["upper-bound"]["auc"] > table["linear"]["auc"]
    assert table["random (in theory)"]["auc"] == 0.5
    assert table["random (in theory)"]["lift"] == 1.0
    split = Split.load("split")
    assert {row["n_songs"] for row in table.values()} == {len(split.heldout_songs)}
    assert len({row["n_users"] for row in table.values()}) == 1
    sure = {f"{name}_{end}" for name in ("map_at_500", "auc") for end in ("low", "high")}
    assert set(table["linear"]) == {
        *("model", "loss", "map_at_500", "auc", "lift", "n_users", "n_songs", "seconds"),
        *sure,
        *(f"{name}_of_users" for name in sure),
        *("recall_at_500", "hit_rate_at_500", "ndcg_at_500", "mrr"),
    }


def test_evaluate_agrees_with_the_function_under_it():
    report = evaluate_models(
        {"m": Model.load("linear")}, Split.load("split"), FeatureStore.open("features"), k=3
    ).reports["m"]
    row = rows("evaluate", "linear", *EVALUATE, "-k", "3")[0]
    assert (row["map_at_3"], row["auc"], row["n_users"]) == (report.map_at_k, report.auc, report.n_users)


def test_evaluate_keeps_what_compare_reads(tmp_path):
    kept = tmp_path / "kept"
    words = ("evaluate", "linear", "mlr", *EVALUATE, "--baselines", "--resamples", "100", "-o", kept)
    said = run(*words)
    assert "on shuffled audio is random" in said.stdout
    assert f"wrote {kept}" in said.stderr
    compared = rows("compare", kept, "--row", "linear", "--row", "mlr")
    table = {row["model"]: row for row in dcbmr.read_results(kept).rows}
    assert {row["model"]: row["map_at_500"] for row in compared["rows"]} == pytest.approx(
        {name: table[name]["map_at_500"] for name in ("linear", "mlr")}
    )
    assert f"{kept} exists" in refused(*words)
    run(*words, "--overwrite")
    assert "--overwrite is for -o DIR" in run("evaluate", "linear", *EVALUATE, "--overwrite").stderr
    assert "linear holds 'model', not 'evaluation'" in refused("compare", "linear")


def test_evaluate_by_groups():
    found = rows("evaluate", "linear", *EVALUATE, "--by", "popularity", "--resamples", "0")
    assert {row["model"] for row in found} == {"linear"}
    assert [row["group"] for row in found] == sorted({row["group"] for row in found})
    shown = run("evaluate", "linear", *EVALUATE, "--by", "artist", "--resamples", "0").stdout
    assert "random (in theory)" in shown
    assert "new artist" in shown


def test_evaluate_tells_of_lists(tmp_path):
    words = ("evaluate", "linear", "mlr", *EVALUATE, "--resamples", "0", "--lists", "2")
    table = {row["model"]: row for row in rows(*words, "-o", tmp_path / "kept")}
    assert dcbmr.read_results(tmp_path / "kept").rows == list(table.values())
    assert table["random"]["coverage_at_2"] is None
    # The same by hand.
    model, split = Model.load("linear"), Split.load("split")
    scores = model.user_factors @ model.predict_store(FeatureStore.open("features"), split.heldout_songs).T
    counts = {
        song: np.count_nonzero(c)
        for song, c in zip(split.heldout.song_ids, split.heldout.counts.toarray().T, strict=True)
    }
    listeners = np.array([counts.get(song, 0) for song in split.heldout_songs])
    ranked = np.isin(model.user_ids, split.heldout.user_ids) & scores.any(axis=1)
    best = np.argsort(-scores[ranked], axis=1, kind="stable")[:, :2]
    assert table["linear"]["coverage_at_2"] == len(np.unique(best)) / 8
    assert table["linear"]["mean_popularity_at_2"] == pytest.approx(listeners[best].mean())
    assert 0 < table["linear"]["gini_at_2"] < 1
    assert "lists of 2" in run(*words).stdout


def test_evaluate_says_who_is_left_out(tmp_path):
    split = Split.load("split")
    plays = split.heldout.counts.tolil()
    missing = split.heldout_songs[0]
    featurize([file for file in Path("audio").iterdir() if file.stem != missing], tmp_path / "features")
    stranger = PlayCounts([*split.heldout.user_ids, "stranger"], split.heldout.song_ids, more_rows(plays))
    Split(split.train, stranger, split.heldout_songs, split.artists).save(tmp_path / "split")
    result = run("evaluate", "linear", "--split", tmp_path / "split", "--features", tmp_path / "features")
    assert f"1 held-out songs have no features and are not scored: {missing}" in result.stderr
    assert "1 without training plays" in result.stderr


def more_rows(plays):
    """The plays with a user more, who played what the first did."""
    from scipy.sparse import csr_array, vstack

    plays = csr_array(plays)
    return vstack([plays, plays[[0]]], format="csr")


def test_evaluate_counts_songs_that_nobody_played(tmp_path):
    split = Split.load("split")
    gone = split.train.song_ids[0]
    keep = np.array([song != gone for song in split.train.song_ids])
    Split(split.train.keep_songs(keep), split.heldout, split.heldout_songs).save(tmp_path / "split")
    result = run("evaluate", "linear", "--split", tmp_path / "split", "--features", "features")
    assert f"1 songs have features but no plays: {gone}" in result.stderr


def test_evaluate_refuses_models_that_have_seen_the_songs(tmp_path):
    small_model(dcbmr.Factors.load("all"), "features", "linear").save(tmp_path / "leaky")
    message = refused("evaluate", tmp_path / "leaky", *EVALUATE)
    assert "has seen plays of 8 of the 8 songs that are held out" in message
    assert "factorize the split directory" in message


def model_of_words(folder, song_ids):
    """A model of stored words, and a directory of these, whose codebook was learned from the songs given."""
    codebook = Codebook(n_words=16)
    store = FeatureStore.open("features")["mfcc"]
    frames = np.concatenate([store[song] for song in store.song_ids])
    codebook.fit(frames, frame_config=frame_config(store.features(store.song_ids)), song_ids=song_ids)
    featurize(Path("audio"), folder / "words", kinds=["bow"], codebook=codebook)
    pipeline = FeaturePipeline("bow_pca", codebook=codebook)
    model = train(
        replace(dcbmr.Factors.load("factors"), heldout_songs=()),  # which would refuse the codebook at once
        FeatureStore.open(folder / "words"),
        regressor="linear",
        pipeline=pipeline,
    )
    model.save(folder / "model")
    codebook.save(folder / "codebook")
    return "evaluate", folder / "model", "--split", "split", "--features", folder / "words"


def test_evaluate_refuses_words_of_heldout_songs(tmp_path):
    split = Split.load("split")
    leaked = split.heldout_songs[3]
    message = refused(*model_of_words(tmp_path, [*split.train.song_ids, leaked]))
    assert f"the codebook of {tmp_path / 'model'} was learned from 1 of the 8 songs" in message
    assert f"held out ({leaked}): learn it again from the training songs alone" in message
    words = ("--features", tmp_path / "words", "--codebook", tmp_path / "codebook", "-o", tmp_path / "new")
    message = refused("train", "--regressor", "linear", "--factors", "factors", "--split", "split", *words)
    assert "the codebook of the pipeline was learned from 1 of the 8 songs" in message
    # Without a split, factors that know what they were split from tell as much.
    knowing = replace(dcbmr.Factors.load("factors"), heldout_songs=tuple(split.heldout_songs))
    knowing.save(tmp_path / "factors")
    assert message == refused("train", "--regressor", "linear", "--factors", tmp_path / "factors", *words)


def test_evaluate_takes_words_of_training_songs_and_warns_of_unknown_ones(tmp_path):
    known, unknown = tmp_path / "known", tmp_path / "unknown"
    run(*model_of_words(known, Split.load("split").train.song_ids))
    with pytest.warns(UserWarning, match="does not know the songs that it was learned from"):
        run(*model_of_words(unknown, None))
    words = [str(word) for word in model_of_words(tmp_path / "again", None)]
    done = subprocess.run(
        [sys.executable, "-c", f"from dcbmr.cli import main; main({words!r})"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("dcbmr: warning: the codebook of ")


def test_evaluate_refuses_an_upper_bound_that_has_not_seen_them():
    message = refused("evaluate", "linear", *EVALUATE, "--upper-bound", "factors")
    assert "these have plays of 0 of the 8 songs to score only" in message


def test_recommend_new_songs_to_a_user():
    split = Split.load("split")
    words = ("recommend", "linear", "--user", "user05", "--features", "features", "--candidates", "new")
    with pytest.warns(UserWarning, match="8 of the 8 candidates were held out by the split.*--plays FILE"):
        found = rows(*words)
    assert {row["song"] for row in found} == set(split.heldout_songs)
    assert [row["rank"] for row in found] == list(range(1, 9))
    model = Model.load("linear")
    user = model.user_factors[list(model.user_ids).index("user05")]
    predicted = model.predict_store(FeatureStore.open("features"), [row["song"] for row in found])
    np.testing.assert_allclose([row["score"] for row in found], predicted @ user, rtol=1e-4)


def plays_without(song, path, *more):
    """Write the plays of the world as columns n, track and who: without a song, and with more."""
    lines = [line.split("\t") for line in Path("plays.tsv").read_text().splitlines()]
    lines = [(count, heard, user) for user, heard, count in lines if heard != song]
    path.write_text("\n".join(",".join(line) for line in [("n", "track", "who"), *lines, *more]) + "\n")
    return "--plays", path, "--columns", "who,track,n"


@pytest.mark.parametrize("model", ["linear", "mlr"])
def test_recommend_with_newer_plays(model, tmp_path):
    split = Split.load("split")
    user = next(user for user in split.heldout.user_ids if user in split.train.user_ids)
    unheard = split.heldout_songs[2]
    plays = plays_without(unheard, tmp_path / "plays.csv", ("3", split.train.song_ids[0], "zoe"))
    words = ("recommend", model, "--features", "features", *plays, "-k", 99)
    found = rows(*words, "--user", user, "--user", "zoe", "--candidates", "new")
    assert [(row["user"], row["song"]) for row in found] == [(user, unheard), ("zoe", unheard)]
    table = PlayCounts.read("plays.tsv")
    played = table.song_ids[table.counts[[table.user_ids.tolist().index(user)]].indices]
    offered = {row["song"] for row in rows(*words, "--user", user)}
    assert offered == set(table.song_ids) - (set(played) - {unheard})
    everybody = {row["user"] for row in rows(*words, "--all-users", "--candidates", "all")}
    assert everybody == {*table.user_ids, "zoe"}


def test_recommend_with_newer_plays_folds_users_in(tmp_path):
    plays = plays_without("", tmp_path / "plays.csv")
    found = rows("recommend", "factors", "--user", "user05", *plays, "--candidates", "all", "-k", 99)
    factors = dcbmr.Factors.load("factors")
    table = PlayCounts.read("plays.tsv")
    user = table.user_ids.tolist().index("user05")
    rows_of = {song: column for column, song in enumerate(table.song_ids)}
    counts = table.counts[[user]][:, [rows_of[song] for song in factors.song_ids]]
    scores = dict(zip(factors.song_ids, factors.song_factors @ factors.fold_in_users(counts)[0], strict=True))
    assert [row["song"] for row in found] == sorted(scores, key=lambda song: -scores[song])
    np.testing.assert_allclose([row["score"] for row in found], sorted(scores.values())[::-1], atol=1e-5)


def test_factorize_a_split_knows_what_was_held_out(tmp_path):
    run("factorize", "split", "-o", tmp_path / "f", "--factors", 2, "--iterations", 1)
    split, factors = Split.load("split"), dcbmr.Factors.load(tmp_path / "f")
    assert factors.heldout_songs == tuple(split.heldout_songs)
    assert factors.artists == dict(split.artists)  # of held-out songs, too: models predict them


def test_recommend_to_somebody_new_with_audio_among_the_candidates(tmp_path):
    played = str(Split.load("split").train.song_ids[0])
    shutil.copy(f"audio/{played}.wav", tmp_path / "fresh.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF no more")
    words = ("recommend", "linear", "--played", f"{played}=3", "--audio", tmp_path, "-k", 100)
    found = rows(*words)
    assert "fresh" in {row["song"] for row in found}
    assert played not in {row["song"] for row in found}
    assert {row["user"] for row in found} == {"(new)"}
    assert "skipped" in run(*words).stderr


def test_recommend_shows_names_and_every_user():
    found = run(
        "recommend", "factors", "--all-users", "-k", 2, "--songs", "songs.tsv", "--tsv"
    ).stdout.splitlines()
    assert found[0].split("\t") == ["user", "rank", "song", "artist", "title", "score"]
    row = dict(zip(found[0].split("\t"), found[1].split("\t"), strict=True))
    assert row["title"] == f"Title of {row['song']}"
    users = {line.split("\t")[0] for line in found[1:]}
    assert users == set(dcbmr.Factors.load("factors").user_ids)


def test_recommend_writes_the_lists_of_every_user(tmp_path):
    (tmp_path / "only").write_text("song01\nsong02\nsong03\nsong09\ngone\n")
    (tmp_path / "without").write_text("song02\nsong11\n")
    filters = ("--only", tmp_path / "only", "--without", tmp_path / "without")
    words = ("recommend", "all", *filters, "-k", 2)
    said = run(*words, "--all-users", "-o", tmp_path / "lists")
    assert "1 of 5 songs" in said.stderr
    assert "are no candidates: gone" in said.stderr
    written = pq.read_table(tmp_path / "lists/lists.parquet").to_pylist()
    printed = rows(*words, "--all-users")
    assert written == printed
    assert {row["song"] for row in written} == {"song01", "song03", "song09"}
    nothing = (tmp_path / "lists/without_songs.txt").read_text().splitlines()
    users = list(dcbmr.Factors.load("all").user_ids)
    assert sorted({row["user"] for row in written} | set(nothing)) == sorted(users)
    assert f"{tmp_path / 'lists'} exists" in refused(*words, "--all-users", "-o", tmp_path / "lists")
    run(*words, "--user", "user05", "-o", tmp_path / "lists", "--overwrite")
    assert pq.read_table(tmp_path / "lists/lists.parquet")["user"].unique().to_pylist() == ["user05"]
    (tmp_path / "only").write_text("other\n")
    assert "none of the 1 songs in" in refused(*words, "--all-users")


def test_the_metric_model_recommends_what_its_audio_places():
    found = rows(
        "recommend", "mlr", "--user", "user05", "--features", "features", "--candidates", "all", "-k", 99
    )
    assert len(found) == 40
    assert "no song to choose from" in refused("recommend", "mlr", "--user", "user05")


def test_similar_to_a_song_and_to_audio():
    song = str(Split.load("split").train.song_ids[0])
    by_usage = rows("similar", "factors", "--song", song, "-k", 5)
    assert len(by_usage) == 5
    assert song not in {row["song"] for row in by_usage}
    assert rows("similar", "factors", "--song", song, "--by", "factors")[0]["score"] <= 1.0 + 1e-6
    # What a file sounds like is what its features in the store say.
    heard = rows(
        "similar", "linear", "--audio", f"audio/{song}.wav", "--features", "features", "--from-audio"
    )
    stored = rows("similar", "linear", "--song", song, "--features", "features", "--from-audio")
    assert [row["song"] for row in heard] == [row["song"] for row in stored]
    np.testing.assert_allclose([r["score"] for r in heard], [r["score"] for r in stored], atol=1e-3)


def test_predict_files_and_stores_agree(tmp_path):
    run("predict", "linear", "--features", "features", "-o", tmp_path / "predicted")
    songs = (tmp_path / "predicted/songs.txt").read_text().splitlines()
    factors = np.load(tmp_path / "predicted/song_factors.npy")
    assert factors.shape == (40, 6)
    row = rows("predict", "linear", f"audio/{songs[3]}.wav")[0]
    assert row["song"] == songs[3]
    np.testing.assert_allclose([row[f"factor_{j}"] for j in range(6)], factors[3], atol=1e-3)
    again = ("predict", "linear", "--features", "features", "-o")
    assert "exists" in refused(*again, tmp_path / "predicted")
    assert "linear holds 'model' and is not overwritten with 'songs'" in refused(
        *again, "linear", "--overwrite"
    )


def test_only_new_and_changed_songs_are_predicted(tmp_path):
    for song in range(4):
        shutil.copy(f"audio/song{song:02}.wav", tmp_path / f"song{song:02}.wav")
    files = sorted(tmp_path.glob("*.wav"))
    featurize(files[:3], tmp_path / "f", kinds=["mfcc"])
    words = ("predict", "linear", "--features", tmp_path / "f", "-o", tmp_path / "p")
    assert "3 songs, 6 factors" in run(*words).stdout
    before = np.load(tmp_path / "p/song_factors.npy")
    shutil.copy("audio/song09.wav", tmp_path / "song01.wav")
    featurize(files, tmp_path / "f", kinds=["mfcc"], resume=True)
    assert "4 songs, 2 of them new" in run(*words, "--resume").stdout
    songs = (tmp_path / "p/songs.txt").read_text().splitlines()
    after = dict(zip(songs, np.load(tmp_path / "p/song_factors.npy"), strict=True))
    np.testing.assert_array_equal(after["song00"], before[0])
    anew = Model.load("linear").predict_store(FeatureStore.open(tmp_path / "f"), songs)
    np.testing.assert_allclose(list(after.values()), anew, atol=1e-5)
    assert not np.array_equal(after["song01"], before[1])
    assert "4 songs, 0 of them new" in run(*words, "--resume").stdout


def test_kept_predictions_are_recommended_and_those_of_another_model_refused(tmp_path):
    run("predict", "linear", "--features", "features", "-o", tmp_path / "p")
    words = ("recommend", "linear", "--user", "user05", "--candidates", "all")
    assert rows(*words, "--predicted", tmp_path / "p") == rows(*words, "--features", "features")
    small_model(dcbmr.Factors.load("all"), "features", "linear").save(tmp_path / "other")
    said = refused("recommend", tmp_path / "other", "--all-users", "--predicted", tmp_path / "p")
    assert "holds predictions of another model than" in said
    assert "--overwrite makes them anew" in said
    again = ("predict", tmp_path / "other", "--features", "features", "-o", tmp_path / "p", "--resume")
    assert "predictions of another model" in refused(*again)


def test_kept_predictions_of_features_that_changed_are_not_used(tmp_path):
    for song in (3, 36):
        shutil.copy(f"audio/song{song:02}.wav", tmp_path / f"new{song}.wav")
    files = sorted(tmp_path.glob("*.wav"))
    featurize(files, tmp_path / "f", kinds=["mfcc"])
    run("predict", "linear", "--features", tmp_path / "f", "-o", tmp_path / "p")
    shutil.copy("audio/song09.wav", tmp_path / "new3.wav")
    featurize(files, tmp_path / "f", kinds=["mfcc"], resume=True)
    words = ("recommend", "linear", "--user", "user05", "--candidates", "new", "-k", 2)
    before = rows(*words, "--predicted", tmp_path / "p")
    fresh = rows(*words, "--features", tmp_path / "f")
    both = rows(*words, "--predicted", tmp_path / "p", "--features", tmp_path / "f")
    scores = [{row["song"]: row["score"] for row in found} for found in (before, fresh, both)]
    assert scores[2] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0]["new36"] == pytest.approx(scores[1]["new36"], abs=1e-5)
    assert abs(scores[0]["new3"] - scores[1]["new3"]) > 1e-3
    # What no store has stays.
    with pytest.warns(UserWarning, match="held out by the split"):
        alone = rows(*words, "--predicted", tmp_path / "p", "--features", "features", "-k", 40)
    assert {row["song"]: row["score"] for row in alone}["new3"] == pytest.approx(scores[0]["new3"], abs=1e-5)


def test_new_plays_are_added_to_those_of_a_user(tmp_path):
    (tmp_path / "since.tsv").write_text("user05\tsong01\t2\nzoe\tsong01\t1\nzoe\tunheard\t1\n")
    table = PlayCounts.read("plays.tsv")
    lines = Path("plays.tsv").read_text() + (tmp_path / "since.tsv").read_text()
    (tmp_path / "now.tsv").write_text(lines)
    words = ("recommend", "all", "--candidates", "all", "-k", 5, "--user")
    for user in ("user05", "zoe"):
        found = [
            rows(*words, user, *plays)
            for plays in (("--new-plays", tmp_path / "since.tsv"), ("--plays", tmp_path / "now.tsv"))
        ]
        assert [row["song"] for row in found[0]] == [row["song"] for row in found[1]]
        np.testing.assert_allclose(*([row["score"] for row in some] for some in found), rtol=1e-4)
    # Who has no plays since is known by the factors.
    factors = dcbmr.Factors.load("all")
    user = next(user for user in table.user_ids if user != "user05")
    score = rows(*words, user, "--new-plays", tmp_path / "since.tsv")[0]["score"]
    wanted = (factors.song_factors @ factors.user_factors[list(factors.user_ids).index(user)]).max()
    assert score == pytest.approx(wanted, rel=1e-5)
    said = run(*words, user, "--new-plays", tmp_path / "since.tsv").stderr
    assert "do not know 1 of the users and 1 of the songs" in said
    assert "lack 2 plays by 1 of the users they know" in said
    assert "newer" not in run(*words, user, "--plays", "plays.tsv").stderr


def test_a_file_of_new_users_is_folded_in(tmp_path):
    (tmp_path / "new.tsv").write_text("zoe\tsong01\t1\nzoe\tsong02\t3\nyan\tsong30\t1\n")
    words = ("recommend", "all", "--new-users", tmp_path / "new.tsv", "-k", 4)
    found = rows(*words)
    assert [row["user"] for row in found] == ["zoe"] * 4 + ["yan"] * 4
    alone = rows("recommend", "all", "--played", "song01", "--played", "song02=3", "-k", 4)
    assert [row["song"] for row in found[:4]] == [row["song"] for row in alone]
    run(*words, "-o", tmp_path / "lists")
    listed = pq.read_table(tmp_path / "lists/lists.parquet").to_pylist()
    assert [row["song"] for row in listed] == [row["song"] for row in found]


def test_filters_by_artist_and_by_date(tmp_path):
    artists = [line.split("\t")[:2] for line in Path("songs.tsv").read_text().splitlines()[1:]]
    lines = [f"{song}\t{artist}\t20{20 + i % 3}" for i, (song, artist) in enumerate(artists)]
    (tmp_path / "songs.tsv").write_text("\n".join(["song\tartist\tdate", *lines]) + "\n")
    words = ("recommend", "all", "--all-users", "--candidates", "all", "--songs", tmp_path / "songs.tsv")
    run(*words, "-k", 8, "--max-per-artist", 1, "--from-date", "2021", "-o", tmp_path / "lists")
    listed = pq.read_table(tmp_path / "lists/lists.parquet").to_pylist()
    of_user = [dict(artists)[row["song"]] for row in listed if row["user"] == "user05"]
    assert len(of_user) == len(set(of_user)) == 8
    recent = {song for i, (song, _) in enumerate(artists) if i % 3}
    assert {row["song"] for row in listed} <= recent
    assert "the latest is of 2022-01-01" in refused(*words, "--from-date", "2023-06")


def test_export_has_the_neighbours_that_recommend_lists(tmp_path):
    words = ("export", "linear", "--features", "features", "--format", "npy", "--metric", "l2")
    said = run(*words, "-o", tmp_path / "v").stdout
    assert "40 songs, 8 of them predicted; 7 dimensions, for an index of l2" in said
    users, songs = ((tmp_path / f"v/{name}.txt").read_text().splitlines() for name in ("users", "songs"))
    vectors, query = np.load(tmp_path / "v/song_vectors.npy"), np.load(tmp_path / "v/user_vectors.npy")
    distances = np.linalg.norm(vectors.astype(float) - query[users.index("user05")], axis=1)
    found = rows(
        "recommend", "linear", "--user", "user05", "--features", "features", "--candidates", "all", "-k", 40
    )
    assert [songs[row] for row in np.argsort(distances)] == [row["song"] for row in found]
    assert f"{tmp_path / 'v'} exists" in refused(*words, "-o", tmp_path / "v")
    run("predict", "linear", "--features", "features", "-o", tmp_path / "p")
    made_by = [json.loads((tmp_path / f"{name}/config.json").read_text()) for name in ("v", "p")]
    assert made_by[0]["model_sha256"] == made_by[1]["model_sha256"]


def test_export_leaves_out_who_has_no_neighbours(tmp_path):
    plays = plays_without("", tmp_path / "plays.csv", ("3", "unheard of", "zoe"))
    said = run("export", "factors", *plays, "-o", tmp_path / "v").stderr
    assert "left out 1 users, who have no plays of songs that are known here: zoe" in said


@needs_data
def test_predict_hears_real_recordings():
    found = rows("predict", "linear", RECORDINGS)
    assert {row["song"] for row in found} == {file.stem for file in RECORDINGS.glob("*.ogg")}
    factors = np.array([[row[f"factor_{j}"] for j in range(6)] for row in found])
    assert np.isfinite(factors).all()
    assert np.ptp(factors, axis=0).min() > 0  # they do not all sound the same


@needs_data
def test_a_recording_sounds_alike_in_every_format(tmp_path):
    import soundfile

    original = RECORDINGS / "sorohanro_-_solo-trumpet-06.hq.ogg"
    samples, sr = soundfile.read(original)
    for ending, subtype in (("wav", "PCM_16"), ("flac", None), ("mp3", None), ("opus", "OPUS")):
        container = "OGG" if ending == "opus" else ending.upper()
        sound, rate = (resample(samples, sr, 48000), 48000) if ending == "opus" else (samples, sr)
        soundfile.write(tmp_path / f"{ending}.{ending}", sound, rate, subtype=subtype, format=container)
    found = rows("predict", "linear", original, tmp_path)
    factors = {row["song"]: np.array([row[f"factor_{j}"] for j in range(6)]) for row in found}
    reference = factors.pop(original.stem)
    assert set(factors) == {"wav", "flac", "mp3", "opus"}
    for name, other in factors.items():
        cosine = other @ reference / np.linalg.norm(other) / np.linalg.norm(reference)
        assert cosine > (0.99 if name in ("wav", "flac") else 0.9), name


def resample(samples, sr, wanted):
    import soxr

    return soxr.resample(samples, sr, wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["similar", "factors", "--song", "song0"], "unknown song 'song0'.*did you mean 'song"),
        (["recommend", "factors", "--user", "usr05"], "unknown user 'usr05'.*did you mean 'user05'"),
        (
            ["similar", "factors", "--song", "Artist5", "--songs", "songs.tsv"],
            "is no song id; did you mean song",
        ),
        (
            ["recommend", "factors", "--user", "user05", "--features", "features"],
            "holds factors.*dcbmr train",
        ),
        (
            ["recommend", "factors", "--user", "user05", "--plays", "songs.tsv"],
            "songs.tsv",
        ),
        (["similar", "factors", "--audio", "audio/song00.wav"], "holds factors.*dcbmr train"),
        (["predict", "factors", "audio/song00.wav"], "factors holds 'factors', not 'model'"),
        (
            ["predict", "nowhere", "audio/song00.wav"],
            "nowhere is no dcbmr model directory: it does not exist",
        ),
        (["predict", "linear", "nowhere.wav"], "nowhere.wav does not exist; wanted an audio file"),
        (["predict", "linear", "songs.tsv"], "do not say which is the path"),
        (["evaluate", "linear", "--split", "factors", "--features", "features"], "not 'split'"),
        (["evaluate", "linear", "--split", "split", "--features", "audio"], "no dcbmr features directory"),
    ],
)
def test_wrong_input(words, message):
    with pytest.raises(dcbmr.InputError, match=message):
        run(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "factors"], "say for whom"),
        (["recommend", "factors", "--user", "user05", "--all-users"], "say for whom"),
        (["recommend", "factors", "--new-users", "plays.tsv", "--all-users"], "say for whom"),
        (
            ["recommend", "factors", "--new-users", "plays.tsv", "--plays", "plays.tsv"],
            "--new-users PLAYS are the plays",
        ),
        (
            ["recommend", "factors", "--all-users", "--plays", "plays.tsv", "--new-plays", "plays.tsv"],
            "give one of them",
        ),
        (["predict", "linear", "a.wav", "-o", "p", "--resume"], "--resume goes with --features and -o DIR"),
        (["recommend", "factors", "--played", "song00=many"], "'many' is no count"),
        (
            ["recommend", "factors", "--user", "user05", "--columns", "1,2,3"],
            "--plays FILE, which is missing",
        ),
        (["export", "factors", "-o", "v", "--since", "2024"], "--plays FILE, which is missing"),
        (["recommend", "factors", "--played", "song01", "-o", "l"], "-o writes ids of users"),
        (["recommend", "factors", "--all-users", "--from-date", "2024"], "needs --songs SONGS.tsv"),
        (
            ["recommend", "factors", "--all-users", "--overwrite"],
            "--overwrite, --resume and --force are for -o DIR",
        ),
        (["export", "factors"], "Missing option '-o'"),
        (["similar", "factors"], "say what to compare with"),
        (["predict", "linear"], "give either audio files or --features"),
        (["predict", "linear", "a.wav", "--features", "features"], "give either audio files or --features"),
        (["evaluate", "--split", "split", "--features", "features"], "Missing argument"),
        (["similar", "factors", "--song", "song00", "-k", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage(words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("command", ["evaluate", "recommend", "similar", "predict", "export"])
def test_help_has_an_example(command):
    assert f"Example:  dcbmr {command} " in run(command, "--help").stdout


@pytest.mark.parametrize(("form", "shown"), [([], "Sigur R\\xf3s"), (["--json"], "Sigur R\\u00f3s")])
def test_names_that_the_locale_cannot_write_are_shown_by_their_codes(tmp_path, form, shown):
    song = Split.load("split").train.song_ids[0]
    (tmp_path / "songs.tsv").write_text(f"{song}\tSigur Rós\n", "utf-8")
    words = ["similar", "factors", "--song", song, "--songs", str(tmp_path / "songs.tsv"), *form]
    done = subprocess.run(
        [sys.executable, "-c", f"from dcbmr.cli import main; main({words!r})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
