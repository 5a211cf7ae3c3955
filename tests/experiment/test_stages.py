"""Stages: made once, shared, made again for what changed alone; and a reason for each."""

import json
import os
import time
from dataclasses import replace
from datetime import date

import pytest

from dcbmr import (
    Codebook,
    Evaluation,
    Factors,
    FeatureStore,
    InputError,
    Model,
    PlayCounts,
    Split,
    compare_evaluations,
    featurize,
    fit_codebook,
    read_results,
)
from dcbmr.base import needs
from dcbmr.base.usage import Usage
from dcbmr.experiment.cache import Stage, Stages
from dcbmr.experiment.config import (
    DataSettings,
    EvaluationSettings,
    ExperimentConfig,
    FeatureSettings,
    SplitSettings,
    TrainingSettings,
)
from dcbmr.experiment.experiment import plan_experiment, run_experiment
from dcbmr.experiment.rows import Row, RowTune, TuneSettings

ALS = {"n_factors": 4, "n_iterations": 2, "regularization": 10.0}


@pytest.fixture
def config(small_world):
    return ExperimentConfig(
        rows=(Row("linear", "linear", "mse"),),
        data=DataSettings(
            plays=(small_world / "plays.tsv",), songs=small_world / "songs.tsv", audio=small_world / "audio"
        ),
        split=SplitSettings(by="artist"),
        factorization=ALS,
        features=FeatureSettings(n_words=(8,)),
        evaluation=EvaluationSettings(k=5, n_resamples=50),
    )


def would_run(config, directory):
    return {label: why for label, why in plan_experiment(config, directory) if why is not None}


def made(config, directory, **options):
    """Run; return the stages that were made, in order."""
    begun = []

    def show(stage, step, n_steps, figures):
        if step == 0 and n_steps is None:
            begun.append(stage)

    return run_experiment(config, directory, progress=show, **options), begun


ALL = ["split", "factorize", "factorize all plays", "featurize", "codebook", "linear", "evaluate"]


def test_stages_that_memory_may_not_hold_are_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "available_memory", lambda: 1 << 20)
    with pytest.warns(UserWarning, match="this takes about .* of memory, and 1.0 MiB are free") as said:
        run_experiment(config, tmp_path / "e")
    assert len({str(one.message) for one in said}) >= 2  # of factors, of linear


def test_what_changed_is_made_again_and_nothing_else(config, tmp_path):
    assert would_run(config, tmp_path / "e") == dict.fromkeys(ALL, "was not made yet")
    assert not (tmp_path / "e").exists()
    first, begun = made(config, tmp_path / "e", name="first")
    assert begun == ALL
    assert would_run(config, tmp_path / "e") == {}
    assert made(config, tmp_path / "e", name="again")[1] == []

    other = replace(config, factorization={**ALS, "n_factors": 5})
    assert would_run(other, tmp_path / "e") == {
        "factorize": "n_factors was 4, is 5",
        "factorize all plays": "n_factors was 4, is 5",
        "linear": "follows factorize",
        "evaluate": "follows linear; follows factorize all plays",
    }
    assert made(other, tmp_path / "e", name="other")[1] == [
        "factorize",
        "factorize all plays",
        "linear",
        "evaluate",
    ]
    # A row that is called otherwise is the same model; nothing is asked of a bound that nobody wants.
    renamed = replace(config, rows=(Row("ridge", "linear", "mse"),))
    renamed = replace(renamed, evaluation=replace(config.evaluation, upper_bound=False))
    assert list(would_run(renamed, tmp_path / "e")) == ["evaluate"]
    more = replace(config, rows=(*config.rows, Row("mean", "linear", "mse", params={"regularization": 1.0})))
    why = would_run(more, tmp_path / "e")
    assert list(why) == ["mean", "evaluate"]
    results = read_results(tmp_path / "e" / "first")
    assert results.rows == first.results["rows"]
    linear = tmp_path / "e" / "first" / "models" / "linear"
    assert Model.load(linear).config["regressor"] == "linear"


