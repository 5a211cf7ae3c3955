"""The pages' code blocks, run: what they show is what works."""

import dataclasses
import inspect
import re
import shlex
from pathlib import Path
from unittest import SkipTest

import click
import pytest
from click.testing import CliRunner

import dcbmr.testing
from dcbmr.cli import cli
from dcbmr.contract import hookspecs, registry
from dcbmr.experiment.reading import read_experiment

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the pages are in the sources only")


def blocks(page, language):
    """Return the code blocks of a page, those of a file by the name in their first line."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.M | re.S)
    return {re.match(r"#? ?(\S*)", block)[1]: block for block in found}


def test_the_plugin_of_the_page_on_features_passes_the_suite(install, tmp_path):
    code = blocks("features.md", "python")
    (tmp_path / "dcbmr_loudness_extractor.py").write_text(code["dcbmr_loudness_extractor.py"])
    install("dcbmr-loudness", code["dcbmr_loudness.py"])
    for check in dcbmr.testing.feature_checks("loudness", block=200):
        check()


def test_the_stream_of_the_page_on_features_passes_the_suite(install):
    extractor = blocks("features.md", "python")["class"]
    spec = """
        from dcbmr import FeatureSpec, hookimpl

        DCBMR_CONTRACT = 2

        @hookimpl
        def dcbmr_features():
            return [FeatureSpec("levels", Levels, "levels", shape="frames", is_streaming=True)]
    """
    lines = "\n".join(line[8:] for line in spec.splitlines())
    install("dcbmr-levels", f"import numpy as np\n{lines}\n\n{extractor}")
    for check in dcbmr.testing.feature_checks("levels"):
        check()


def test_the_suite_of_the_page_is_what_there_is():
    assert "dcbmr.testing.feature_checks(" in blocks("features.md", "python")["tests/test_loudness.py"]
    assert 'loudness = "dcbmr_loudness"' in blocks("features.md", "toml")["pyproject.toml"]


def test_every_field_of_a_spec_is_on_the_page():
    page = (DOCS / "features.md").read_text("utf-8")
    for name in dcbmr.FeatureSpec.__dataclass_fields__:
        assert f"| `{name}` |" in page


def test_what_the_page_on_tuning_shows_is_what_there_is(tmp_path):
    for block in blocks("tuning.md", "sh").values():
        for words in (shlex.split(line) for line in block.splitlines()):
            command = cli.get_command(click.Context(cli), words[1])
            command.make_parser(click.Context(command)).parse_args(words[2:])
    (toml,) = blocks("tuning.md", "toml").values()
    data = '[data]\nplays = "plays.tsv"\naudio = "audio"\n'
    (tmp_path / "mine.toml").write_text(data + toml)
    config = read_experiment(tmp_path / "mine.toml")
    assert config.tune.factorization["n_factors"] == (20, 200)
    assert config.rows[0].tune.space == {
        "learning_rate": (1e-4, 1e-2),
        "optimizer": ("adamw", "nesterov"),
        "loss.unit_norm": (True, False),
    }


PLUGINS = ("shrunk", "cauchy", "noisy", "rough")


@pytest.fixture
def plugins_of_the_page(install, tmp_path):
    """Install the plugins of the page on plugins, and return its blocks of Python."""
    code = blocks("plugins.md", "python")
    for path, text in code.items():
        if path.startswith("dcbmr_"):
            file = tmp_path / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    for name in PLUGINS:
        install(f"dcbmr-{name}", "")
        (tmp_path / f"dcbmr_{name}.py").unlink()
    return code


@pytest.mark.parametrize("name", PLUGINS)
def test_the_plugins_of_the_page_pass_the_suite(plugins_of_the_page, name):
    (checks,) = dcbmr.testing.named_checks(name).values()
    for check in checks:
        try:
            check()
        except SkipTest:
            assert name != "shrunk" or "resumes" in str(check), check


def test_every_block_of_python_of_the_page_runs(plugins_of_the_page, capsys):
    run = {path for path in plugins_of_the_page if path.startswith("dcbmr_")}
    rest = {path: text for path, text in plugins_of_the_page.items() if path not in run}
    assert set(rest) == {"tests/test_shrunk.py", "import"}
    assert 'shrunk = "dcbmr_shrunk"' in blocks("plugins.md", "toml")["pyproject.toml"]
    for text in rest.values():
        exec(text, {})
    assert capsys.readouterr().out.startswith("(48, 4)\n['cnn', ")


def test_the_commands_of_the_page_are_those_that_there_are(plugins_of_the_page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "plugins.md").read_text("utf-8")
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
        for line in block.splitlines()
    ]
    # What pip, build and twine do needs an index; tests/scaffold builds, installs and removes such a package.
    assert {words[0] for words in commands} == {"dcbmr", "cd", "pip", "python"}
    own = {words[1]: words[1:] for words in commands if words[0] == "dcbmr"}
    for name in ("demo", "train", "evaluate"):  # read, and not run, which takes a minute
        context = click.Context(cli)
        command = cli.get_command(context, name)
        command.make_parser(context).parse_args(own.pop(name)[1:])
    said = {name: CliRunner().invoke(cli, words) for name, words in own.items()}
    assert "'shrunk' is offered by plugin" in str(said["plugin"].exception)
    assert "from dcbmr-shrunk 1.0" in said["plugins"].output
    for words in commands:
        if "--dcbmr" in words:
            assert not pytest.main([*words[3:], "-q", "-p", "no:cacheprovider"])


def test_every_public_name_of_the_contract_is_on_the_page():
    page = (DOCS / "plugins.md").read_text("utf-8")
    names = {name for name, home in dcbmr._HOME.items() if home.startswith("contract.")}
    names |= {"Progress", "DcbmrError", "InputError", "save_tensors", "load_tensors", "resolve_n_threads"}
    missing = [name for name in names if f"dcbmr.{name}" not in page]
    missing += [name for name in dcbmr.testing.__all__ if f"dcbmr.testing.{name}" not in page]
    missing += [
        f"`{name}`" for name in vars(hookspecs) if name.startswith("dcbmr_") and f"`{name}`" not in page
    ]
    missing += [name for name in ("DCBMR_CONTRACT", *registry.RESERVED, registry.SOURCES) if name not in page]
    assert not missing


@pytest.mark.parametrize(
    "owner",
    [
        dcbmr.RegressorSpec,
        dcbmr.LossSpec,
        dcbmr.FactorTarget,
        dcbmr.FitRun,
        dcbmr.SongFeatures,
        dcbmr.Peers,
        dcbmr.Regressor,
        dcbmr.HasCheck,
        dcbmr.HasUsers,
        dcbmr.HasActivations,
    ],
    ids=lambda owner: owner.__name__,
)
def test_every_member_of_the_contract_is_on_the_page(owner):
    page = (DOCS / "plugins.md").read_text("utf-8")
    members = {name for base in owner.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
    members |= set(inspect.get_annotations(owner))
    if dataclasses.is_dataclass(owner):
        members |= {field.name for field in dataclasses.fields(owner)}
    assert not [name for name in members if not re.search(rf"`{name}\b", page)]
