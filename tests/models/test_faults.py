"""What goes wrong in a plugin names it, and costs nothing that was there before."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import dcbmr
from dcbmr.cli import cli, main
from dcbmr.errors import DcbmrError, InputError

# A regressor and a loss whose faults are chosen by a parameter: each where a KeyError comes from.
PLUGIN = """
    import json

    import numpy as np

    from dcbmr import LossSpec, RegressorSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Odd:
        def __init__(self, *, fault: str = "none", loss: str = "mse", loss_params: dict = {}) -> None:
            self.fault, self.loss, self.loss_params = fault, loss, loss_params
            self.fails("constructor")

        def fails(self, where):
            if self.fault == where:
                {}["the key"]

        def check(self) -> None:
            self.fails("check")

        def fit(self, songs, target, *, run=None):
            from dcbmr import get_loss

            self.fails("fit")
            get_loss(self.loss, target, **self.loss_params)
            run.report("fit", 1, 1, {})
            self.width = target.song_factors.shape[1]
            return self

        def predict(self, songs):
            self.fails("predict")
            return np.zeros((len(songs.song_ids), self.width), np.float32)

        def save(self, directory):
            self.fails("save")
            (directory / "odd.json").write_text(json.dumps([self.fault, self.width]))

        @classmethod
        def load(cls, directory):
            model = cls()
            model.fault, model.width = json.loads((directory / "odd.json").read_text())
            model.fails("load")
            return model

    def odd_loss(target, *, fault: str = "none"):
        if fault == "factory":
            {}["the key"]

        def loss(predicted, songs):
            if fault == "late" and len(songs) != 2:
                {}["the key"]
            if fault == "call":
                {}["the key"]
            return predicted.square().mean(1) if fault == "shape" else predicted.mean() * (
                float("nan") if fault == "nan" else 1
            )

        return loss

    @hookimpl
    def dcbmr_regressors():
        return [RegressorSpec("odd", Odd, "zeros", losses=None, has_check=True)]

    @hookimpl
    def dcbmr_losses():
        return [LossSpec("odd", odd_loss, "anything")]
