"""Training through the public function and the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array

from dcbmr import PlayCounts, RegressorSpec, WeightedALS
from dcbmr.cli import cli
from dcbmr.contract import registry
from dcbmr.errors import DcbmrError, InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.codebook import Codebook
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.features.store import FeatureStore
from dcbmr.models.model import Model
from dcbmr.models.training import choose_validation, factor_target, train
from dcbmr.plays.split import Split

SMALL_CNN = {"channels": (8, 8), "hidden": (16,), "epochs": 2, "batch_size": 8}


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_validation_songs_are_whole_artists():
    groups = np.repeat(np.arange(20), 5)
    chosen = choose_validation(100, groups, fraction=0.2, random_state=1)
    assert chosen.sum() == 20
    assert set(groups[chosen]).isdisjoint(groups[~chosen])
    again = choose_validation(100, groups, fraction=0.2, random_state=1)
    np.testing.assert_array_equal(chosen, again)


def test_validation_is_never_empty_for_want_of_a_small_artist():
    with pytest.warns(UserWarning, match=r"20.0% of 100 songs are held out, where 10.0% were wanted"):
        chosen = choose_validation(100, np.repeat(np.arange(5), 20), fraction=0.1, random_state=0)
    assert chosen.sum() == 20
    prolific = np.array([0] * 60 + list(range(1, 41)))
    for seed in range(10):
        assert choose_validation(100, prolific, fraction=0.1, random_state=seed).sum() == 10


def test_songs_of_one_artist_have_no_validation_and_say_so():
    with pytest.warns(UserWarning, match="no songs are set aside for validation: all are of one artist"):
        assert not choose_validation(9, np.zeros(9, int), fraction=0.1, random_state=0).any()
    assert not choose_validation(9, np.zeros(9, int), fraction=0, random_state=0).any()


def test_the_target_is_the_factors_of_the_songs_in_hand(small_world):
    factors = Factors.load(small_world / "factors")
    songs = list(factors.song_ids[[5, 2, 9]])
    target = factor_target(factors, songs)
    np.testing.assert_array_equal(target.song_factors, factors.song_factors[[5, 2, 9]])
    np.testing.assert_array_equal(target.surplus.toarray(), factors.surplus.toarray().T[[5, 2, 9]])
    with pytest.raises(ValueError, match="read-only"):
        target.song_factors[0, 0] = 1


@pytest.mark.parametrize(("regressor", "params"), [("linear", {}), ("mlr", {}), ("cnn", SMALL_CNN)])
def test_a_model_predicts_the_same_from_store_files_and_after_load(small_world, tmp_path, regressor, params):
    factors = Factors.load(small_world / "factors")
    heldout = Split.load(small_world / "split").heldout_songs
    pipeline = FeaturePipeline("mel" if regressor == "cnn" else "bow_pca", n_words=16)
    model = train(
        factors,
        FeatureStore.open(small_world / "features"),
        regressor=regressor,
        params=params,
        pipeline=pipeline,
    )
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    predicted = model.predict_store(FeatureStore.open(small_world / "features"), heldout)
    assert predicted.shape == (len(heldout), model.user_factors.shape[1])
    np.testing.assert_array_equal(
        loaded.predict_store(FeatureStore.open(small_world / "features"), heldout), predicted
    )
    files = [small_world / "audio" / f"{song}.wav" for song in heldout]
    # The store keeps log-mel as float16.
    scale = np.abs(predicted).max()
    np.testing.assert_allclose(loaded.predict_files(files), predicted, atol=0.02 * scale)


@pytest.mark.parametrize("weighting", ["count", "sqrt"])
def test_stored_words_train_as_their_frames_do(small_world, tmp_path, weighting):
    factors = Factors.load(small_world / "factors")
    heldout = Split.load(small_world / "split").heldout_songs
    by_frames = FeaturePipeline("bow_pca", n_words=16, weighting=weighting)
    wanted = train(
        factors, FeatureStore.open(small_world / "features"), regressor="linear", pipeline=by_frames
    )
    by_frames.codebook_.save(tmp_path / "codebook")
    words = ("--kind", "bow", "--codebook", tmp_path / "codebook")
    assert run("featurize", small_world / "audio", "-o", tmp_path / "words", *words).exit_code == 0
    done = run(
        *("train", "--regressor", "linear", "--factors", small_world / "factors", "-o", tmp_path / "model"),
        *("--features", tmp_path / "words", "--codebook", tmp_path / "codebook", "--weighting", weighting),
    )
    assert done.exit_code == 0, done.output
    loaded = Model.load(tmp_path / "model")
    expected = wanted.predict_store(FeatureStore.open(small_world / "features"), heldout)
    np.testing.assert_allclose(
        loaded.predict_store(FeatureStore.open(tmp_path / "words"), heldout), expected, atol=1e-5
    )
    files = [small_world / "audio" / f"{song}.wav" for song in heldout]
    np.testing.assert_allclose(loaded.predict_files(files), expected, atol=1e-5)
    other = Codebook(n_words=16).fit(loaded.pipeline.codebook_.words_ + 1)
    with pytest.raises(InputError, match=f"words of codebook .*, the one given is {other.digest}"):
        train(
            factors,
            FeatureStore.open(tmp_path / "words"),
            regressor="linear",
            pipeline=FeaturePipeline("bow_pca", codebook=other),
        )
    with pytest.raises(InputError, match="'mel' need no codebook"):
        FeaturePipeline("mel", codebook=other)


def test_preparing_features_reports_every_long_step(small_world):
    seen = []
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    options = {"regressor": "linear", "progress": lambda *step: seen.append(step[:3])}
    model = train(
        Factors.load(small_world / "factors"),
        FeatureStore.open(small_world / "features"),
        pipeline=pipeline,
        **options,
    )
    n_iterations, n_songs = len(pipeline.codebook_.inertias_), len(model.song_ids)
    assert seen[:-1] == [("k-means", i, 25) for i in range(1, n_iterations + 1)]
    assert seen[-1] == ("count words", n_songs, n_songs)

    def stop(*step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            Factors.load(small_world / "factors"),
            FeatureStore.open(small_world / "features"),
            **(options | {"progress": stop}),
            pipeline=FeaturePipeline("bow_pca", n_words=16),
        )


def test_folding_in_a_known_user_gives_its_factors(small_world):
    factors = Factors.load(small_world / "factors")
    model = train(
        factors,
        FeatureStore.open(small_world / "features"),
        regressor="linear",
        pipeline=FeaturePipeline("bow_pca", n_words=16),
    )
    rows = [list(factors.song_ids).index(song) for song in model.song_ids]
    folded = model.fold_in_users(csr_array(factors.counts[:, rows]))
    np.testing.assert_allclose(folded, factors.fold_in_users(factors.counts), atol=1e-5)


def test_a_cancelled_training_continues_to_the_same_model(small_world, tmp_path):
    factors = Factors.load(small_world / "factors")
    options = {
        "regressor": "cnn",
        "params": SMALL_CNN | {"epochs": 4},
        "checkpoint": tmp_path / "checkpoint",
        "n_threads": 1,
    }
    calls = 0

    def cancel(stage, step, n_steps, figures):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(factors, FeatureStore.open(small_world / "features"), progress=cancel, **options)
    resumed = train(factors, FeatureStore.open(small_world / "features"), resume=True, **options)
    unbroken = train(factors, FeatureStore.open(small_world / "features"), **(options | {"checkpoint": None}))
    heldout = Split.load(small_world / "split").heldout_songs
    np.testing.assert_array_equal(
        resumed.predict_store(FeatureStore.open(small_world / "features"), heldout),
        unbroken.predict_store(FeatureStore.open(small_world / "features"), heldout),
    )
    other = options | {"params": SMALL_CNN | {"epochs": 5}}
    with pytest.raises(InputError, match="other settings: params.epochs is 4 .wanted 5"):
        train(factors, FeatureStore.open(small_world / "features"), resume=True, **other)


class Faulty:
    """A regressor that is not what its plugin says."""

    def __init__(self, *, fault: str = "none", random_state: int = 0) -> None:
        self.fault = fault

    def fit(self, songs, target, *, run=None):
        self.width = target.song_factors.shape[1]
        return None if self.fault == "no self" else self

    def predict(self, songs):
        n = len(songs.song_ids)
        return {
            "shape": np.zeros((n, self.width + 1), np.float32),
            "rows": np.zeros((n + 1, self.width), np.float32),
            "nan": np.full((n, self.width), np.nan, np.float32),
            "large": np.full((n, self.width), 1e39),
            "list": [[0.0] * self.width] * n,
            "integers": np.zeros((n, self.width), np.int64),
            "none": np.zeros((n, self.width), np.float64),
        }[self.fault]

    def user_factors(self, counts):
        return np.full((counts.shape[0], self.width), np.inf, np.float32)

    def save(self, directory):
        (directory / "nothing").touch()


@pytest.fixture
def faulty(monkeypatch):
    """The regressors "faulty" and "faulty-users" of the installed distribution "dcbmr-faulty" 3.1."""
    package = "dcbmr-faulty 3.1"
    specs = (
        RegressorSpec("faulty", Faulty, "zeros", package=package),
        RegressorSpec("faulty-users", Faulty, "zeros for users", has_users=True, package=package),
    )
    installed = registry.plugins()
    about = {"name": "faulty", "distribution": "dcbmr-faulty", "version": "3.1"}
    new = replace(installed[0], **about, regressors=specs, losses=())
    monkeypatch.setattr(registry, "plugins", lambda: (*installed, new))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no self", "fit of regressor 'faulty' of dcbmr-faulty 3.1 returned a NoneType, wanted itself"),
        ("shape", r"'faulty' of dcbmr-faulty 3.1 predicted shape \(8, 7\), wanted \(8, 6\)"),
        ("rows", r"predicted shape \(9, 6\), wanted \(8, 6\)"),
        ("nan", "predicted numbers that are not finite for 8 of 8: song"),
        ("large", "predicted numbers that are not finite for 8 of 8: song"),
        ("list", "predicted a list, wanted an array of float32"),
        ("integers", "predicted dtype int64, wanted an array of float32"),
    ],
)
def test_a_regressor_that_breaks_its_word_is_named_after_its_fit(small_world, faulty, fault, message):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline("bow", n_words=9)
    with pytest.raises(DcbmrError, match=message):
        train(factors, store, regressor="faulty", params={"fault": fault}, pipeline=pipeline)


def test_nothing_is_written_of_a_regressor_that_breaks_its_word(small_world, faulty, tmp_path):
    words = train_words(small_world, tmp_path / "model", "--regressor", "faulty", "--set")
    assert "not finite" in str(run(*words, "fault=nan").exception)
    assert not (tmp_path / "model").exists()
    assert run(*words, "fault=none").exit_code == 0


def test_users_of_its_own_are_checked_too(small_world, faulty):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    with pytest.raises(DcbmrError, match="3.1 made user factors of numbers that are not finite for 60 of 60"):
        train(factors, store, regressor="faulty-users", pipeline=FeaturePipeline("bow", n_words=9))


@pytest.mark.parametrize(
    ("regressor", "kind", "params"),
    [("linear", "bow", {}), ("mlr", "bow", {}), ("cnn", "mfcc", SMALL_CNN | {"epochs": 1})],
)
def test_a_regressor_takes_any_kind_of_its_shape(small_world, tmp_path, regressor, kind, params):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    pipeline = FeaturePipeline("bow", n_words=16) if kind == "bow" else None
    model = train(factors, store, regressor=regressor, kind=kind, params=params, pipeline=pipeline)
    assert (model.kind, model.spec.kind != kind) == (kind, True)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.kind == kind
    file = small_world / "audio" / "song00.wav"
    stored = loaded.predict_store(store, ["song00"])
    np.testing.assert_allclose(loaded.predict_files([file]), stored, atol=0.02 * np.abs(stored).max())


def test_the_command_takes_a_kind(small_world, tmp_path):
    done = run(*train_words(small_world, tmp_path / "model", "--kind", "bow"))
    assert done.exit_code == 0, done.output
    assert Model.load(tmp_path / "model").kind == "bow"
    words = ("--kind", "bow", "--words", 16)
    without = ("--without", small_world / "split" / "heldout_songs.txt", "--words", 16)
    assert run("codebook", small_world / "features", "-o", tmp_path / "codebook", *without).exit_code == 0
    stored = ("--codebook", tmp_path / "codebook")
    assert (
        run("featurize", small_world / "audio", "-o", tmp_path / "bow", "--kind", "bow", *stored).exit_code
        == 0
    )
    more = ("--features", tmp_path / "bow", *words, *stored)
    assert run(*train_words(small_world, tmp_path / "stored", *more)).exit_code == 0
    assert Model.load(tmp_path / "stored").pipeline.source == "bow"


@pytest.mark.parametrize(
    ("regressor", "kind", "message"),
    [
        ("cnn", "bow", "'cnn' takes frames, which 'bow' is not; .*features has mel and mfcc for it"),
        (
            "linear",
            "mel",
            "'linear' takes one vector a song, which 'mel' is not; .* has patterns and stats and bow "
            "and bow_pca for it",
        ),
        ("linear", "tempo", "unknown kind of feature 'tempo'"),
    ],
)
def test_a_kind_of_another_shape_is_refused(small_world, regressor, kind, message):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    with pytest.raises(InputError, match=message):
        train(factors, store, regressor=regressor, kind=kind)


def test_what_saw_heldout_songs_is_refused(small_world):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    split = Split.load(small_world / "split")
    everything = (
        WeightedALS(n_factors=6, n_iterations=2).fit(PlayCounts.read(small_world / "plays.tsv")).factors_
    )
    options = {"regressor": "linear", "split": split, "progress": lambda *_: pytest.fail("worked first")}
    with pytest.raises(InputError, match="the factorization has seen plays of 8 of the 8 songs"):
        train(everything, store, **options)
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    pipeline.fit_transform(store["mfcc"].features(store.song_ids))
    with pytest.raises(InputError, match="the codebook of the pipeline was learned from 8 of the 8 songs"):
        train(factors, store, **options, pipeline=pipeline)
    # Factors that know what they were fitted without need no split.
    knowing = replace(factors, heldout_songs=tuple(split.heldout_songs))
    pipeline.codebook_ = train(
        factors, store, regressor="linear", kind="bow_pca", pipeline=FeaturePipeline("bow_pca", n_words=16)
    ).pipeline.codebook_
    with pytest.raises(InputError, match="the PCA of the pipeline was learned from 8 of the 8 songs"):
        train(knowing, store, regressor="linear", pipeline=pipeline)


def test_a_model_knows_the_songs_that_it_was_made_without(small_world, tmp_path):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    split = Split.load(small_world / "split")
    plain = replace(factors, heldout_songs=())
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    train(plain, store, regressor="linear", split=split, pipeline=pipeline).save(tmp_path / "model")
    assert set(Model.load(tmp_path / "model").factors.heldout_songs) == set(split.heldout_songs)
    assert plain.heldout_songs == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "'cnn' computes on auto, cpu, cuda; got device 'tpu'"),
        ({"loss": "hinge"}, "'cnn' has no loss 'hinge'"),
        ({"params": {"depth": 3}}, "'cnn' has no parameter 'depth'"),
        ({"loss_params": {"temperature": 1}, "regressor": "linear"}, "computes its losses itself"),
        ({"validation_fraction": 1.5}, "validation_fraction must lie between 0 and 0.9; got 1.5"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"artists": {"x": "y"}}, r"the table of artists has no song to train on; it has \['x'\]"),
        (
            {"kind": "mfcc", "pipeline": FeaturePipeline("mel")},
            "kind is 'mfcc', but the pipeline makes 'mel'",
        ),
    ],
)
def test_what_can_be_known_is_checked_before_the_work(small_world, tmp_path, options, message):
    factors, store = Factors.load(small_world / "factors"), FeatureStore.open(small_world / "features")
    work = {"regressor": "cnn", "progress": lambda *_: pytest.fail("worked first")}
    with pytest.raises(InputError, match=message):
        train(factors, store, checkpoint=tmp_path / "checkpoint", **(work | options))
    assert not (tmp_path / "checkpoint").exists()


def train_words(world, output, *more):
    return (
        *("train", "--regressor", "linear", "--words", "16", "-o", output),
        *("--factors", world / "factors", "--features", world / "features"),
        *more,
    )


def test_the_command_trains_and_says_who_was_left_out(small_world, tmp_path):
    done = run(*train_words(small_world, tmp_path / "model", "--split", small_world / "split"))
    assert done.exit_code == 0, done.output
    n_heldout = len(Split.load(small_world / "split").heldout_songs)
    assert f"left out: {n_heldout} with features but no plays" in done.output
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["regressor"], config["feature"], config["n_words"]) == ("linear", "bow_pca", 16)
    assert config["package"].startswith("dcbmr ")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--regressor", "forest"],
            "unknown regressor 'forest'; installed: cnn, kernel_ridge, linear, mlp, mlr",
        ),
        (["--loss", "hinge"], "'linear' has no loss 'hinge': it takes mse, wpe"),
        (["--device", "cpu"], "'linear' has no device to choose"),
        (["--set", "depth=3"], "no parameter 'depth'; there are regularization"),
        (["--set", "regularization=much"], "wanted a number or none, got 'much'"),
        (["--factors", "nowhere"], "nowhere is no dcbmr factors directory: it does not exist"),
        (["--features", "nowhere"], "nowhere does not exist; wanted the output of dcbmr featurize"),
        (["--words", "100000"], "frames are fewer than n_words = 100000"),
    ],
)
def test_wrong_flags(small_world, tmp_path, more, message):
    done = run(*train_words(small_world, tmp_path / "model", *more))
    assert isinstance(done.exception, InputError), done.output
    assert message in str(done.exception)
    assert not (tmp_path / "model").exists()


def test_only_a_training_that_got_somewhere_is_unfinished(small_world, tmp_path):
    def cnn(name, *more):
        words = ["train", "--regressor", "cnn", "-o", tmp_path / name, "--threads", 1]
        words += ["--factors", small_world / "factors", "--features", small_world / "features"]
        return run(*words, "--set", "channels=4,4", "--set", "hidden=8", *more)

    assert "epochs must be at least 1" in str(cnn("model", "--set", "epochs=0").exception)
    done = cnn("model", "--set", "epochs=1")
    assert done.exit_code == 0, done.output
    (tmp_path / ".other.checkpoint").mkdir()
    (tmp_path / ".other.checkpoint" / "checkpoint.safetensors").write_bytes(b"hours of work")
    done = cnn("other", "--set", "epochs=1")
    assert "was not finished; --resume continues it, --overwrite starts anew" in str(done.exception)
    assert cnn("other", "--set", "epochs=1", "--overwrite").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


def test_an_existing_model_is_refused(small_world, tmp_path):
    (tmp_path / "model").mkdir()
    done = run(*train_words(small_world, tmp_path / "model"))
    assert "exists; give another output directory, or --overwrite" in str(done.exception)


def test_factors_that_have_seen_the_heldout_songs_are_refused(small_world, tmp_path):
    made = run(
        "factorize", small_world / "plays.tsv", "-o", tmp_path / "all", "--factors", 4, "--iterations", 2
    )
    assert made.exit_code == 0, made.output
    words = train_words(small_world, tmp_path / "model", "--split", small_world / "split")
    done = run(*words, "--factors", tmp_path / "all")
    assert "has seen plays of" in str(done.exception)
    assert "factorize the split directory" in str(done.exception)


def test_no_song_in_common_says_what_both_sides_hold(small_world, tmp_path):
    plays = (small_world / "plays.tsv").read_text().replace("song", "track-")
    (tmp_path / "plays.tsv").write_text(plays)
    run("factorize", tmp_path / "plays.tsv", "-o", tmp_path / "factors", "--factors", 4, "--iterations", 2)
    done = run(*train_words(small_world, tmp_path / "model", "--factors", tmp_path / "factors"))
    assert "none of the 40 songs with plays has features" in str(done.exception)
    assert "track-" in str(done.exception)


def test_features_of_other_settings_are_named(small_world, tmp_path):
    from dcbmr.features.featurize import featurize

    factors = Factors.load(small_world / "factors")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    model = train(factors, FeatureStore.open(small_world / "features"), regressor="linear", pipeline=pipeline)
    featurize(
        small_world / "audio" / "song00.wav",
        tmp_path / "features",
        kinds=["mfcc"],
        params={"hop_length": 256},
    )
    with pytest.raises(InputError, match=r"other settings: hop_length is 256 \(wanted 512\)"):
        model.predict_store(FeatureStore.open(tmp_path / "features"), ["song00"])


def test_songs_with_plays_but_no_features_are_counted_and_named(small_world, tmp_path):
    from dcbmr.features.featurize import featurize

    factors = Factors.load(small_world / "factors")
    present = factors.song_ids[2:]
    files = [small_world / "audio" / f"{song}.wav" for song in present]
    featurize(files, tmp_path / "features", kinds=["mfcc"])
    done = run(*train_words(small_world, tmp_path / "model", "--features", tmp_path / "features"))
    assert done.exit_code == 0, done.output
    first, second = factors.song_ids[:2]
    assert f"2 with plays but no features ({first}, {second})" in done.output
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["n_songs"], config["n_songs_without_features"]) == (len(present), 2)
