"""What the site takes from the code: pages of public names and of commands; and formulas as MathML."""

import inspect
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import click
from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.writers.html5 import HTML5Translator

import dcbmr
from dcbmr.cli import cli

_HERE = Path(__file__).parent
# Public modules beside `dcbmr` itself, which lists its names by their rooms.
_MODULES = ("dcbmr.testing", "dcbmr_torch", "dcbmr_mlr")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_math, None), block_renderers=(_block, None))
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Sphinx) -> None:
    pages = {"api": dict(_api()), "commands": dict(_commands())}
    for folder, texts in pages.items():
        (_HERE / folder).mkdir(exist_ok=True)
        for old in set((_HERE / folder).glob("*.rst")) - {_HERE / folder / f"{name}.rst" for name in texts}:
            old.unlink()
        for name, text in texts.items():
            file = _HERE / folder / f"{name}.rst"
            if not file.exists() or file.read_text("utf-8") != text:  # Sphinx reads what is new
                file.write_text(text, "utf-8")


def _api():
    """Yield the pages of the public names, each with its text."""
    rooms = defaultdict(list)
    for name in sorted(dcbmr._HOME, key=str.lower):
        rooms[dcbmr._HOME[name].split(".")[0]].append(name)
    order = (_HERE.parent / "ARCHITECTURE.md").read_text("utf-8").split("## The rooms")[1].index
    pages = {
        f"dcbmr.{room}": [f"dcbmr.{name}" for name in rooms[room]]
        for room in sorted(rooms, key=lambda room: order(f"\n    {room}"))
    }
    for module in _MODULES:
        pages[module] = [f"{module}.{name}" for name in import_module(module).__all__]
    for page, names in pages.items():
        about = inspect.getdoc(import_module(page)).splitlines()[0]
        yield page, f"{_title(page)}\n{about}\n\n" + "".join(map(_entry, names))
    intro = (
        "All public names; what is not here may change without notice. Those of the rooms of dcbmr are\n"
        "reached as ``dcbmr.NAME``, and nothing is imported before it is used."
    )
    yield "index", f"{_title('Python')}\n{intro}\n\n{_toctree(pages)}"


def _entry(name: str) -> str:
    module, attribute = name.rsplit(".", 1)
    value = getattr(import_module(module), attribute)
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, Exception) else "autoclass"
        options = (":members:", ":inherited-members: object,Exception,Protocol", ":special-members: __call__")
        return f".. {kind}:: {name}\n" + "".join(f"   {option}\n" for option in options) + "\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n\n"
    # Of data autodoc finds a comment only under the name of the module that they are in.
    told = ModuleAnalyzer.for_module(f"dcbmr.{dcbmr._HOME[attribute]}").find_attr_docs()
    lines = list(told.get(("", attribute), []))
    if value is dcbmr.RANK_METRICS:
        for metric in value.values():
            lines += [
                f"``{metric.name}``",
                *(f"   {line}" for line in inspect.getdoc(metric.function).splitlines()),
                "",
            ]
    return f".. py:data:: {name}\n\n" + "".join(f"   {line}\n" for line in lines) + "\n"


def _commands():
    """Yield the pages of the commands, each with its text: what ``--help`` prints."""
    context = click.Context(cli, info_name="dcbmr", max_content_width=100, terminal_width=100)
    names = cli.list_commands(context)
    for name in names:
        text = "".join(_helps(cli.get_command(context, name), context, name))
        yield name, f"{_title(f'dcbmr {name}')}\n{text}"
    help_ = _block_of(cli.get_help(context))
    yield "index", f"{_title('Commands')}\nWhat ``--help`` prints.\n\n{help_}\n{_toctree(names)}"


def _helps(command: click.Command, parent: click.Context, name: str):
    context = click.Context(command, parent=parent, info_name=name)
    yield _block_of(command.get_help(context))
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _helps(command.get_command(context, below), context, below)


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _block_of(text: str) -> str:
    return ".. code-block:: text\n\n" + "".join(f"   {line}\n" for line in text.splitlines()) + "\n"


def _toctree(pages) -> str:
    return ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {page}\n" for page in pages)


def _math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(
        f'<div style="margin-bottom: 1.15rem">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>'
    )
    raise nodes.SkipNode