def test_the_evaluations_of_experiments_are_compared(config, tmp_path):
    made(config, tmp_path, name="a")
    made(replace(config, factorization={**ALS, "regularization": 1.0}), tmp_path, name="b")
    kept = {name: Evaluation.load(tmp_path / name / "evaluation") for name in "ab"}
    assert {row["model"] for row in compare_evaluations(kept, n_resamples=20).rows} == {
        "a: linear",
        "b: linear",
    }


def test_a_new_kind_of_feature_is_made_beside_those_that_are_there(config, tmp_path):
    made(config, tmp_path)
    pytest.importorskip("torch")
    params = {"epochs": 1, "channels": (2, 2), "device": "cpu"}
    both = replace(config, rows=(*config.rows, Row("cnn", "cnn", "mse", params=params)))
    why = would_run(both, tmp_path)
    assert (why["featurize"], why["cnn"]) == ("kinds was ['mfcc'], is ['mel']", "was not made yet")
    assert made(both, tmp_path)[1] == ["featurize", "cnn", "evaluate"]
    assert would_run(both, tmp_path) == {}


def test_audio_that_changed_is_read_again(config, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    for file in config.data.audio.iterdir():
        (audio / file.name).write_bytes(file.read_bytes())
    config = replace(config, data=replace(config.data, audio=audio))
    made(config, tmp_path / "e")
    os.utime(audio / "song00.wav")
    assert would_run(config, tmp_path / "e") == {
        "featurize": f"{audio} changed",
        "codebook": "features mfcc changed",
        "linear": "follows codebook",
        "evaluate": "follows linear",
    }
    assert made(config, tmp_path / "e")[1] == ["featurize", "codebook", "linear", "evaluate"]


@pytest.mark.parametrize("stop_at", ["factorize", "featurize", "codebook", "evaluate"])
def test_a_run_that_was_stopped_goes_on(config, tmp_path, stop_at):
    def stop(stage, step, n_steps, figures):
        if stage == stop_at and n_steps is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, tmp_path / "e", progress=stop)
    why = would_run(config, tmp_path / "e")
    assert why[stop_at] == "was interrupted, and continues"
    assert made(config, tmp_path / "e")[1] == ALL[ALL.index(stop_at) :]
    whole = run_experiment(config, tmp_path / "whole")
    assert whole.evaluation.rows[0]["map_at_5"] == read_results(tmp_path / "e").rows[0]["map_at_5"]


def test_what_an_interrupted_stage_took_is_not_forgotten(tmp_path):
    stages, stage = Stages(tmp_path), Stage("try", "try")
    assert stages.usage(stage) == Usage()
    with pytest.raises(KeyboardInterrupt), stages.making(stage):
        time.sleep(0.05)
        raise KeyboardInterrupt
    with stages.making(stage):
        time.sleep(0.05)
    assert stages.is_made(stage)
    assert stages.usage(stage).seconds >= 0.1
    assert stages.usage(stage).memory_mib > 10


def test_what_a_kill_left_half_written_in_a_stage_goes(tmp_path):
    stages, stage = Stages(tmp_path), Stage("try", "try")
    left = stages.path(stage) / ".model.123.partial"
    (left / "regressor").mkdir(parents=True)
    with stages.making(stage) as path:
        assert path == left.parent
        assert not left.exists()


