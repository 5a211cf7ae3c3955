"""CONFIG.toml: what is wrong in it is named with its line, and the nearest that would be right."""

import re
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest

from dcbmr import InputError, WeightedALS
from dcbmr.base.documented import meanings
from dcbmr.experiment.initial import write_initial_config
from dcbmr.experiment.reading import SECTIONS, read_experiment
from dcbmr.experiment.rows import Row, RowTune
from dcbmr.tuning.factorization import NOT_OF_FACTORIZATION

WHOLE = """\
random_state = 3

[data]
plays = "plays.tsv"
songs = "songs.tsv"
audio = "audio"
vectors = { clap = "clap.parquet" }

[split]
by = "time"
after = 2012-06-01

[factorization]
n_factors = 8
regularization = 10

[features]
n_words = [20, 40]
params = { "mel.n_mels" = 64 }

[[rows]]
name = "linear"
regressor = "linear"
loss = "mse"
kinds = ["bow_pca", "clap"]

[[rows]]
name = "mlr"
regressor = "mlr"
seeds = [1, 2]
[rows.params]
max_iterations = 2
[rows.tune]
trials = 3
params = { C = [1, 1000], ranking_loss = ["auc", "map"] }

[evaluation]
k = 10

[tune.factorization]
alpha = [1, 10]
"""


@pytest.fixture
def write(tmp_path):
    def lay(text):
        file = tmp_path / "mine.toml"
        file.write_text(text)
        return file

    return lay


def test_every_key_comes_where_it_belongs(write):
    file = write(WHOLE)
    config = read_experiment(file)
    assert config.random_state == 3
    assert config.data.plays == (file.parent / "plays.tsv",)
    assert config.data.vectors == {"clap": file.parent / "clap.parquet"}
    assert (config.split.by, config.split.after) == ("time", date(2012, 6, 1))
    assert config.factorization == {"n_factors": 8, "regularization": 10.0}
    assert config.als().settings()["random_state"] == 3
    assert config.features.n_words == (20, 40)
    assert config.rows[0].kinds == ("bow_pca", "clap")
    tune = RowTune(params={"C": (1, 1000), "ranking_loss": ("auc", "map")}, trials=3)
    assert config.rows[1] == Row("mlr", "mlr", seeds=(1, 2), params={"max_iterations": 2}, tune=tune)
    assert (config.evaluation.k, config.figure, config.n_seeds) == (10, "map_at_10", 2)


MISTAKES = """
n_factors = 8 | n_factor = 8 | line 14: unknown key 'n_factor' in [factorization]; did you mean 'n_factors'?
[split] | [splits] | line 9: unknown section or key 'splits' in the file; did you mean 'split'?
max_iterations = 2 | iterations = 2 | line 32: unknown key 'iterations' in [rows.params]; did you mean 'max_i
n_factors = 8 | n_factors = '8' | line 14: [factorization] n_factors must be a whole number; got '8'
n_factors = 8 | n_factors = 0 | line 14: [factorization] n_factors must be a whole number of at least 1
n_words = [20, 40] | n_words = true | line 18: [features] n_words must be a whole number
k = 10 | k = 0 | line 38: [evaluation] k must be at least 1; got 0
after = 2012-06-01 | after = 'June' | line 11: [split] after must be a date; got 'June'
after = 2012-06-01 | | line 10: [split] by is 'time': give the date
by = "time" | by = "date" | line 10: [split] by must be song or artist or time or list; got 'date'
by = "time" | by = "song" | line 11: [split] after is for a split by time, and this is by song
regressor = "linear" | regressor = "liner" | line 23: unknown regressor 'liner'; installed:
loss = "mse" | loss = "msa" | line 24: regressor 'linear' has no loss 'msa': it takes mse, wpe
"bow_pca", "clap" | "bow_pcb" | line 25: unknown kind of feature 'bow_pcb'; did you mean 'bow_pca'?
seeds = [1, 2] | seeds = [1, 1] | line 30: [[rows]] number 2 seeds must be different
name = "mlr" | name = "linear" | two are called 'linear'
name = "mlr" | name = "../x" | line 28: [[rows]] number 2 name must be letters
name = "mlr" | name = "random" | line 28: [[rows]] number 2 name cannot be 'random'
alpha = [1, 10] | alpa = [1, 10] | line 41: [tune.factorization] alpa is no setting that can be tuned; did you
alpha = [1, 10] | alpha = [10, 1] | line 41: [tune.factorization] alpha must be looked for between two numbers
C = [1, 1000] | n_relevan = [1, 9] | line 35: [rows.tune.params] n_relevan is no setting that can be
C = [1, 1000] | C = [1, 'x'] | line 35: [rows.tune.params] C must be looked for among values that are a number
C = [1, 1000] | max_iterations = [1, 9] | line 35: [rows.tune.params] max_iterations is to be tuned, and given
trials = 3 | trial = 3 | line 34: unknown key 'trial' in [rows.tune]; did you mean 'trials'?
trials = 3 | trials = 0 | line 34: [rows.tune] trials must be at least 1; got 0
songs = "songs.tsv" | | line 10: split.by is 'time', which needs dates: give data.songs
plays = "plays.tsv" | | line 3: [data] lacks plays: Who played what how often
[data] | [data | is no TOML:
""".strip("\n").splitlines()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(write, mistake):
    right, wrong, said = (part.strip() for part in mistake.split(" |"))
    assert right in WHOLE
    with pytest.raises(InputError) as error:
        read_experiment(write(WHOLE.replace(right, wrong, 1)))
    assert said in str(error.value)
    assert "mine.toml" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file"):
        read_experiment(tmp_path / "none.toml")


