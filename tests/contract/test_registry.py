"""Plugins are found as installed distributions: here as small ones laid out in a folder of the path."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import dcbmr
from dcbmr.contract import registry
from dcbmr.errors import DcbmrError, InputError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dcbmr-nearest"

GOOD = """
    from dcbmr import RegressorSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Mean:
        def __init__(self, *, shrink: float = 0.0, random_state: int = 0) -> None:
            self.shrink = shrink

    @hookimpl
    def dcbmr_regressors():
        return [RegressorSpec(name="mean", factory=Mean, summary="the mean song")]
"""


def test_a_plugin_is_found_and_made(install):
    install("mean-plugin", GOOD)
    assert "mean" in dcbmr.regressors()
    assert dcbmr.get_regressor("mean", shrink=0.5).shrink == 0.5
    plugin = next(p for p in registry.plugins() if p.name == "mean_plugin")
    assert (plugin.distribution, plugin.version, plugin.contract) == ("mean-plugin", "1.0", 2)


def test_the_built_ins_enter_as_anyone_does():
    owners = {spec.name: p.name for p in registry.plugins() for spec in (*p.regressors, *p.losses)}
    assert owners["linear"] == "linear"
    assert owners["mlp"] == owners["cnn"] == owners["mse"] == owners["wpe"] == "torch"
    assert owners["mlr"] == "mlr"
    assert {spec.name for p in registry.plugins() if p.name == "spectra" for spec in p.features} == {
        "mel",
        "mfcc",
        "patterns",
        "stats",
    }
    assert {spec.package for spec in dcbmr.extractors().values()} == {f"dcbmr {dcbmr.__version__}"}


def test_a_broken_plugin_is_named_and_skipped(install):
    install("broken-plugin", "import a_module_that_nobody_has")
    install("mean-plugin", GOOD)
    message = (
        "'broken_plugin' of broken-plugin 1.0 cannot be imported: ModuleNotFoundError.*, and is skipped; .*"
        "pip install --upgrade broken-plugin.*pip uninstall broken-plugin"
    )
    with pytest.warns(UserWarning, match=message):
        found = registry.plugins()
    assert "mean_plugin" in [p.name for p in found]
    assert "broken_plugin" not in [p.name for p in found]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            "",
            "declares no version of the contract .*add DCBMR_CONTRACT = 2 to the module old_plugin.*"
            "pip install --upgrade old-plugin",
        ),
        ("DCBMR_CONTRACT = 1", "was made for version 1 of the contract.*pip install --upgrade old-plugin"),
        ("DCBMR_CONTRACT = 3", "was made for version 3 of the contract.*pip install --upgrade dcbmr"),
    ],
    ids=["none", "older", "newer"],
)
def test_a_plugin_made_for_another_contract_is_named_and_skipped(install, declared, message):
    install("old-plugin", GOOD.replace("DCBMR_CONTRACT = 2", declared))
    with pytest.warns(UserWarning, match=f"'old_plugin' of old-plugin 1.0 {message}") as told:
        found = registry.plugins()
    assert f"dcbmr {dcbmr.__version__} has version 2, and is skipped" in str(told[0].message)
    assert "old_plugin" not in [p.name for p in found]
    assert "linear" in dcbmr.regressors()


def test_the_public_version_is_the_one_of_the_built_ins():
    assert dcbmr.CONTRACT_VERSION == 2
    assert {plugin.contract for plugin in registry.plugins()} == {2}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": " "}, "RegressorSpec has an empty name"),
        ({"factory": "mean"}, "'mean' has the factory 'mean'; wanted 'package.module:Name'"),
        ({"kind": "chroma"}, "kind 'chroma', which nobody knows; there are mel, mfcc, patterns, stats, bow"),
        ({"shape": "frames"}, "shape 'frames', but its kind 'bow_pca' has the shape 'vectors'"),
        ({"losses": "mse"}, "losses must be a tuple of names; got 'mse'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_spec_that_breaks_its_own_rules_is_named(install, changed, message):
    spec = {"name": "mean", "factory": "mean_model:Mean", "summary": "", **changed}
    install("odd-plugin", GOOD.replace('name="mean", factory=Mean, summary="the mean song"', f"**{spec}"))
    with pytest.warns(
        UserWarning, match=f"'odd_plugin' of odd-plugin 1.0 breaks a rule: dcbmr_regressors: .*{message}"
    ):
        assert "odd_plugin" not in [p.name for p in registry.plugins()]


FEATURE = """
    from dcbmr import FeatureSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Loudness:
        n_dims = 1

        def __init__(self, *, sr: float = 8000.0, floor: float = 0.0) -> None:
            self.sr, self.floor = sr, floor

        @property
        def config(self):
            return {"sr": self.sr, "floor": self.floor}

        def extract(self, samples):
            return (samples**2).mean(keepdims=True) + self.floor

    @hookimpl
    def dcbmr_features():
        return [FeatureSpec(name="loudness", factory=Loudness, summary="mean power")]