def test_a_stage_that_was_changed_by_hand_is_refused(config, tmp_path):
    made(config, tmp_path / "e")
    (file,) = (tmp_path / "e" / "stages").glob("split-*/split/heldout_songs.txt")
    before, stage = file.read_text(), file.parents[1]
    for content, wrong in ((before + "x\n", "bytes and has"), ("X" + before[1:], "has another content")):
        file.write_text(content)
        with pytest.raises(InputError) as error:
            made(config, tmp_path / "e")
        assert f"{stage} was changed after it was made: split/heldout_songs.txt " in str(error.value)
        assert wrong in str(error.value)
        assert f"remove {stage}, and it is made again" in str(error.value)
    file.write_text(before)  # a copy, which has another time, is as good
    assert made(config, tmp_path / "e")[1] == []
    file.unlink()
    with pytest.raises(InputError, match=r"heldout_songs\.txt is gone"):
        made(config, tmp_path / "e")
    (stage / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged: .*; remove .*, and it is made again"):
        made(config, tmp_path / "e")
    (stage / "config.json").write_text(json.dumps({"kind": "stage", "format_version": 1}))
    with pytest.raises(InputError, match="is damaged: it lacks"):
        made(config, tmp_path / "e")


def test_folds_and_seeds_are_pooled(config, tmp_path):
    pytest.importorskip("torch")
    params = {"epochs": 2, "device": "cpu"}
    config = replace(
        config,
        rows=(*config.rows, Row("mlp", "mlp", "mse", params=params, seeds=(4, 5))),
        split=SplitSettings(by="artist", folds=2),
        training=TrainingSettings(validation_fraction=0.2),
    )
    experiment, begun = made(config, tmp_path)
    assert begun.count("fold 2: linear") == 1
    assert {"fold 1: mlp, seed 4", "fold 2: mlp, seed 5", "fold 2: evaluate, seed 2"} <= set(begun)
    assert len(experiment.evaluations) == 4
    rows = {row["model"]: row for row in experiment.results["rows"]}
    assert set(rows) == {"linear", "mlp", "upper-bound", "random", "random (in theory)"}
    every = [{row["model"]: row for row in of.rows} for of in experiment.evaluations]
    for name in ("linear", "mlp"):
        of = [one[name] for one in every]
        n = [one["n_users"] for one in of]
        mean = sum(one["map_at_5"] * k for one, k in zip(of, n, strict=True)) / sum(n)
        assert rows[name]["map_at_5"] == pytest.approx(mean)
        assert rows[name]["map_at_5_low"] < rows[name]["map_at_5"] < rows[name]["map_at_5_high"]
        assert rows[name]["n_users"] == n[0] + n[2]
    heldout = [set(of.candidates.song_ids) for of in experiment.evaluations[::2]]
    assert not heldout[0] & heldout[1]
    assert len(heldout[0] | heldout[1]) == 40
    assert any("pooled: 2 folds, 2 seeds" in words for words in experiment.results["words"])
    assert read_results(tmp_path).rows == experiment.results["rows"]
    assert (tmp_path / "fold-2" / "models" / "mlp-seed-5" / "config.json").is_file()


def test_settings_are_tuned_for_each_fold(config, tmp_path):
    pytest.importorskip("optuna")
    tune = TuneSettings(trials=3, factorization={"regularization": (1.0, 1000.0)})
    config = replace(
        config,
        tune=tune,
        factorization={"n_factors": 4, "n_iterations": 2},
        split=SplitSettings(by="artist", folds=2),
        training=TrainingSettings(validation_fraction=0.2),
    )
    experiment, begun = made(config, tmp_path)
    assert begun[:4] == ["fold 1: split", "fold 1: tune", "fold 1: factorize", "fold 1: factorize all plays"]
    assert "fold 2: tune" in begun
    chosen = experiment.results["tuned"]
    assert [list(settings) for settings in chosen] == [["regularization"]] * 2
    factors = Factors.load(tmp_path / "fold-2" / "factors")
    assert factors.regularization == chosen[1]["regularization"]
    assert factors.config["n_iterations"] == 2
    more = replace(config, tune=replace(tune, trials=4))
    assert would_run(more, tmp_path)["fold 1: tune"] == "trials was 3, is 4"
    assert would_run(more, tmp_path)["fold 1: factorize"] == "follows fold 1: tune"
    with pytest.raises(InputError, match="chooses regularization, which"):
        replace(config, factorization=ALS)


def test_vectors_alone_are_enough(config, small_world, tmp_path):
    lines = ["song\ta\tb", *(f"song{i:02d}\t{i % 10}\t{(i % 10) ** 2}" for i in range(40))]
    (tmp_path / "v.tsv").write_text("\n".join(lines) + "\n")
    data = replace(config.data, audio=None, vectors={"pitch": tmp_path / "v.tsv"})
    rows = (Row("linear", "linear", "mse", kinds=("pitch",)),)
    config = replace(config, data=data, rows=rows)
    _, begun = made(config, tmp_path / "e")
    assert begun == ["split", "factorize", "factorize all plays", "linear", "evaluate"]
    (tmp_path / "v.tsv").write_text("\n".join(lines).replace("\t81", "\t82") + "\n")
    assert would_run(config, tmp_path / "e") == {
        "linear": "vectors pitch changed",
        "evaluate": "follows linear",
    }


def test_a_split_by_time_holds_out_newer_songs(config, small_world, tmp_path):
    lines = (small_world / "songs.tsv").read_text().splitlines()
    dated = [lines[0] + "\tdate", *(f"{line}\t20{i % 20:02d}-06" for i, line in enumerate(lines[1:]))]
    (tmp_path / "songs.tsv").write_text("\n".join(dated) + "\n")
    config = replace(
        config,
        data=replace(config.data, songs=tmp_path / "songs.tsv"),
        split=SplitSettings(by="time", after=date(2015, 12, 31)),
    )
    experiment, _ = made(config, tmp_path / "e")
    held = {f"song{i:02d}" for i in range(40) if i % 20 > 15}
    assert set(experiment.evaluation.candidates.song_ids) == held
    factors = Factors.load(next((tmp_path / "e").rglob("titles.txt")).parent)
    assert factors.songs.called("song03").endswith(" - Title of song03"), "what was made remembers names"
    (tmp_path / "songs.tsv").write_text("\n".join(dated).replace("2003-06", "06/2003") + "\n")
    with pytest.raises(InputError, match=r"line 5: the date '06/2003' is not understood \(and 1 more\)"):
        made(config, tmp_path / "e")


def test_a_log_in_several_files_is_split_by_first_plays(config, small_world, tmp_path):
    rows = [line.split("\t") for line in (small_world / "plays.tsv").read_text().splitlines()]
    for name, part in (("a", rows[::2]), ("b", rows[1::2])):
        lines = [f"{user}\t{song}\t20{int(song[4:]) % 20:02d}-03-01T10:00:00Z" for user, song, _ in part]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["user\tsong\ttimestamp", *lines]) + "\n")
    files = (tmp_path / "a.tsv", tmp_path / "b.tsv")
    config = replace(
        config,
        data=replace(config.data, plays=files, until=date(2019, 1, 1)),
        split=SplitSettings(by="time", after=date(2014, 12, 31), dates="plays"),
    )
    experiment, _ = made(config, tmp_path / "e")
    held = {f"song{i:02d}" for i in range(40) if 15 <= i % 20 < 19}
    assert set(experiment.evaluation.candidates.song_ids) == held


