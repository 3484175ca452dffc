"""Words of strangers, made fit to be shown: one line, no invisible characters that reorder or hide text."""

from __future__ import annotations

import unicodedata
from typing import Any

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, bidi and zero-width marks, lone surrogates, unassigned


def clean(text: str, longest: int = 200) -> str:
    """`text` on one line without hidden characters, cut to `longest` characters."""
    shown = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c) not in HIDDEN)
    line = " ".join(shown.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def in_words(value: Any, depth: int = 3) -> str:
    """A setting for people: mappings as ``key value``, lists joined, everything cleaned and cut."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, dict) and depth:
        return clean(", ".join(f"{k} {in_words(v, depth - 1)}" for k, v in value.items()), 400)
    if isinstance(value, list | tuple) and depth:
        return clean(", ".join(in_words(v, depth - 1) for v in value) or "none", 400)
    return clean(str(value), 400)
