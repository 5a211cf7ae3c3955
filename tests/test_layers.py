"""Imports point one way: the order of the rooms in ARCHITECTURE.md, read against every import."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STDLIB = sys.stdlib_module_names | {"__future__"}
# The rooms from the bottom up, as ARCHITECTURE.md draws them: one a line, `name/` or `name.py`.
_PLAN = (ROOT / "ARCHITECTURE.md").read_text().split("\n## ")
ROOMS = re.findall(r"^    (\w+)", next(part for part in _PLAN if part.startswith("The rooms")), re.M)
# What rooms import beside numpy, scipy and rooms above them. These are imported where they are used.
MAY_IMPORT = {
    "base": {"safetensors", "threadpoolctl"},
    "engine": {"ray"},
    "plays": {"pyarrow"},
    "audio": {"soundfile", "soxr", "av"},
    "factorization": {"safetensors", "threadpoolctl"},
    "contract": {"pluggy", "torch"},  # torch for type checkers only
    "tuning": {"optuna"},
    "features": {"safetensors", "threadpoolctl"},
    "models": {"threadpoolctl", "matplotlib"},
    "evaluation": {"threadpoolctl", "sklearn", "matplotlib", "pyarrow"},
    "recommendation": {"pyarrow", "faiss"},
    "datasets": {"soundfile", "pyarrow"},
    "report": {"PIL", "bokeh", "jinja2", "openTSNE", "soundfile"},
    "testing": {"safetensors", "soundfile", "torch"},  # a loss takes tensors, so its checks make some
    # Looks at what there is, and runs the kernel of MLR beside the others.
    "doctor": {"threadpoolctl", "soundfile", "av", "torch", "dcbmr_mlr"},
    "cli": {"click", "rich"},
}
OF_PLUGINS = {"dcbmr_torch": {"torch"}, "dcbmr_mlr": {"threadpoolctl"}, "dcbmr_pytest": {"pytest"}}
# The kernels are called by who checks what goes into them.
KERNELS = {"base", "engine", "audio", "factorization", "ranking", "features", "doctor"}


def imports(path):
    """Each module that a file imports, for type checkers too."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module != "dcbmr":
                yield node.module
            # A name may be a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted(p for p in (ROOT / "dcbmr").rglob("*.py") if p != ROOT / "dcbmr/__init__.py")


def room_of(path):
    return path.relative_to(ROOT / "dcbmr").parts[0].removesuffix(".py")


def test_every_room_is_on_the_plan():
    assert {room_of(path) for path in MODULES} | {"_core"} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_rooms(path):
    room = room_of(path)
    above = set(ROOMS[: ROOMS.index(room) + 1])
    for name in imports(path):
        top, *rest = name.split(".")
        if top != "dcbmr":
            allowed = STDLIB | {"numpy", "scipy"} | MAY_IMPORT.get(room, set())
            assert top in allowed, f"{room} imports {name}"
        elif rest and rest[0] == "_core":
            assert room in KERNELS, f"{room} reaches the kernels"
        elif rest:
            assert rest[0] in above, f"{room} imports {name}, which stands below it"
            if room == "contract":
                assert rest[0] in ("errors", "base", "contract"), f"the contract imports {name}"


def test_nothing_inside_imports_the_public_names():
    for path in MODULES:
        assert "dcbmr" not in [name for name in imports(path) if name == "dcbmr"], path


def _graph(folder, package):
    """Files of a package, each with those that it imports when it is imported or first used."""
    files = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        files[".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = path
    return {name: {m for m in imports(path) if m in files and m != name} for name, path in files.items()}


@pytest.mark.parametrize(
    "folder", ["dcbmr", *sorted(f"plugins/{p.name}" for p in (ROOT / "plugins").iterdir())]
)
def test_no_circle_between_files(folder):
    graph = _graph(ROOT / folder, Path(folder).name)
    package = Path(folder).name
    # A package's __init__ is a door: it names what lies inside lazily, and what lies inside may use it.
    graph = {name: {m for m in found if m != package} for name, found in graph.items() if name != package}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_plugins_use_public_names_only(path):
    import dcbmr

    package = path.relative_to(ROOT / "plugins").parts[0]
    allowed = {"numpy", "scipy", "safetensors", package} | OF_PLUGINS.get(package, set())
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "dcbmr":
            if rest:
                assert rest[0] in dcbmr.__all__, f"{name} is not public"
        else:
            assert top in STDLIB | allowed, f"{package} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_examples_use_public_names_only(path):
    import dcbmr_torch

    import dcbmr

    for name in imports(path):
        top, *rest = name.split(".")
        public = {"dcbmr": dcbmr.__all__, "dcbmr_torch": dcbmr_torch.__all__}.get(top)
        if public is not None and rest:
            assert rest[0] in public, f"{name} is not public"


def test_only_bindings_includes_pybind11():
    found = {p.name for p in (ROOT / "csrc").rglob("*.*") if "pybind11" in p.read_text()}
    assert found == {"bindings.cpp"}


@pytest.mark.parametrize("words", [["--help"], ["plugins"]], ids=" ".join)
def test_light_commands_load_nothing_heavy(words):
    heavy = ["numpy", "scipy", "pyarrow", "torch", "matplotlib", "sklearn"]
    code = (
        "import sys\nfrom dcbmr.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit as e: assert not e.code\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