def test_the_most_played_songs_alone(config, tmp_path):
    few = replace(config, data=replace(config.data, n_songs=30, n_users=40))
    experiment, _ = made(few, tmp_path)
    listeners = PlayCounts.read(config.data.plays_source).most_played(n_songs=30, n_users=40)
    assert listeners.counts.shape == (40, 30)
    factors = Factors.load(tmp_path / "all-factors")
    assert list(factors.song_ids) == list(listeners.song_ids)
    assert set(experiment.evaluation.candidates.song_ids) < set(listeners.song_ids)
    assert would_run(config, tmp_path)["split"] == "n_songs was 30, is none; n_users was 40, is none"


def test_lists_of_ids_are_folds(config, tmp_path):
    for name, songs in (("a", range(0, 8)), ("b", range(20, 30))):
        (tmp_path / name).write_text("".join(f"song{i:02d}\n" for i in songs))
    config = replace(config, split=SplitSettings(by="list", heldout=(tmp_path / "a", tmp_path / "b")))
    experiment, _ = made(config, tmp_path / "e")
    assert [len(of.candidates.song_ids) for of in experiment.evaluations] == [8, 10]
    (tmp_path / "b").write_text("track:song01\ntrack:song02\n")
    with pytest.raises(InputError, match="likely cause: a prefix"):
        made(config, tmp_path / "e")


def test_a_setting_that_is_new_makes_nothing_anew(tmp_path):
    stages = Stages(tmp_path)
    with stages.making(Stage("s", "s", {"a": 1, "in": {"b": 2}}, {"a": 0, "in": {"b": 1}})):
        pass
    grown = Stage(
        "s", "s", {"a": 1, "in": {"b": 2, "c": 3}, "d": 4}, {"a": 0, "in": {"b": 1, "c": 3}, "d": 4}
    )
    assert stages.is_made(grown)
    changed = Stage("s", "s", {"a": 1, "in": {"b": 1, "c": 3}, "d": 4}, grown.defaults)
    assert not stages.is_made(changed)
    assert "in.b was 2, is 1" in stages.why(changed)
    assert stages.why(replace(grown, version=2)).endswith("dcbmr makes it otherwise now")


