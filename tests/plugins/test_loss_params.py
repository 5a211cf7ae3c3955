"""Parameters of a loss, given and learned: from the command line to a saved model."""

import json

import numpy as np
import pytest
import torch
from dcbmr_torch.mlp import MLP
from dcbmr_torch.training import make_optimizer
from planted import SMALL_MLP, Songs, make_target
from safetensors import safe_open

import dcbmr
from dcbmr import FitRun, InputError
from dcbmr.cli import main

LEARNED = """
    import torch

    from dcbmr import LossSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Tempered(torch.nn.Module):
        def __init__(self, target, *, start: float = 1.0) -> None:
            super().__init__()
            self.log_temperature = torch.nn.Parameter(torch.tensor(start).log())
            self.register_buffer("factors", torch.tensor(target.song_factors), persistent=False)

        def forward(self, predicted, songs):
            error = (predicted - self.factors[songs]).square().sum(1).mean()
            return error / self.log_temperature.exp() + predicted.shape[1] * self.log_temperature

    @hookimpl
    def dcbmr_losses():
        return [LossSpec("tempered", Tempered, "squared error over a temperature that is learned")]
"""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def world():
    """Songs whose factors are half noise, so that something is left of the error."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(120, 5)).astype(np.float32)
    likes = np.c_[vectors[:, 0] > 0.7, vectors[:, 1] > 0, vectors[:, 2] > 9]
    factors = (likes + 0.5 * rng.normal(size=likes.shape)).astype(np.float32)
    return Songs("bow_pca", list(vectors)), make_target(factors, likes)


@pytest.fixture
def make(install):
    install("tempered-plugin", LEARNED)
    return lambda **params: MLP(loss="tempered", **{**SMALL_MLP, "learning_rate": 1e-2, **params})


def test_a_learned_temperature_is_learned_and_kept(make, world, tmp_path):
    songs, target = world
    model = make(loss_params={"start": 2.0}, epochs=60, batch_size=8).fit(songs, target)
    learned = model.loss_state["log_temperature"]
    error = np.square(model.predict(songs) - target.song_factors)[~target.validation].sum(1).mean()
    # From 2 to where its gradient is zero, but for dropout, which makes the error larger as it learns.
    assert 1 < float(learned.exp()) / (error / 3) < 2
    directory = tmp_path / "model"
    directory.mkdir()
    model.save(directory)
    found = sorted(path.name for path in directory.iterdir())
    assert found == ["loss.json", "loss.safetensors", "network.json", "network.safetensors"]
    loaded = MLP.load(directory)
    assert torch.equal(loaded.loss_state["log_temperature"], learned)
    assert loaded.loss_params == {"start": 2.0}
    np.testing.assert_array_equal(loaded.predict(songs), model.predict(songs))


def test_it_is_that_of_the_best_epoch(make, world, tmp_path):
    songs, target = world
    model = make(choose_by="map").fit(songs, target, run=FitRun(checkpoint=tmp_path))
    figures = [row["validation_map"] for row in model.history]
    assert np.argmax(figures) < len(figures) - 1, "the last epoch is to be a worse one"
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as kept:
        best, last = (kept.get_tensor(f"{which}.loss.log_temperature") for which in ("best", "last"))
    assert best != last
    assert torch.equal(model.loss_state["log_temperature"], best)


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov"])
def test_a_killed_fit_goes_on_to_the_same_temperature(make, world, tmp_path, optimizer):
    songs, target = world
    unbroken = make(optimizer=optimizer).fit(songs, target)

    def kill(stage, step, n_steps, figures):
        if step >= n_steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(optimizer=optimizer).fit(songs, target, run=FitRun(checkpoint=tmp_path, report=kill))
    run = FitRun(checkpoint=tmp_path, resume=True)
    resumed = make(optimizer=optimizer).fit(songs, target, run=run)
    assert torch.equal(resumed.loss_state["log_temperature"], unbroken.loss_state["log_temperature"])
    np.testing.assert_array_equal(resumed.predict(songs), unbroken.predict(songs))
    with pytest.raises(InputError, match=r"loss_params was {} there and is {'start': 2.0} now"):
        make(optimizer=optimizer, loss_params={"start": 2.0}).fit(songs, target, run=run)


def test_a_module_may_learn_nothing(install, world):
    songs, target = world
    fixed = LEARNED.replace("torch.nn.Parameter(torch.tensor(start).log())", "torch.tensor(start).log()")
    install("tempered-plugin", fixed)
    model = MLP(loss="tempered", **SMALL_MLP).fit(songs, target)
    assert model.loss_state == {}
    assert model.history[-1]["validation_loss"] < model.history[0]["validation_loss"]


def test_what_a_loss_learns_does_not_decay_unless_it_says_so():
    network, loss = torch.nn.Linear(2, 1), torch.nn.Linear(1, 1)
    learned = torch.nn.ModuleDict({"network": network, "loss": loss})
    how = MLP(weight_decay=0.5)
    of_loss = make_optimizer(learned, how).param_groups[-1]
    assert of_loss["params"] == list(loss.parameters())
    assert of_loss["weight_decay"] == 0
    loss.weight_decay = 0.25
    assert [group["weight_decay"] for group in make_optimizer(learned, how).param_groups] == [0.5, 0, 0.25]


def test_the_command_line_reaches_the_loss(small_world, tmp_path, capsys):
    words = ["train", "--regressor", "mlp", "--loss", "softmax", "--words", "8", "--set", "epochs=1"]
    words += ["--factors", str(small_world / "factors"), "--features", str(small_world / "features")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "model"), "--set", "loss.temperature=0.5"])
    assert ended.value.code in (0, None), capsys.readouterr().err
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["params"]["loss_params"] == {"temperature": 0.5}
    regressor = dcbmr.regressors()["mlp"].resolve().load(tmp_path / "model" / "regressor")
    assert regressor.loss_params == {"temperature": 0.5}
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "other"), "--set", "loss.heat=0.5"])
    assert ended.value.code == 2
    assert "--set loss.heat=0.5: no parameter 'heat'; there are temperature" in capsys.readouterr().err
