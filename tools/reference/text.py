"""Markdown: tables, docstrings, code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

NOTICE = "<!-- `make reference` writes this page from the code: change the code, not the page. -->\n\n"
_SPECIAL = re.compile(r"([*_<>\[\]])")
_ALIGNED = re.compile(r"\S {2,}\S|^\s", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already, but for pipes and line breaks."""
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def code(text: str) -> str:
    """A span of code, whatever is in it."""
    if "`" not in text:
        return f"`{text}`"
    return f"`` {text} ``"


def escaped(text: str) -> str:
    """Words of the code as Markdown that shows them as they are; what stands between backticks stays code."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text, flags=re.DOTALL)
    return "".join(part if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def docstring(text: str | None) -> str:
    """A docstring as Markdown: paragraphs as prose, what is laid out by hand (columns, indents) as it stands."""
    blocks: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "")):
        if not paragraph.strip():
            continue
        if _ALIGNED.search(paragraph):
            blocks.append(f"```text\n{paragraph.rstrip()}\n```")
        else:
            blocks.append(escaped(" ".join(paragraph.split())))
    return "\n\n".join(blocks)


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"
