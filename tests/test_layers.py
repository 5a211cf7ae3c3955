"""Imports point down only: the table of layers, read against the imports of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STDLIB = sys.stdlib_module_names | {"__future__"}

LAYERS = {
    1: {
        "errors",
        "directory",
        "_threads",
        "_arrays",
        "_spelling",
        "plays",
        "_triplets",
        "_half_sweep",
        "factors",
        "als",
        "audio",
        "extraction",
        "features",
        "song_files",
        "store",
        "codebook",
        "words",
        "pca",
        "metrics",
        "topk",
    },
    2: {"contract", "hookspecs", "registry", "params"},
    4: {
        "model",
        "training",
        "recommender",
        "evaluation",
        "experiment",
        "explain",
        "report",
        "synthetic",
        "testing",
        "tags",
    },
    5: {"cli"},
}
MAY_IMPORT = {
    1: {"numpy", "scipy", "pyarrow", "soundfile", "soxr", "av", "safetensors", "threadpoolctl", "sklearn"},
    2: {"numpy", "scipy", "pluggy"},
    4: {
        "numpy",
        "scipy",
        "pyarrow",
        "soundfile",
        "sklearn",
        "matplotlib",
        "jinja2",
        "safetensors",
        "threadpoolctl",
    },
    5: {"click", "rich"},
}
REACHES = {1: {1}, 2: {1, 2}, 4: {1, 2, 4}, 5: {1, 2, 4, 5}}
KERNELS = {"_core"}


def layer_of(module):
    return next(layer for layer, names in LAYERS.items() if module in names)


def imports(path):
    """The module that each import that runs names; TYPE_CHECKING blocks do not."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "dcbmr":
                yield from (f"dcbmr.{alias.name}" for alias in node.names)
            else:
                yield node.module


MODULES = sorted(p for p in (ROOT / "dcbmr").rglob("*.py") if p != ROOT / "dcbmr/__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    layer = layer_of(path.relative_to(ROOT / "dcbmr").parts[0].removesuffix(".py"))
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "torch" and path.name == "testing.py":
            continue  # A loss takes tensors, so its checks make some; inside the function.
        if top != "dcbmr":
            assert top in STDLIB | MAY_IMPORT[layer], f"layer {layer} imports {name}"
        elif rest == ["__version__"]:
            continue
        elif rest[0] in KERNELS:
            assert layer == 1, f"layer {layer} reaches the kernels: {name}"
        else:
            assert layer_of(rest[0]) in REACHES[layer], f"layer {layer} imports upwards: {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_plugins_use_public_names_only(path):
    import dcbmr

    package = path.relative_to(ROOT / "plugins").parts[0]
    allowed = {"numpy", "scipy", "safetensors", package} | ({"torch"} if package == "dcbmr_torch" else set())
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "dcbmr":
            if rest:
                assert rest[0] in dcbmr.__all__, f"{name} is not public"
        else:
            assert top in STDLIB | allowed, f"{package} imports {name}"


def test_only_bindings_includes_pybind11():
    found = {p.name for p in (ROOT / "csrc").iterdir() if "pybind11" in p.read_text()}
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