def test_every_key_has_a_meaning():
    for section in (*SECTIONS.values(), Row):
        assert all(meanings(section).get(of.name) for of in fields(section)), section
    known = {name for name in WeightedALS().get_params() if name not in NOT_OF_FACTORIZATION}
    assert known <= meanings(WeightedALS).keys()


def test_the_initial_file_reads_as_what_it_was_shown(small_world, tmp_path):
    file = tmp_path / "mine.toml"
    shown = {"plays": small_world / "plays.tsv", "audio": small_world / "audio"}
    write_initial_config(file, songs=small_world / "songs.tsv", **shown)
    config = read_experiment(file)
    assert config.data.plays_source.resolve() == small_world / "plays.tsv"
    assert config.split.by == "artist"
    assert [row.name for row in config.rows] == ["linear", "cnn-mse"]
    # Whatever is commented out has the value that it would have.
    lines = file.read_text().splitlines()
    keys = [line.removeprefix("# ") for line in lines if re.fullmatch(r"(# )?\w+ = \S.*|\[.*\]", line)]
    assert {"n_words = 4000", 'solver = "cholesky"', "k = 500"} <= set(keys)
    (tmp_path / "whole.toml").write_text("\n".join(keys))
    whole = read_experiment(tmp_path / "whole.toml")
    assert whole.factorization == {name: WeightedALS().get_params()[name] for name in whole.factorization}
    assert replace(whole, factorization={}) == config
    with pytest.raises(InputError, match="exists and is not overwritten"):
        write_initial_config(file, **shown)


def test_ids_that_do_not_match_are_said_at_once(small_world, tmp_path):
    songs = (small_world / "songs.tsv").read_text().replace("\nsong", "\ntrack:song")
    (tmp_path / "songs.tsv").write_text(songs)
    shown = {"plays": small_world / "plays.tsv", "audio": small_world / "audio"}
    with pytest.raises(InputError) as error:
        write_initial_config(tmp_path / "mine.toml", songs=tmp_path / "songs.tsv", **shown)
    assert "data.songs: 0 of 40 songs with plays" in str(error.value)
    assert "likely cause: a prefix" in str(error.value)
    assert not (tmp_path / "mine.toml").exists()


@pytest.mark.parametrize("size", ["subset", "full"])
def test_the_papers_settings(size):
    pytest.importorskip("torch")
    config = read_experiment(Path(__file__).parents[2] / "examples" / f"nips2013-{size}.toml")
    names = [row.name for row in config.rows]
    if size == "subset":
        assert (config.data.n_songs, config.data.n_users, round(9330 * config.split.fraction)) == (
            9330,
            20000,
            1881,
        )
        assert names == ["mlr", "linear", "mlp", "cnn-mse", "cnn-wpe"]
    assert round(382410 * config.split.fraction) == 46728 or size == "subset"
    assert config.als().n_factors == (50 if size == "subset" else 400)
    assert (config.evaluation.k, config.features.n_words) == (500, (4000,))
