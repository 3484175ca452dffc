"""Markdown: tables, docstrings, code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

NOTICE = "<!-- `make reference` writes this page from the code: change the code, not the page. -->\n\n"
_SPECIAL = re.compile(r"([*_<>\[\]])")
_KEPT = re.compile(r"(``.+?``|`[^`]+`|(?<![\w*])\*\w(?:[^*]*\w)?\*(?![\w*]))", re.DOTALL)
_ALIGNED = re.compile(r"\S {2,}\S|^\s", re.MULTILINE)
_NAMED = re.compile(r"^(\w+(?:, \w+)*): (?=\S)", re.MULTILINE)  # `name: what it is`, at the beginning of a line


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
    """Words of the code as Markdown that shows them as they are; `code` stays code and *stress* stress."""
    parts = _KEPT.split(text)
    return "".join(part if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def docstring(text: str | None) -> str:
    """A docstring as Markdown: paragraphs as prose, what is laid out by hand (columns, indents) as it stands."""
    blocks: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "")):
        if not paragraph.strip():
            continue
        if _ALIGNED.search(paragraph):
            blocks.append(f"```text\n{paragraph.rstrip()}\n```")
        elif _NAMED.match(paragraph):
            blocks.append(_listed(paragraph))
        else:
            blocks.append(escaped(" ".join(paragraph.split())))
    return "\n\n".join(blocks)


def _listed(paragraph: str) -> str:
    """Lines that begin with a name and a colon as a list; other lines go on with the one before."""
    _, *parts = _NAMED.split(paragraph)
    lines = []
    for names, what in zip(parts[::2], parts[1::2], strict=True):
        shown = ", ".join(map(code, names.split(", ")))
        lines.append(f"- {shown}: {escaped(' '.join(what.split()))}")
    return "\n".join(lines)


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"
