"""How Sphinx makes the site of what `build.py` laid out; run `make site`."""

import re
from typing import Any

import opswright

project = "Opswright"
author = "the Opswright authors"
copyright = "Apache-2.0"
version = release = opswright.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
smartquotes = False
nitpicky = False  # types of other packages have no page here
suppress_warnings = ["misc.highlighting_failure"]  # a sketch in a fence need not be whole code
myst_enable_extensions = ["colon_fence", "attrs_block"]
myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
add_module_names = False
html_theme = "furo"
html_title = "Opswright"
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options: dict[str, Any] = {
    "light_css_variables": {"color-brand-primary": "#0f5c4d", "color-brand-content": "#0f6e5b"},
    "dark_css_variables": {"color-brand-primary": "#6fd3bd", "color-brand-content": "#6fd3bd"},
    "navigation_with_keys": False,
}

_MARKUP = re.compile(r"([*|\\])|(?<=\w)_(?=\W|$)")


def _plain(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: what reStructuredText would take for markup is escaped."""
    text = "\n".join(lines)
    parts = re.split(r"(`[^`\n]+`)", text)
    for at, part in enumerate(parts):
        parts[at] = f"``{part[1:-1]}``" if at % 2 else _MARKUP.sub(lambda found: f"\\{found[0]}", part)
    paragraphs = re.split(r"\n\s*\n", "".join(parts))
    lines[:] = "\n\n".join(" ".join(one.split()) for one in paragraphs).split("\n")
    lines.append("")


def setup(app: Any) -> None:
    """Have docstrings read as what they are."""
    app.connect("autodoc-process-docstring", _plain)
