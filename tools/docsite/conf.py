"""Sphinx's settings. Nothing is fetched, neither while building nor by the reader's browser."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes

import posttrain

HERE = Path(__file__).resolve().parent
KATEX = Path(posttrain.__file__).resolve().parent / "explorer" / "assets" / "katex"  # the one that the explorer ships

project = "posttrain"
author = "the posttrain contributors"
copyright = "the posttrain contributors, MIT licence"
version = release = posttrain.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 6  # the anchors that Markdown viewers make of headings
myst_fence_as_directive = ["math"]
suppress_warnings = ["misc.highlighting_failure"]  # an … in JSON is for people
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "monokai"

html_theme = "furo"
html_title = "posttrain"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_favicon = str(KATEX.parent / "icon.svg")
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "katex"
html_theme_options: dict[str, Any] = {"footer_icons": []}


def setup(app: Any) -> dict[str, bool]:
    """A renderer for formulas, and its files with the pages that have any."""
    app.add_html_math_renderer("katex", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("html-page-context", _scripts)
    app.connect("build-finished", _fonts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(f'<span class="math">{escape(node.astext())}</span>')
    raise nodes.SkipNode


def _block(writer: Any, node: Any) -> None:
    writer.body.append(f'<div class="math">{escape(node.astext())}</div>')
    raise nodes.SkipNode


def _scripts(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    del page, template, context
    if doctree is not None and next(doctree.findall(lambda n: isinstance(n, nodes.math | nodes.math_block)), None):
        app.add_css_file("katex/katex.min.css")
        app.add_js_file("katex/katex.min.js", loading_method="defer")
        app.add_js_file("formulas.js", loading_method="defer")


def _fonts(app: Any, error: Exception | None) -> None:
    if error is None:
        shutil.copytree(KATEX, Path(app.outdir) / "_static" / "katex", dirs_exist_ok=True)
