"""The pages' code: the tutorial and the lines of Python run, and every command line is one that there is.

A block that needs what a test cannot have says so in the line before it, ``<!-- not run: needs a GPU -->``,
and is counted here. README and the pages on plugins have tests of their own: test_own_data.py, test_docs.py.
"""

import re
import shlex
from collections import Counter
from itertools import groupby
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dcbmr.base.directory import FORMATS
from dcbmr.base.version import __version__
from dcbmr.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = {str(page.relative_to(ROOT)): page for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))}
TUTORIAL = "docs/start/tutorial.md"
pytestmark = pytest.mark.skipif(TUTORIAL not in PAGES, reason="the pages are in the sources only")

BLOCK = re.compile(r"^(?:<!-- not run: needs ([^\n]*) -->\n)?```(sh|python)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """Return the blocks of a page in order: what each needs, its language and its text."""
    return BLOCK.findall(PAGES[page].read_text("utf-8"))


def commands(text):
    """Return the words of each call of dcbmr in a block of shell."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    parts = [
        list(words)
        for line in lines
        for is_word, words in groupby(line, key=lambda word: word not in ("&&", "|"))
        if is_word
    ]
    return [words for words in parts if Path(words[0]).name == "dcbmr"]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_is_one_that_there_is(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for _, language, text in blocks(page):
        for words in commands(text) if language == "sh" else ():
            command, context, rest = cli, None, words[1:]
            while isinstance(command, click.Group):
                context = click.Context(command, parent=context)
                name, *rest = rest
                command = command.get_command(context, name)
                assert command is not None, words
            try:
                command.make_context(name, rest, parent=context).close()
            except click.UsageError as error:
                pytest.fail(f"{shlex.join(words)}: {error.format_message()}")


def test_what_is_not_run_is_marked_and_counted():
    needs = Counter(need for page in PAGES for need, *_ in blocks(page) if need)
    assert needs == {"a package index": 2, "a GPU": 1, "a cluster": 1, "data": 2, "faiss": 1}


def in_small(text):
    """Return a block as it is for the small world, whose ids are shorter."""
    return re.sub(r"\b(user|song)-0(\d{3})", r"\1-\2", text)


def run(words):
    # The world in small, and the network for a moment: nothing is judged here.
    less = {"demo": ["--size", "small"], "train": ["--set", "epochs=1"] if "cnn" in words else []}
    result = CliRunner().invoke(cli, [*words[1:], *less.get(words[1], [])], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.filterwarnings("ignore::UserWarning")  # that songs were held out, and that the world is small
def test_the_tutorial_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    for need, language, text in blocks(TUTORIAL):
        if language == "python":
            exec(in_small(text), names)
        elif not need:
            for words in commands(in_small(text)):
                run(words)


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ("README.md", TUTORIAL)])
def test_lines_of_python_run(page, monkeypatch, tmp_path):
    if Path(page).name in ("plugins.md", "features.md"):
        pytest.skip("test_docs.py runs it")
    monkeypatch.chdir(tmp_path)
    names = {}
    for need, language, text in blocks(page):
        if language == "python" and not need:
            exec(text, names)


def test_the_page_on_files_has_every_format():
    page = PAGES["docs/reference/files.md"].read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.M))
    assert rows == {kind: str(version) for kind, version in FORMATS.items()}


def test_the_version_is_one():
    said = {
        "pyproject.toml": f'\nversion = "{__version__}"\n',
        "CITATION.cff": f"\nversion: {__version__}\n",
        "docs/start/install.md": f"pip install dcbmr-{__version__}-cp",
    }
    assert not [file for file, text in said.items() if text not in (ROOT / file).read_text("utf-8")]
    assert re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1].split()[0] in (
        "Unreleased",
        __version__,
    )
