"""Parameters of a regressor: chosen by songs that no trial has seen; it goes on where it was stopped."""

import json
import os

import pytest
from click.testing import CliRunner

from dcbmr import FeatureStore, InputError, WeightedALS, get_regressor, pipeline_to, read_songs
from dcbmr.cli import cli
from dcbmr.plays.counts import PlayCounts
from dcbmr.plays.split import split_plays
from dcbmr.tuning.regressor import Learned, hold_out, tune_regressor
from dcbmr.tuning.search import is_rung

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def shown(small_world):
    """The factors of a split by artist, features, and a few words to learn from."""
    plays = PlayCounts.read(small_world / "plays.tsv")
    artists = read_songs(small_world / "songs.tsv").artist_of()
    split = split_plays(plays, by="artist", artists=artists, random_state=1)
    factors = WeightedALS(n_factors=4, n_iterations=5, regularization=1.0).fit(split).factors_
    return factors, FeatureStore.open(small_world / "features")


def few_words():
    return pipeline_to("bow_pca", n_words=12)


def tune(shown, **options):
    factors, features = shown
    how = {"pipeline": few_words(), "k": 10, "validation_fraction": 0.16, **options}
    return tune_regressor(factors, features, **how)


def mlp(shown, **options):
    params = {"epochs": 9, "hidden": 20, **options.pop("params", {})}
    return tune(shown, regressor="mlp", params=params, device="cpu", **options)


SPACE = {"learning_rate": (1e-5, 3e-2), "dropout": (0.0, 0.8)}


def test_steps_at_which_trials_are_given_up():
    assert [step for step in range(1, 100) if is_rung(step)] == [3, 9, 27, 81]


def test_songs_to_choose_by_are_whole_artists_of_the_training_songs(shown):
    factors, features = shown
    plays = PlayCounts(factors.user_ids, factors.song_ids, factors.counts)
    split = hold_out(plays, factors.artists, 0.25, 0)
    learned = Learned.without(split, factors, features, few_words(), None, None, None)
    chosen, test = set(split.heldout_songs), set(factors.heldout_songs)
    assert chosen
    assert not chosen & test
    sides = [{factors.artists[song] for song in songs} for songs in (chosen, split.train.song_ids)]
    assert not sides[0] & sides[1]
    # Nothing of what a trial is made of knows them.
    assert not chosen & set(learned.factors.song_ids[learned.factors.has_plays])
    assert all(not seen.seen(sorted(chosen | test)) for _, seen in learned.pipeline.learned())
    # The settings are those of the factors that were given.
    assert (learned.factors.regularization, learned.factors.song_factors.shape[1]) == (1.0, 4)
    assert learned.factors.config["n_iterations"] == 5


def test_what_is_chosen_is_at_least_as_good_as_the_defaults(shown):
    tuned = mlp(shown, space=SPACE, trials=12)
    assert len(tuned.trials) == 12
    assert tuned.figure >= tuned.default_figure > 0
    assert tuned.n_pruned > 0  # after three epochs
    assert {trial["given_up_after"] for trial in tuned.trials} == {None, 3}
    assert set(tuned.settings) == set(SPACE) == set(tuned.importance)
    assert tuned.defaults == {"learning_rate": 3e-4, "dropout": 0.5}
    best = tuned.trials[0]
    assert best["figure"] == tuned.figure
    first = next(trial for trial in tuned.trials if trial["trial"] == 1)
    assert (first["learning_rate"], first["figure"]) == (3e-4, tuned.default_figure)


def test_a_search_that_was_stopped_goes_on_within_the_trial(shown, tmp_path):
    whole = mlp(shown, space=SPACE, trials=4, directory=tmp_path / "whole")
    steps = []

    def stop(stage, step, n_steps, figures):
        steps.append((stage, "validation_map" in figures))
        if steps.count(("tune", False)) == 2 and steps.count(("trial", True)) == 20:  # of the third
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mlp(shown, space=SPACE, trials=4, directory=tmp_path / "parts", progress=stop)
    begun = list((tmp_path / "parts" / "checkpoints").iterdir())
    assert [path.name for path in begun] == ["trial-3"]
    epochs = []
    parts = mlp(
        shown, space=SPACE, trials=4, directory=tmp_path / "parts",
        progress=lambda stage, *rest: epochs.append(stage) if "validation_map" in rest[-1] else None,
    )  # fmt: skip
    assert 0 < len(epochs) < 18  # what was learned of the third is not learned again
    assert parts.trials == whole.trials
    assert not list((tmp_path / "parts" / "checkpoints").iterdir())
    table = (tmp_path / "parts" / "trials.tsv").read_text().splitlines()
    assert (len(table), table[0].split("\t")[:2]) == (5, ["trial", "figure"])
    with pytest.raises(InputError, match="were made with other settings: k is 10"):
        mlp(shown, space=SPACE, trials=4, directory=tmp_path / "parts", k=20)


def test_a_regressor_without_epochs_is_tried_to_its_end(shown):
    tuned = tune(shown, regressor="linear", space={"regularization": (1e-2, 1e6)}, trials=4)
    # Its default, by leave-one-out, is no number of the range: it is tried beside the trials.
    assert tuned.defaults == {"regularization": None}
    assert (len(tuned.trials), tuned.n_pruned) == (4, 0)
    assert tuned.figure >= tuned.default_figure > 0


