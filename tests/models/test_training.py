"""Training through the public function and the command line."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array

from dcbmr.cli import cli
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.codebook import Codebook
from dcbmr.features.pipeline import FeaturePipeline
from dcbmr.models.model import Model
from dcbmr.models.training import artist_groups, choose_validation, factor_target, train
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


def test_songs_without_an_artist_are_groups_of_their_own():
    artists = {"a": "x", "b": "x", "d": "c"}
    groups = artist_groups(["a", "b", "c", "d", "e"], artists)
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4
    assert artist_groups(["e"], artists) is None


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
    model = train(factors, small_world / "features", regressor=regressor, params=params, pipeline=pipeline)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    predicted = model.predict_store(small_world / "features", heldout)
    assert predicted.shape == (len(heldout), model.user_factors.shape[1])
    np.testing.assert_array_equal(loaded.predict_store(small_world / "features", heldout), predicted)
    files = [small_world / "audio" / f"{song}.wav" for song in heldout]
    # The store keeps log-mel as float16.
    scale = np.abs(predicted).max()
    np.testing.assert_allclose(loaded.predict_files(files), predicted, atol=0.02 * scale)


@pytest.mark.parametrize("weighting", ["count", "sqrt"])
def test_stored_words_train_as_their_frames_do(small_world, tmp_path, weighting):
    factors = Factors.load(small_world / "factors")
    heldout = Split.load(small_world / "split").heldout_songs
    by_frames = FeaturePipeline("bow_pca", n_words=16, weighting=weighting)
    wanted = train(factors, small_world / "features", regressor="linear", pipeline=by_frames)
    by_frames.codebook_.save(tmp_path / "codebook")
    words = ("--kind", "bow", "--codebook", tmp_path / "codebook")
    assert run("featurize", small_world / "audio", "-o", tmp_path / "words", *words).exit_code == 0
    done = run(
        *("train", "--regressor", "linear", "--factors", small_world / "factors", "-o", tmp_path / "model"),
        *("--features", tmp_path / "words", "--codebook", tmp_path / "codebook", "--weighting", weighting),
    )
    assert done.exit_code == 0, done.output
    loaded = Model.load(tmp_path / "model")
    expected = wanted.predict_store(small_world / "features", heldout)
    np.testing.assert_allclose(loaded.predict_store(tmp_path / "words", heldout), expected, atol=1e-5)
    files = [small_world / "audio" / f"{song}.wav" for song in heldout]
    np.testing.assert_allclose(loaded.predict_files(files), expected, atol=1e-5)
    other = Codebook(n_words=16).fit(loaded.pipeline.codebook_.words_ + 1)
    with pytest.raises(InputError, match=f"words of codebook .*, the one given is {other.digest}"):
        train(
            factors,
            tmp_path / "words",
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
        Factors.load(small_world / "factors"), small_world / "features", pipeline=pipeline, **options
    )
    n_iterations, n_songs = len(pipeline.codebook_.inertias_), len(model.song_ids)
    assert seen[:-1] == [("k-means", i, 25) for i in range(1, n_iterations + 1)]
    assert seen[-1] == ("count words", n_songs, n_songs)

    def stop(*step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            Factors.load(small_world / "factors"),
            small_world / "features",
            **(options | {"progress": stop}),
            pipeline=FeaturePipeline("bow_pca", n_words=16),
        )


def test_folding_in_a_known_user_gives_its_factors(small_world):
    factors = Factors.load(small_world / "factors")
    model = train(
        factors, small_world / "features", regressor="linear", pipeline=FeaturePipeline("bow_pca", n_words=16)
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
        train(factors, small_world / "features", progress=cancel, **options)
    resumed = train(factors, small_world / "features", resume=True, **options)
    unbroken = train(factors, small_world / "features", **(options | {"checkpoint": None}))
    heldout = Split.load(small_world / "split").heldout_songs
    np.testing.assert_array_equal(
        resumed.predict_store(small_world / "features", heldout),
        unbroken.predict_store(small_world / "features", heldout),
    )
    other = options | {"params": SMALL_CNN | {"epochs": 5}}
    with pytest.raises(InputError, match="other settings: params.epochs is 4 .wanted 5"):
        train(factors, small_world / "features", resume=True, **other)


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
        (["--regressor", "forest"], "unknown regressor 'forest'; installed: cnn, linear, mlp, mlr"),
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
    from dcbmr.audio.frames import Settings
    from dcbmr.features.featurize import featurize

    factors = Factors.load(small_world / "factors")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    model = train(factors, small_world / "features", regressor="linear", pipeline=pipeline)
    featurize(
        small_world / "audio" / "song00.wav",
        tmp_path / "features",
        kinds=["mfcc"],
        settings=Settings(hop_length=256),
    )
    with pytest.raises(InputError, match=r"other settings: hop_length is 256 \(wanted 512\)"):
        model.predict_store(tmp_path / "features", ["song00"])


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