"""


def test_a_kind_of_feature_is_found_and_made(install):
    install("loud-plugin", FEATURE)
    assert list(dcbmr.extractors()) == ["loudness", "mel", "mfcc", "patterns", "stats"]
    assert registry.find_kind("loudness").shape == "vectors"
    kinds = registry.kinds_of(dcbmr.regressors()["linear"])
    assert kinds == ("bow_pca", "loudness", "patterns", "stats", "bow")
    assert dcbmr.get_extractor("loudness", floor=1.0).config == {"sr": 8000.0, "floor": 1.0}
    with pytest.raises(InputError, match="the kind 'loudness' has no parameter 'ceiling'; it has sr, floor"):
        dcbmr.get_extractor("loudness", ceiling=1.0)
    with pytest.raises(
        InputError, match="unknown kind of feature 'chroma'; installed: loudness, mel, mfcc, patterns, stats"
    ):
        dcbmr.get_extractor("chroma")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "../mel"}, "'../mel' is no name of a kind; wanted a letter"),
        ({"shape": "matrix"}, "'loudness' has the shape 'matrix'; wanted vectors or frames"),
        ({"dtype": "f8"}, "'loudness' has the dtype 'f8'; wanted <f4 or <f2"),
        ({"made_of": "mel"}, "'loudness': made_of must be a tuple of names; got 'mel'"),
        ({"made_of": ("chroma",)}, "'loudness' has the source 'chroma', which nobody knows; there are"),
        ({"made_of": ("bow",)}, "'loudness' .* its source 'bow' has the shape 'vectors'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_kind_that_breaks_its_own_rules_is_named(install, changed, message):
    spec = {"name": "loudness", "factory": "loud_model:Loudness", "summary": "", **changed}
    install(
        "odd-plugin", FEATURE.replace('name="loudness", factory=Loudness, summary="mean power"', f"**{spec}")
    )
    with pytest.warns(
        UserWarning, match=f"'odd_plugin' of odd-plugin 1.0 breaks a rule: dcbmr_features: .*{message}"
    ):
        assert "odd_plugin" not in [p.name for p in registry.plugins()]


def test_a_hook_that_raises_is_named(install):
    install("odd-plugin", FEATURE.replace(', summary="mean power"', ""))
    with pytest.warns(UserWarning, match="dcbmr_features: TypeError: .*'summary'.*uninstall") as told:
        assert "linear" in dcbmr.regressors()
    assert isinstance(told[0].message.__cause__, TypeError)


def test_two_owners_of_a_kind_are_both_named(install):
    install("first-loud", FEATURE)
    install("second-loud", FEATURE)
    with pytest.raises(DcbmrError, match="two owners of the kind of feature 'loudness'.*first-.*second-loud"):
        dcbmr.extractors()


def test_the_kinds_of_the_host_have_one_owner(install):
    install("wordy-plugin", FEATURE.replace('name="loudness"', 'name="bow"'))
    with pytest.raises(DcbmrError, match="'bow': dcbmr itself and plugin 'wordy_plugin' of wordy-plugin"):
        dcbmr.extractors()


def test_what_is_no_spec_is_named(install):
    install("odd-plugin", GOOD.replace("[RegressorSpec(", "[dict("))
    with pytest.warns(UserWarning, match="odd-plugin 1.0 .*dcbmr_regressors: wanted RegressorSpec, got {"):
        registry.plugins()


def test_two_owners_of_a_name_are_both_named(install):
    install("first-mean", GOOD)
    install("second-mean", GOOD)
    with pytest.raises(
        DcbmrError,
        match="regressor 'mean'.*first-mean 1.0 and .*second-mean 1.0; .*DISABLE",
    ):
        dcbmr.regressors()


def test_a_hook_that_nobody_knows_is_named(install):
    install("misspelt-plugin", GOOD.replace("dcbmr_regressors", "dcbmr_regresors"))
    with pytest.warns(
        UserWarning,
        match="'misspelt_plugin'.*has the hook dcbmr_regresors, which.*call it dcbmr_regressors if",
    ):
        assert "mean" not in dcbmr.regressors()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("@hookimpl", ""), "has dcbmr_regressors without the mark .*put @dcbmr.hookimpl above"),
        ("DCBMR_CONTRACT = 2", "offers nothing: idle_plugin has none of the hooks dcbmr_regressors"),
        (GOOD.replace("dcbmr_regressors", "dcbmr_rankers"), "has the hook dcbmr_rankers, .*upgrade dcbmr if"),
    ],
    ids=["unmarked", "empty", "newer"],
)
def test_a_plugin_whose_hooks_are_not_seen_is_named(install, text, message):
    install("idle-plugin", text)
    with pytest.warns(UserWarning, match=f"'idle_plugin' of idle-plugin 1.0 {message}"):
        assert "mean" not in dcbmr.regressors()


def test_a_factory_that_its_module_lacks_is_named(install):
    install("mean-plugin", GOOD.replace("factory=Mean", "factory='mean_plugin:Maen'"))
    with pytest.raises(DcbmrError, match="'mean_plugin:Maen', and mean_plugin has no 'Maen'.*mean 'Mean'"):
        dcbmr.get_regressor("mean")


def test_a_hook_with_arguments_names_its_plugin(install):
    install("greedy-plugin", GOOD.replace("dcbmr_regressors()", "dcbmr_regressors(songs)"))
    with pytest.warns(UserWarning, match="'greedy_plugin' of greedy-plugin 1.0 breaks a rule"):
        registry.plugins()


def test_what_needs_the_kind_of_a_skipped_plugin_is_skipped_with_it(install, monkeypatch):
    install("loud-plugin", FEATURE)
    install("mean-plugin", GOOD.replace('name="mean"', 'name="mean", kind="loudness"'))
    assert "mean" in dcbmr.regressors()
    monkeypatch.setenv("DCBMR_DISABLE_PLUGINS", "loud-plugin")
    with pytest.warns(UserWarning, match="mean-plugin 1.0 .*kind 'loudness', which nobody knows"):
        assert "mean" not in dcbmr.regressors()
    assert [one.plugin.name for one in registry.skipped()] == ["loud_plugin", "mean_plugin"]


@pytest.mark.parametrize("named", ["mean_plugin", "mean-plugin", " x_plugin, mean_plugin,"])
def test_a_plugin_that_is_turned_off(install, monkeypatch, named):
    install("mean-plugin", GOOD)
    install("x-plugin", GOOD.replace('"mean"', '"x"'))
    assert {"mean", "x"} <= set(dcbmr.regressors())
    monkeypatch.setenv("DCBMR_DISABLE_PLUGINS", named)
    assert "mean" not in dcbmr.regressors()
    assert ("x" in dcbmr.regressors()) == ("x_plugin" not in named)
    off = "plugin 'mean_plugin' of mean-plugin 1.0 is turned off by DCBMR_DISABLE_PLUGINS=mean.* .take it out"
    with pytest.raises(InputError, match=f"unknown regressor 'mean'; installed: .*; {off}"):
        dcbmr.get_regressor("mean")


def test_turning_off_what_is_not_there_is_said(install, monkeypatch):
    install("mean-plugin", GOOD)
    monkeypatch.setenv("DCBMR_DISABLE_PLUGINS", "maen_plugin")
    with pytest.warns(UserWarning, match="PLUGINS=maen_plugin: no such plugin .*linear.*mean_plugin"):
        assert "mean" in dcbmr.regressors()


def test_only_what_came_with_dcbmr(install):
    install("mean-plugin", GOOD)
    install("broken-plugin", "import a_module_that_nobody_has")
    with registry.built_in_only():
        assert "linear" in dcbmr.regressors()
        assert "mean" not in dcbmr.regressors()
    with pytest.warns(UserWarning, match="broken-plugin"):
        assert "mean" in dcbmr.regressors()


def test_an_unknown_name_lists_the_installed_ones():
    with pytest.raises(InputError, match="unknown regressor 'forest'; installed: .*linear"):
        dcbmr.get_regressor("forest")


def test_an_unknown_parameter_lists_the_known_ones(install):
    install("mean-plugin", GOOD)
    with pytest.raises(InputError, match="'mean' has no parameter 'depth'; it has shrink, random_state"):
        dcbmr.get_regressor("mean", depth=3)


def test_parameters_of_a_loss_are_checked_against_its_factory():
    assert dcbmr.get_regressor("mlp", loss="softmax", loss_params={"temperature": 0.5}).loss_params == {
        "temperature": 0.5
    }
    with pytest.raises(
        InputError, match="loss 'softmax' has no parameter 'heat'; it has temperature, n_songs"
    ):
        dcbmr.get_regressor("mlp", loss="softmax", loss_params={"heat": 1})
    with pytest.raises(InputError, match="loss 'mse' has no parameter 'temperature'; it has unit_norm"):
        dcbmr.get_regressor("mlp", loss_params={"temperature": 1})
    with pytest.raises(
        InputError, match="'linear' computes its losses itself, which have no parameters; got x"
    ):
        dcbmr.get_regressor("linear", loss="wpe", loss_params={"x": 1})
    with pytest.raises(InputError, match="'mlr' has no loss to choose and so no parameters; got x"):
        dcbmr.get_regressor("mlr", loss_params={"x": 1})
    assert dcbmr.get_regressor("linear", loss_params={}).loss == "mse"


LOSS = """
    from dcbmr import LossSpec, hookimpl

    DCBMR_CONTRACT = 2

    def margin(target, *, width: float):
        return lambda predicted, songs: predicted.sum() * width

    @hookimpl
    def dcbmr_losses():
        return [LossSpec(name="margin", factory=margin, summary="a margin")]
