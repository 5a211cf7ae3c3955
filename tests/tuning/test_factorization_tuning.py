"""Tuning: better than bad defaults on plays that it has not seen; it goes on where it was stopped."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dcbmr import InputError, PlayCounts, WeightedALS, evaluate_factors, split_plays
from dcbmr.base.needs import Sizes
from dcbmr.cli import cli
from dcbmr.experiment.rows import TuneSettings
from dcbmr.factorization.advice import likely_far
from dcbmr.tuning.factorization import tune_factorization

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def split():
    """Users of six tastes, a play of ten for each, and few plays: much to overfit."""
    rng = np.random.default_rng(0)
    taste, kind = rng.integers(0, 6, 300), rng.integers(0, 6, 240)
    chance = np.where(taste[:, None] == kind, 0.12, 0.01)
    plays = PlayCounts.from_matrix((rng.random(chance.shape) < chance).astype(np.float32))
    return split_plays(plays, by="play", random_state=3)


def recall(split, **settings):
    factors = WeightedALS(**settings).fit(split).factors_
    (row, *_) = evaluate_factors({"f": factors}, split, k=20, n_resamples=0).rows
    return row["recall_at_20"]


def test_what_is_chosen_is_better_on_plays_that_nobody_has_seen(split):
    tuned = tune_factorization(split, trials=12)
    assert len(tuned.trials) == 12
    assert tuned.n_pruned > 0
    assert tuned.figure > tuned.default_figure
    assert recall(split, **tuned.settings) > recall(split) + 0.02
    assert set(tuned.importance) == {"n_factors", "regularization", "alpha"}
    assert sum(tuned.importance.values()) == pytest.approx(1)
    assert [row["setting"] for row in tuned.rows()] == ["n_factors", "regularization", "alpha"]


def test_the_plays_held_out_by_a_split_are_not_looked_at(split):
    other = replace(split, heldout=split.train)
    first, second = (tune_factorization(given, trials=4) for given in (split, other))
    assert (first.settings, first.figure) == (second.settings, second.figure)


def test_trials_go_on_where_they_were_stopped(split, tmp_path):
    def stop(stage, step, n_steps, figures):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_factorization(split, trials=6, directory=tmp_path / "t", progress=stop)
    seen = []
    tuned = tune_factorization(
        split, trials=6, directory=tmp_path / "t", progress=lambda _, step, *rest: seen.append(step)
    )
    assert (seen, len(tuned.trials)) == ([4, 5, 6], 6)
    again = tune_factorization(split, trials=6, directory=tmp_path / "t")
    assert again.settings == tuned.settings
    with pytest.raises(InputError, match=r"were made with other settings: k is 20 \(wanted 10\)"):
        tune_factorization(split, k=10, directory=tmp_path / "t")


def test_time_is_kept(split):
    tuned = tune_factorization(split, trials=10_000, seconds=1.0)
    assert len(tuned.trials) < 10_000


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"n_factor": (1, 2)}, "n_factor is no setting that can be tuned; did you mean 'n_factors'"),
        ({"solver": (1, 2)}, "solver must be looked for among values that are cholesky or cg; got"),
        ({"random_state": (1, 2)}, "random_state is no setting"),
        ({"alpha": (2, 1)}, "alpha must be looked for between two numbers"),
        ({"n_factors": (0, 4)}, "n_factors must be a whole number of at least 1"),
        ({}, "nothing to tune"),
    ],
)
def test_a_space_that_is_none(split, space, said):
    with pytest.raises(InputError, match=said):
        tune_factorization(split, space=space)
    if space:
        with pytest.raises(InputError, match=said):
            TuneSettings(factorization=space)


def test_the_command_prints_what_to_do_next(split, tmp_path):
    split.save(tmp_path / "split")
    words = ["tune", str(tmp_path / "split"), "--trials", "2", "--range", "regularization=1:100"]
    done = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "t")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "2 trials" in done.stdout
    assert f"dcbmr factorize {tmp_path / 'split'} -o factors --regularization " in done.stdout
    rows = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).stdout)
    assert rows[0]["setting"] == "regularization"
    wrong = CliRunner().invoke(cli, ["tune", str(tmp_path / "split"), "--range", "alpha"])
    assert "--range alpha: wanted NAME=LOW:HIGH" in str(wrong.exception)


def test_factorize_says_when_its_settings_are_likely_far_from_good(split, tmp_path):
    sizes = Sizes(*split.train.counts.shape, split.train.counts.nnz, n_factors=50)
    assert "dcbmr tune" in likely_far(WeightedALS(), sizes)
    assert likely_far(WeightedALS(regularization=100.0), sizes) == ""
    assert likely_far(WeightedALS(n_factors=10), sizes) == ""
    split.save(tmp_path / "split")
    said = CliRunner().invoke(cli, ["factorize", str(tmp_path / "split"), "-o", str(tmp_path / "f")]).stderr
    assert sum("`dcbmr tune`" in line for line in said.splitlines()) == 1
