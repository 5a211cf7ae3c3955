"""What auto tries, how it judges and chooses, and what it does when time or artists are few."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from dcbmr import DcbmrError, Factors, FeatureStore, InputError, Model, Stack, load_model, train, train_auto
from dcbmr.cli import cli
from dcbmr.models import auto, trials
from dcbmr.models.candidates import Candidate, candidates, pipelines_of
from dcbmr.models.trials import Fold, Score, Trial, ahead, choose, give_up_who_is_behind
from dcbmr.plays.groups import artist_groups
from dcbmr.plays.split import Split

# Those that take no more than a moment.
RIDGES = [Candidate("linear", ("bow_pca",)), Candidate("kernel_ridge", ("stats",))]


@pytest.fixture(scope="module")
def store(small_world):
    return FeatureStore.open(small_world / "features")


@pytest.fixture(scope="module")
def factors(small_world):
    return Factors.load(small_world / "factors")


@pytest.fixture
def few(monkeypatch):
    """Let only the ridges be tried."""
    monkeypatch.setattr(auto, "candidates", lambda store: (RIDGES, {"nobody": "not there"}))
    monkeypatch.setattr(auto, "ENOUGH_ARTISTS", 1)


def rows_of(model):
    return {row["model"]: row for row in model.config["choice"]["trials"]}


def test_the_cheap_ones_are_tried_on_all_vectors_and_the_others_on_their_own_kind(store):
    tried, not_tried = candidates(store)
    names = list(map(str, tried))
    assert names[:3] == ["linear on bow_pca", "linear on stats", "linear on stats+bow_pca"]
    assert "cnn on mel (channels=16,32, learning_rate=0.003)" in names
    assert names.index("cnn on mel") > names.index("kernel_ridge on stats")
    assert "mlp on bow_pca" in names
    assert not_tried == {}


def test_a_fold_is_judged_by_users_who_know_nothing_of_its_plays(factors):
    songs = [song for song, played in zip(factors.song_ids, factors.has_plays, strict=True) if played][:6]
    fold = Fold(factors, songs, np.array([0, 0, 1, 1, 2, 2]), n_threads=1, random_state=0)
    assert set(songs).isdisjoint(fold.factors.song_ids)
    assert set(songs) <= set(fold.factors.heldout_songs)
    others = [song not in songs for song in factors.song_ids]
    alone = Factors(
        user_factors=factors.user_factors * 0,
        song_factors=factors.song_factors[others],
        counts=factors.counts[:, others],
        regularization=factors.regularization,
    )
    wanted = alone.fold_in_users(alone.counts)
    np.testing.assert_array_equal(fold.factors.user_factors, wanted)
    rng = np.random.default_rng(0)
    score = fold.judge({"songs": rng.standard_normal((6, 6)).astype(np.float32)})
    assert score.gains.shape == (3,)
    assert 0 < score.gains.sum() < 1
    # By the artist's mean alone songs of an artist tie, and AUC sees only artists.
    assert fold.judge({"songs": np.eye(6, dtype=np.float32)}, 1.0).auc != score.auc


def test_the_standard_error_is_that_of_a_sum_over_artists():
    rng = np.random.default_rng(1)
    held_out = np.arange(11), np.array([11, 12, 3])
    ours = [Score(artists, rng.random(len(artists)), 0.5) for artists in held_out]
    theirs = [Score(artists, rng.random(len(artists)), 0.5) for artists in held_out]
    first, second = (our.gains - their.gains for our, their in zip(ours, theirs, strict=True))
    by, error = ahead(ours, theirs[:1])  # who was given up has fewer folds
    assert by == pytest.approx(first.sum())
    assert error == pytest.approx(math.sqrt(11) * first.std(ddof=1))
    # An artist that was held out twice counts once.
    parts = np.array([*first[:3], first[3] + second[2], *first[4:], *second[:2]]) / 2
    by, error = ahead(ours, theirs)
    assert by == pytest.approx(parts.sum())
    assert error == pytest.approx(math.sqrt(13) * parts.std(ddof=1))
    assert ahead(ours[1:], theirs[1:])[1] == math.inf  # of three artists


def test_who_is_clearly_behind_is_given_up_but_not_by_a_few_artists():
    def racing(n):
        gains = np.full(n, 0.1) + np.linspace(0, 0.001, n)
        worse = gains - 0.05 + np.linspace(0, 0.001, n) ** 2
        return [
            Trial(0, RIDGES[0], scores=[Score(np.arange(n), gains, 0.6)]),
            Trial(1, RIDGES[1], scores=[Score(np.arange(n), worse, 0.5)]),
            Trial(2, RIDGES[1], scores=[Score(np.arange(n), 0.999 * gains[::-1], 0.6)]),
        ]

    assert len(give_up_who_is_behind(racing(9))) == 3
    many = racing(12)
    assert [trial.place for trial in give_up_who_is_behind(many)] == [0, 2]
    assert many[1].outcome == "given up: clearly behind linear on bow_pca"


def test_what_is_dearer_has_to_be_ahead_by_more_than_a_standard_error(factors, monkeypatch):
    songs = list(factors.song_ids[factors.has_plays][:24])
    fold = Fold(factors, songs, artist_groups(songs, factors.artists), n_threads=1, random_state=0)
    truth = factors.song_factors[[list(factors.song_ids).index(song) for song in songs]]
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(truth.shape).astype(np.float32) * truth.std()

    def trial(place, songs):
        made = {"songs": songs.astype(np.float32)}
        return Trial(place, RIDGES[0], [fold.judge(made)], [made], [1.0])

    # Next to the same, and then far better.
    cheap, same = trial(0, 0.3 * truth + noise), trial(1, 0.3001 * truth + noise)
    assert choose([cheap, same], [fold], by_artist=False)[0].trials == (cheap,)
    good = trial(2, truth + 0.3 * noise)
    assert choose([cheap, same, good], [fold], by_artist=False)[0].trials == (cheap,)  # by 8 artists
    monkeypatch.setattr(trials, "_FEW_ARTISTS", 8)
    assert choose([cheap, same, good], [fold], by_artist=False)[0].trials == (good,)
    # An artist's songs are alike here, and differ most by the noise.
    noisy = trial(0, truth + 2 * noise)
    assert choose([noisy], [fold], by_artist=True)[0].artist_weight > 0


def test_a_model_with_users_of_its_own_is_in_no_mean(factors):
    songs = list(factors.song_ids[factors.has_plays][:8])
    fold = Fold(factors, songs, np.arange(8), n_threads=1, random_state=0)
    rng = np.random.default_rng(2)
    of_factors = [{"songs": rng.standard_normal((8, 6)).astype(np.float32)} for _ in range(2)]
    own = {"songs": of_factors[0]["songs"][:, :2], "users": factors.user_factors[:, :2]}
    racing = [
        Trial(n, RIDGES[0], [fold.judge(made)], [made], [1.0]) for n, made in enumerate([*of_factors, own])
    ]
    _, found = choose(racing, [fold], by_artist=False)
    assert [variant.trials for variant in found[:3]] == [(trial,) for trial in racing]
    [mean] = found[3:]
    assert set(mean.trials) == set(racing[:2])


def test_what_is_chosen_is_what_a_training_of_it_gives(factors, store, few, tmp_path):
    model = train_auto(factors, store, n_threads=1)
    choice = model.config["choice"]
    rows = rows_of(model)
    assert choice["held_out"] == "artists"
    assert choice["not_tried"] == {"nobody": "not there"}
    [chosen] = [row for row in rows.values() if row["outcome"] == "chosen"]
    assert chosen["model"] == "linear on bow_pca"  # the cheapest, since there are but 8 artists
    assert rows["random, in theory"]["map"] < chosen["map"]
    assert chosen["model"] in choice["why"]
    to = pipelines_of(store, model.song_ids, n_threads=1, random_state=0)
    models = model.models if isinstance(model, Stack) else [model]
    for one in models:
        again = train(
            factors, store, regressor=one.spec.name, pipeline=to((one.kind,)),
            artist_weight=one.config["artist_weight"], n_threads=1,
        )  # fmt: skip
        heldout = factors.heldout_songs
        np.testing.assert_array_equal(one.predict_store(store, heldout), again.predict_store(store, heldout))
    model.save(tmp_path / "model")
    assert load_model(tmp_path / "model").config["choice"] == choice
    same = train_auto(factors, store, n_threads=1).config["choice"]
    assert [row["map"] for row in same["trials"]] == [row["map"] for row in choice["trials"]]


def test_words_are_learned_of_the_songs_that_a_fold_leaves(factors, store, few, monkeypatch):
    seen = []

    def spying(given, *args, pipeline, **options):
        model = train(given, *args, pipeline=pipeline, **options)
        seen.append((set(given.heldout_songs), pipeline))
        return model

    monkeypatch.setattr(auto, "train", spying)
    train_auto(factors, store, n_threads=1)
    in_folds = [(out, pipeline) for out, pipeline in seen if len(out) > len(factors.heldout_songs)]
    assert len(in_folds) == 2 * auto.N_FOLDS
    for out, pipeline in in_folds:
        assert not any(learned.seen(list(out)) for _, learned in pipeline.learned())
    everywhere = set.union(*(out for out, _ in in_folds)) - set(factors.heldout_songs)
    assert everywhere == set(factors.song_ids[factors.has_plays])


def test_with_no_time_the_first_is_chosen_and_the_others_are_said_to_be_untried(factors, store, few):
    model = train_auto(factors, store, seconds=1e-3, n_threads=1)
    rows = rows_of(model)
    assert isinstance(model, Model)
    assert model.spec.name == "linear"
    assert rows["kernel_ridge on stats"]["outcome"] == "no time was left"
    assert model.config["choice"]["n_folds"] == 1


def test_a_fit_that_takes_too_long_is_stopped(factors, store, monkeypatch):
    slow = Candidate("mlp", ("bow_pca",), {"epochs": 100_000, "patience": 0})
    monkeypatch.setattr(auto, "candidates", lambda store: ([RIDGES[0], slow], {}))
    model = train_auto(factors, store, seconds=6, n_threads=1)
    assert rows_of(model)[str(slow)]["outcome"].startswith("too slow")
    assert model.config["choice"]["seconds_taken"] < 60


def test_a_candidate_that_fails_is_named_and_does_no_harm(factors, store, monkeypatch):
    wrong = Candidate("cnn", ("mel",), {"window": 100_000, "batch_size": 0})
    monkeypatch.setattr(auto, "candidates", lambda store: ([wrong, RIDGES[0]], {}))
    rows = rows_of(train_auto(factors, store, n_threads=1))
    assert rows[str(wrong)]["outcome"].startswith("failed: ")
    monkeypatch.setattr(auto, "candidates", lambda store: ([wrong], {}))
    with pytest.raises(DcbmrError, match="batch_size"):
        train_auto(factors, store, n_threads=1)


def test_an_interrupted_choice_goes_on(factors, store, few, tmp_path):
    class Stopped(Exception):
        pass

    def stop(stage, step, n_steps, figures):
        if stage == "choose" and len(list((tmp_path / "trials").glob("*.safetensors"))) == 3:
            raise Stopped

    checkpoint = tmp_path / "trials"
    with pytest.raises(Stopped):
        train_auto(factors, store, checkpoint=checkpoint, progress=stop, n_threads=1)
    before = {file: file.stat().st_mtime_ns for file in checkpoint.glob("*.safetensors")}
    model = train_auto(factors, store, checkpoint=checkpoint, resume=True, n_threads=1)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert len(before) == 3
    wanted = train_auto(factors, store, n_threads=1)
    figures = ([row["map"] for row in one.config["choice"]["trials"]] for one in (model, wanted))
    assert next(figures) == next(figures)
    with pytest.raises(InputError, match="random_state"):
        train_auto(factors, store, checkpoint=checkpoint, resume=True, n_threads=1, random_state=1)


def test_too_few_artists_no_artists_and_no_features_are_said(factors, store, few, small_world, monkeypatch):
    songs = factors.song_ids[factors.has_plays]
    of_four = {song: f"artist{row % 4}" for row, song in enumerate(songs)}
    with pytest.raises(InputError, match=r"held out in 5 turns, and there are 4 artists"):
        train_auto(factors, store, artists=of_four)
    unknown = Factors(
        user_factors=factors.user_factors,
        song_factors=factors.song_factors,
        counts=factors.counts,
        song_ids=factors.song_ids,
        user_ids=factors.user_ids,
    )
    model = train_auto(unknown, store, n_threads=1)
    assert model.config["choice"]["held_out"] == "songs"
    assert "no artist is known" in model.config["choice"]["why"]
    with pytest.raises(InputError, match="seconds must be positive"):
        train_auto(factors, store, seconds=0)
    split = Split.load(small_world / "split")
    leaky = Split(split.train, split.heldout, [str(songs[0])], split.artists)
    with pytest.raises(InputError, match="has seen plays of 1 of the"):
        train_auto(factors, store, split=leaky)
    monkeypatch.undo()
    with pytest.raises(InputError, match="nothing that an installed regressor takes"):
        train_auto(factors, FeatureStore.of({"sound": store["mel"]}))


def test_the_command_shows_the_trials_and_replaces_a_model_by_a_stack(small_world, few, tmp_path):
    def run(*words):
        options = ("--factors", small_world / "factors", "--features", small_world / "features")
        words = ["train", *words, *options, "-o", tmp_path / "model", "--threads", "1"]
        return CliRunner().invoke(cli, [str(word) for word in words])

    assert run("--regressor", "linear", "--words", "16").exit_code == 0
    refused = run("--regressor", "auto")
    assert "--overwrite to replace it" in str(refused.exception)
    done = run("--regressor", "auto", "--overwrite")
    assert done.exit_code == 0, done.output
    assert "kernel_ridge on stats" in done.stdout
    assert "chosen: " in done.stderr
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["kind"] in ("model", "stack")
    assert len(config["choice"]["trials"]) > 3
    assert not list(tmp_path.glob(".model*"))
    assert "is finished; nothing to resume" in run("--regressor", "auto", "--resume").output
    assert "chooses by itself what --kind would say" in run("--regressor", "auto", "--kind", "bow").output
    assert "--seconds is for --regressor auto" in run("--regressor", "linear", "--seconds", "3").output