"""


def test_a_loss_whose_parameter_has_no_default_asks_for_it(install):
    install("margin-plugin", LOSS)
    with pytest.raises(InputError, match="loss 'margin' needs the parameter 'width'"):
        dcbmr.get_regressor("mlp", loss="margin")
    assert dcbmr.get_regressor("mlp", loss="margin", loss_params={"width": 2.0}).loss == "margin"


CHECKED = """
    from dcbmr import RegressorSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Mean:
        def __init__(self, *, shrink: float = 0.0, device: str = "cpu") -> None:
            self.shrink = shrink

        def check(self) -> None:
            if self.shrink < 0:
                raise ValueError("shrink is below 0")

    @hookimpl
    def dcbmr_regressors():
        return [RegressorSpec("mean", Mean, "the mean song", has_check=True, devices=("cpu", "npu"))]
"""


def test_what_is_made_is_checked_before_it_fits(install):
    install("checked-plugin", CHECKED)
    assert dcbmr.get_regressor("mean", device="npu").shrink == 0
    message = (
        "regressor 'mean' of checked-plugin 1.0 failed in .*check: ValueError: shrink is below 0; --debug"
    )
    with pytest.raises(DcbmrError, match=message):
        dcbmr.get_regressor("mean", shrink=-1.0)
    with pytest.raises(InputError, match="'mean' computes on cpu, npu; got device 'cuda'"):
        dcbmr.get_regressor("mean", device="cuda")


def test_a_regressor_takes_every_kind_of_its_shape():
    specs = dcbmr.regressors()
    assert registry.kinds_of(specs["linear"]) == ("bow_pca", "patterns", "stats", "bow")
    assert registry.kinds_of(specs["cnn"]) == ("mel", "mfcc")


def test_types_that_only_a_type_checker_imports_do_no_harm():
    def factory(target: "NobodyImportsThis", *, margin: "float | None" = None) -> None:  # noqa: F821
        pass

    assert registry.parameters(factory)["margin"].annotation == (float | None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("factory=Mean", "factory=3"), "the parameters of 3 cannot be read: TypeError"),
        (("shrink: float", "shrink: 'Flaot'"), "parameters of .*Mean.* cannot be read: NameError: .*Flaot"),
    ],
)
def test_a_constructor_that_cannot_be_read_is_named(install, changed, message):
    install("mean-plugin", GOOD.replace(*changed))
    with pytest.raises(DcbmrError, match=message):
        dcbmr.get_regressor("mean")


def test_a_loss_that_a_regressor_does_not_take(install):
    install("mean-plugin", GOOD.replace("random_state: int = 0", "loss: str = 'mse'"))
    with pytest.raises(InputError, match="'mean' has no loss 'wpe': it has none to choose"):
        dcbmr.get_regressor("mean", loss="wpe")


def test_a_factory_that_cannot_be_imported_says_what_to_install(install):
    install("far-plugin", GOOD.replace("factory=Mean", "factory='a_module_that_nobody_has:Mean'"))
    with pytest.raises(
        DcbmrError,
        match="'mean' of far-plugin 1.0 cannot be imported: .*a_module_that.*pip install",
    ):
        dcbmr.get_regressor("mean")


@pytest.mark.slow
def test_an_external_wheel_from_build_to_training(tmp_path, small_world):
    """Build the example as a wheel, install it into an environment, train with it from the command line."""

    def run(*words):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(
        *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"),
        *("-w", tmp_path, EXAMPLE),
    )
    run(sys.executable, "-m", "venv", tmp_path / "env")
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    # The environment sees the packages of this one, dcbmr among them, however it was installed.
    seen = [path for path in sys.path if path.endswith("site-packages")]
    (site / "outer.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in seen))
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", next(tmp_path.glob("*.whl")))
    dcbmr_command = (python, "-c", "from dcbmr.cli import main; main()")
    assert "dcbmr-nearest 1.0" in run(*dcbmr_command, "plugins", "--tsv")
    model = tmp_path / "model"
    run(
        *(*dcbmr_command, "train", "--regressor", "nearest", "--set", "n_neighbours=3", "--words", "8"),
        *("--factors", small_world / "factors", "--features", small_world / "features", "-o", model),
    )
    assert '"n_neighbours": 3' in (model / "config.json").read_text()


def test_no_warning_with_what_is_installed():
    registry.installed.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.plugins()