"""


@pytest.fixture
def odd(install):
    install("odd-plugin", PLUGIN)


@pytest.fixture
def world(small_world):
    return dcbmr.Factors.load(small_world / "factors"), dcbmr.FeatureStore.open(small_world / "features")


def train(world, regressor="odd", **options):
    return dcbmr.train(*world, regressor=regressor, kind="stats", **options)


@pytest.fixture
def words(small_world, odd, tmp_path):
    """The words of a training, with statistics of the songs."""
    store = tmp_path / "stats"
    dcbmr.featurize(small_world / "audio", store, kinds=["stats"])
    return (
        *("train", "--regressor", "odd", "--kind", "stats", "--features", str(store)),
        *("--factors", str(small_world / "factors"), "-o", str(tmp_path / "model")),
    )


@pytest.fixture
def stats(world, words, tmp_path):
    return world[0], dcbmr.FeatureStore.open(tmp_path / "stats")


REGRESSOR = r"regressor 'odd' of odd-plugin 1\.0 failed in .*{}.*: KeyError: 'the key'; --debug shows where"
LOSS = r"loss 'odd' of odd-plugin 1\.0 failed in .*{}.*: KeyError: 'the key'; --debug shows where"


@pytest.mark.parametrize("fault", ["constructor", "check", "fit", "predict"])
def test_a_fault_of_a_regressor_names_it(stats, fault):
    with pytest.raises(DcbmrError, match=REGRESSOR.format(fault)) as raised:
        train(stats, params={"fault": fault})
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("fault", ["fit", "predict", "save"])
def test_a_fault_loses_no_model_that_was_there(words, tmp_path, fault):
    assert CliRunner().invoke(cli, words).exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file()}
    done = CliRunner().invoke(cli, [*words, "--overwrite", "--set", f"fault={fault}"])
    assert re.search(REGRESSOR.format(fault), str(done.exception))
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name or "old" in path.name] == []


def test_a_model_that_its_plugin_cannot_read(stats, tmp_path):
    train(stats, params={"fault": "load"}).save(tmp_path / "model")
    with pytest.raises(DcbmrError, match=REGRESSOR.format(r"load \(.*model, made by odd-plugin 1\.0\)")):
        dcbmr.Model.load(tmp_path / "model")


@pytest.mark.parametrize("fault", ["factory", "call"])
@pytest.mark.parametrize("regressor", ["odd", "mlp"])
def test_a_fault_of_a_loss_names_the_loss(stats, regressor, fault):
    with pytest.raises(DcbmrError, match=LOSS.format("its factory, or a first call")):
        train(stats, regressor, loss="odd", loss_params={"fault": fault})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"returned shape \(2,\), wanted a finite scalar"),
        ("nan", r"returned tensor\(nan.*\), wanted"),
    ],
)
def test_what_a_loss_must_not_return(stats, fault, message):
    with pytest.raises(DcbmrError, match=f"loss 'odd' of odd-plugin 1.0 {message}"):
        train(stats, "mlp", loss="odd", loss_params={"fault": fault})


def test_a_loss_that_fails_in_the_fit_of_another_plugins_regressor(stats):
    with pytest.raises(DcbmrError, match=LOSS.format("fit of regressor 'mlp'")):
        train(stats, "mlp", loss="odd", loss_params={"fault": "late"}, params={"epochs": 1, "batch_size": 8})


def test_what_the_caller_raises_to_stop_is_let_through(stats):
    class Enough(Exception):
        pass

    def stop(stage, *_):
        if stage == "fit":
            raise Enough

    with pytest.raises(Enough):
        train(stats, progress=stop)


def test_a_full_disk_is_not_the_plugins_fault(stats, tmp_path, monkeypatch):
    model = train(stats)

    def full(directory):
        raise OSError(28, "No space left on device", str(directory / "odd.json"))

    monkeypatch.setattr(model.regressor, "save", full)
    with pytest.raises(DcbmrError, match="model could not be written: No space left on device"):
        model.save(tmp_path / "model")
    monkeypatch.setattr(model.regressor, "save", lambda directory: np.load(directory / "nothing.npy"))
    with pytest.raises(DcbmrError, match="model could not be written: No such file"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_debug_shows_where(words, capsys):
    for before, shown in ((), False), (("--debug",), True):
        with pytest.raises(DcbmrError if shown else SystemExit) as raised:
            main([*before, *words, "--set", "fault=fit"])
        if not shown:
            assert raised.value.code == 1
            told = capsys.readouterr().err
            assert "dcbmr: regressor 'odd' of odd-plugin 1.0 failed in fit: KeyError" in told
            assert "Traceback" not in told


def test_a_model_knows_its_plugins_and_the_contract(stats, tmp_path):
    train(stats, loss="odd").save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    made = f"dcbmr {dcbmr.__version__}"
    assert (config["package"], config["loss_package"]) == ("odd-plugin 1.0", "odd-plugin 1.0")
    assert config["contract"] == dcbmr.CONTRACT_VERSION
    assert [(kind["package"], kind["contract"]) for kind in config["features"]] == [(made, 2)]


@pytest.mark.parametrize(
    ("version", "is_other"),
    [("1.0", False), ("1.9.1", False), ("2.0", True), ("0.9", True), ("1.0+local", False)],
)
def test_a_model_of_another_version_of_its_plugin(stats, tmp_path, version, is_other, recwarn):
    train(stats).save(tmp_path / "model")
    _change(tmp_path / "model", package=f"odd-plugin {version}")
    dcbmr.Model.load(tmp_path / "model")
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == is_other
    if is_other:
        assert re.search(
            rf"model .* was made by odd-plugin {version}, here is odd-plugin 1.0.* odd-plugin=={version}",
            told[0],
        )


def _change(directory, **settings):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | settings))


def test_a_model_whose_plugin_is_turned_off_or_offers_it_no_more(stats, tmp_path, monkeypatch):
    train(stats).save(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "renamed")
    _change(tmp_path / "renamed", regressor="odder", package="odd-plugin 0.5")
    with pytest.raises(InputError, match="odd-plugin 0.5, odd-plugin 1.0 .* does not offer it: .*==0.5"):
        dcbmr.Model.load(tmp_path / "renamed")
    monkeypatch.setenv("DCBMR_DISABLE_PLUGINS", "odd_plugin")
    with pytest.raises(InputError, match="of odd-plugin 1.0, .* is installed, but is turned off by DCBMR"):
        dcbmr.Model.load(tmp_path / "model")


def test_no_plugins_on_the_command_line(words):
    done = CliRunner().invoke(cli, ["--no-plugins", *words])
    assert isinstance(done.exception, InputError)
    assert "'odd_plugin' of odd-plugin 1.0 is turned off by --no-plugins" in str(done.exception)
    assert "odd" in dcbmr.regressors()
