"""The pages' code blocks, run: what they show is what works."""

import re
from pathlib import Path

import pytest

import dcbmr.testing

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
