"""Sphinx: ``python -m sphinx -W --keep-going docs build/docs``. Nothing needs a network, built or read."""

import sys
from pathlib import Path

import dcbmr

sys.path.insert(0, str(Path(__file__).parent))

project = "dcbmr"
author = "the dcbmr developers"
copyright = author
version = release = dcbmr.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_gallery.gen_gallery", "generated"]
exclude_patterns = ["conf.py", "generated.py", "sg_execution_times.rst", "**/sg_execution_times.rst"]
# Types are words, some of which are also names of several attributes: none of them is what is meant.
suppress_warnings = ["ref.python"]

myst_heading_anchors = 4

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,
}

autodoc_typehints = "none"  # docstrings say types, and shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc shows them

html_theme = "pydata_sphinx_theme"
html_title = f"dcbmr {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_sidebars = {"index": []}
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}
