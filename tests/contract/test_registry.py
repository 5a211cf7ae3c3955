"""Plugins are found as installed distributions: here as small ones laid out in a folder of the path."""

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import dcbmr
from dcbmr.contract import registry
from dcbmr.errors import DcbmrError, InputError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dcbmr-nearest"

GOOD = """
    from dcbmr import RegressorSpec, hookimpl

    class Mean:
        def __init__(self, *, shrink: float = 0.0, random_state: int = 0) -> None:
            self.shrink = shrink

    @hookimpl
    def dcbmr_regressors():
        return [RegressorSpec(name="mean", factory=Mean, summary="the mean song")]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a distribution with one plugin module into a folder that is on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def lay(distribution, source):
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dcbmr]\n{module} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        registry.plugins.cache_clear()

    yield lay
    registry.plugins.cache_clear()


def test_a_plugin_is_found_and_made(install):
    install("mean-plugin", GOOD)
    assert "mean" in dcbmr.regressors()
    assert dcbmr.get_regressor("mean", shrink=0.5).shrink == 0.5
    plugin = next(p for p in registry.plugins() if p.name == "mean_plugin")
    assert (plugin.distribution, plugin.version) == ("mean-plugin", "1.0")


def test_the_built_ins_enter_as_anyone_does():
    owners = {spec.name: p.name for p in registry.plugins() for spec in (*p.regressors, *p.losses)}
    assert owners["linear"] == "linear"
    assert owners["mlp"] == owners["cnn"] == owners["mse"] == owners["wpe"] == "torch"
    assert owners["mlr"] == "mlr"


def test_a_broken_plugin_is_named_and_skipped(install):
    install("broken-plugin", "import a_module_that_nobody_has")
    install("mean-plugin", GOOD)
    with pytest.warns(
        UserWarning, match="'broken_plugin' of broken-plugin cannot be imported and is skipped"
    ):
        found = registry.plugins()
    assert "mean_plugin" in [p.name for p in found]
    assert "broken_plugin" not in [p.name for p in found]


def test_two_owners_of_a_name_are_both_named(install):
    install("first-mean", GOOD)
    install("second-mean", GOOD)
    with pytest.raises(DcbmrError, match="two owners of the regressor 'mean'.*first-mean and .*second-mean"):
        dcbmr.regressors()


def test_a_misspelt_hook_is_an_error(install):
    install("misspelt-plugin", GOOD.replace("dcbmr_regressors", "dcbmr_regresors"))
    with pytest.raises(DcbmrError, match="misspelt hook.*dcbmr_regresors.*misspelt_plugin"):
        registry.plugins()


def test_a_hook_with_arguments_names_its_plugin(install):
    install("greedy-plugin", GOOD.replace("dcbmr_regressors()", "dcbmr_regressors(songs)"))
    with pytest.raises(DcbmrError, match="'greedy_plugin' of greedy-plugin"):
        registry.plugins()


def test_an_unknown_name_lists_the_installed_ones():
    with pytest.raises(InputError, match="unknown regressor 'forest'; installed: .*linear"):
        dcbmr.get_regressor("forest")


def test_an_unknown_parameter_lists_the_known_ones(install):
    install("mean-plugin", GOOD)
    with pytest.raises(InputError, match="'mean' has no parameter 'depth'; it has shrink, random_state"):
        dcbmr.get_regressor("mean", depth=3)


def test_types_that_only_a_type_checker_imports_do_no_harm():
    def factory(target: "NobodyImportsThis", *, margin: "float | None" = None) -> None:  # noqa: F821
        pass

    assert registry.parameters(factory)["margin"].annotation == (float | None)


def test_a_loss_that_a_regressor_does_not_take(install):
    install("mean-plugin", GOOD.replace("random_state: int = 0", "loss: str = 'mse'"))
    with pytest.raises(InputError, match="'mean' has no loss 'wpe': it has none to choose"):
        dcbmr.get_regressor("mean", loss="wpe")


def test_a_factory_that_cannot_be_imported_says_what_to_install(install):
    install("far-plugin", GOOD.replace("factory=Mean", "factory='a_module_that_nobody_has:Mean'"))
    with pytest.raises(
        DcbmrError, match="'mean' cannot be imported: .*a_module_that_nobody_has.*pip install"
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
    registry.plugins.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.plugins()
