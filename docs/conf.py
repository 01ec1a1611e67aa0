"""Sphinx configuration. What the code can say itself is taken from the built package: build it first."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "_ext")]

from pillion.version import __version__  # noqa: E402

project = "Pillion"
author = "The Pillion authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "pillion_benchmarks", "pillion_reference"]
exclude_patterns = ["_build", "_ext", "_benchmarks.md"]

html_theme = "furo"
html_title = f"Pillion {__version__}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings write code in single backticks.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
nitpicky = False