def test_parameters_of_a_row_are_chosen_by_training_songs(config, tmp_path):
    pytest.importorskip("optuna")
    tune = RowTune(params={"regularization": (1.0, 1e4)}, trials=3)
    rows = (Row("linear", "linear", "mse"), Row("tuned", "linear", "mse", seeds=(0,), tune=tune))
    how = {
        "split": SplitSettings(by="artist", folds=2),
        "training": TrainingSettings(validation_fraction=0.2),
    }
    config = replace(config, rows=rows, **how)
    experiment, begun = made(config, tmp_path)
    before = ["songs to choose by", "factorize without them", "codebook without them", "tune tuned"]
    assert [stage for stage in begun if stage.removeprefix("fold 1: ") in before] == [
        f"fold 1: {stage}" for stage in before
    ]
    chosen = experiment.results["tuned_rows"]
    assert [list(rows) for rows in chosen] == [["tuned"]] * 2
    for fold, of_rows in enumerate(chosen, 1):
        model = Model.load(tmp_path / f"fold-{fold}" / "models" / "tuned")
        assert model.regressor.regularization == of_rows["tuned"]["regularization"]
    # Another range is looked through by the same songs, factors and codebook.
    more = replace(tune, params={"regularization": (10.0, 1e4)})
    again = would_run(replace(config, rows=(rows[0], replace(rows[1], tune=more))), tmp_path)
    assert again["fold 1: tune tuned"] == "space.regularization was [1.0, 10000.0], is [10.0, 10000.0]"
    assert again["fold 1: tuned"] == "follows fold 1: tune tuned"
    assert set(again) == {f"fold {n}: {what}" for n in (1, 2) for what in ("tune tuned", "tuned", "evaluate")}


def test_words_that_are_stored_need_no_frames(config, small_world, tmp_path):
    split = Split.load(small_world / "split")
    (tmp_path / "test.txt").write_text("\n".join(split.heldout_songs))
    store = FeatureStore.open(small_world / "features")
    for name, songs in (("without", split.train.song_ids.tolist()), ("with", store["mfcc"].song_ids)):
        fit_codebook(store["mfcc"].features(songs), n_words=8).save(tmp_path / name)
        codebook = Codebook.load(tmp_path / name)
        featurize(small_world / "audio", tmp_path / f"words-{name}", kinds=["bow"], codebook=codebook)

    def of_words(name):
        data = replace(config.data, audio=None, features=tmp_path / f"words-{name}")
        features = FeatureSettings(codebook=tmp_path / name)
        return replace(config, data=data, features=features)

    by_list = SplitSettings(by="list", heldout=(tmp_path / "test.txt",))
    config = replace(config, split=by_list)
    _, begun = made(of_words("without"), tmp_path / "e")
    assert begun == ["split", "factorize", "factorize all plays", "codebook", "linear", "evaluate"]
    assert Model.load(tmp_path / "e" / "models" / "linear").pipeline.source == "bow"
    assert would_run(of_words("without"), tmp_path / "e") == {}
    with pytest.raises(InputError, match="features.codebook was learned from 8 of the 8 songs"):
        made(of_words("with"), tmp_path / "e")
    wrong = replace(of_words("with"), features=FeatureSettings(codebook=tmp_path / "without"))
    with pytest.raises(InputError, match="holds words of codebook"):
        made(wrong, tmp_path / "e")
    with pytest.raises(InputError, match="for words that are stored: give data.features"):
        replace(config, features=FeatureSettings(codebook=tmp_path / "with"))
    tuned = Row("linear", "linear", "mse", tune=RowTune(params={"regularization": (1.0, 10.0)}))
    with pytest.raises(
        InputError, match="features.codebook has seen the songs that row 'linear' is tuned by"
    ):
        replace(of_words("without"), rows=(tuned,))