def test_values_to_choose_among_and_parameters_of_the_loss(shown):
    space = {"loss.unit_norm": [False, True], "optimizer": ["adamw", "nesterov"]}
    tuned = mlp(shown, space=space, trials=3, params={"epochs": 2})
    assert set(tuned.settings) == set(space)
    assert all(isinstance(trial["loss.unit_norm"], bool) for trial in tuned.trials)


def test_a_trial_that_cannot_be_run_is_one_of_the_worst(shown):
    tuned = mlp(shown, space={"learning_rate": [3e-4, 1e30]}, trials=6)
    assert tuned.n_failed > 0
    assert tuned.settings == {"learning_rate": 3e-4}
    assert "learning_rate" in next(trial["failed"] for trial in tuned.trials if trial["failed"])


MISTAKES = [
    ("mlp", {"learning_rat": (1, 2)}, {}, "learning_rat is no setting that can be tuned; did you mean 'lear"),
    ("mlp", {"loss": ("mse", "wpe")}, {}, "loss is no setting"),
    ("mlp", {"dropout": (0.5, 1.5)}, {}, "dropout in"),
    ("mlp", {"optimizer": ["adam", "adamw"]}, {}, "optimizer must be looked for among values that are adamw"),
    ("mlp", {"optimizer": ["adamw"]}, {}, "optimizer must be looked for among at least two values"),
    ("mlp", {"hidden": (1.5, 20)}, {}, "hidden must be looked for between whole numbers"),
    ("mlp", {"hidden": (10, 20)}, {"hidden": 5}, "hidden is to be tuned, and given as 5"),
    ("linear", None, {}, "'linear' does not say where to look for its parameters"),
    ("nothing", None, {}, "unknown regressor 'nothing'"),
]


@pytest.mark.parametrize(("regressor", "space", "params", "said"), MISTAKES)
def test_a_space_that_is_none(shown, regressor, space, params, said):
    with pytest.raises(InputError, match=said):
        tune(shown, regressor=regressor, space=space, params=params)


@pytest.mark.parametrize("name", ["mlp", "cnn", "mlr"])
def test_where_built_in_regressors_are_looked_for(name):
    from dcbmr.tuning.regressor import Given

    space = Given(name, None, {}, {}).space(None)
    assert space.inside({of: get_regressor(name).__dict__[of] for of in space})  # and so the first trial


@pytest.mark.filterwarnings("ignore:.*of 24 songs are held out")
def test_the_command_says_how_to_use_what_it_chose(shown, small_world, tmp_path):
    factors, features = shown
    factors.save(tmp_path / "factors")
    words = ["tune", str(tmp_path / "factors"), "--regressor", "mlp", "--features", str(features.directory)]
    words += ["--words", "12", "--set", "epochs=4", "--set", "hidden=20", "--device", "cpu", "--trials", "4"]
    words += [
        "--range",
        "learning_rate=1e-3:3e-2",
        "--range",
        "optimizer=adamw",
        "--range",
        "optimizer=nesterov",
    ]
    done = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "t")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "the best trials" in done.stdout
    assert "4 trials" in done.stdout
    command = next(line for line in done.stdout.splitlines() if line.startswith("dcbmr train"))
    assert command.startswith(f"dcbmr train --regressor mlp --factors {tmp_path / 'factors'} --features ")
    assert all(option in command for option in ("--words 12", "--set epochs=4", "--set learning_rate="))
    assert "params = { learning_rate = " in done.stdout
    rows = json.loads(
        CliRunner().invoke(cli, [*words, "--json", "-o", str(tmp_path / "t")], catch_exceptions=False).stdout
    )
    assert [row["setting"] for row in rows] == ["learning_rate", "optimizer"]
    os.chdir(tmp_path)
    trained = CliRunner().invoke(cli, command.split()[1:])
    assert trained.exit_code == 0, trained.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--columns", "1,2"], "--columns: for PLAYS, without --regressor"),
        (["--range", "hidden"], "--range hidden: wanted NAME=LOW:HIGH, two numbers, or NAME=VALUE"),
        (["--range", "hidden=few"], "hidden is a whole number"),
        (["--range", "hidden=1:many"], "--range hidden=1:many: wanted NAME=LOW:HIGH"),
        (["--set", "hiden=1"], "no parameter 'hiden'"),
    ],
)
def test_wrong_options_are_named(shown, tmp_path, words, said):
    factors, features = shown
    factors.save(tmp_path / "factors")
    given = ["tune", str(tmp_path / "factors"), "--regressor", "mlp", "--features", str(features.directory)]
    done = CliRunner().invoke(cli, [*given, *words])
    assert done.exit_code != 0
    assert said in f"{' '.join(done.output.split())} {done.exception}"


def test_options_of_regressors_are_refused_without_one(small_world):
    done = CliRunner().invoke(cli, ["tune", str(small_world / "plays.tsv"), "--words", "5"])
    assert "--words: for FACTORS, with --regressor" in done.output
