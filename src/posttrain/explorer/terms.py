"""What a person types into the search box, as an FTS5 query, and the excerpt that shows where it matched."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from markupsafe import Markup

from posttrain.explorer.text import Range, paint

_PART = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')
_WORD = re.compile(r"[^\W_]+")
MOST = 16  # words and phrases of one query
AROUND = 160  # characters of an excerpt


@dataclass(frozen=True)
class Query:
    """match: for FTS5, empty where nothing can be looked up. patterns: what to mark in an excerpt."""

    match: str
    patterns: tuple[re.Pattern[str], ...]


def parse(typed: str) -> Query:
    """Words that must all be there; "a phrase"; begin* of a word; -without. Nothing else has a meaning.

    Every word is quoted for FTS5, so that no query can be malformed or reach its operators.
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    patterns: list[re.Pattern[str]] = []
    for minus, phrase, word in _PART.findall(typed)[:MOST]:
        said = phrase or word
        words = [_folded(w) for w in _WORD.findall(said)]
        if not words:
            continue
        star = "*" if not phrase and word.endswith("*") else ""
        quoted = '"' + " ".join(words) + '"' + star
        if minus:
            unwanted.append(quoted)
            continue
        wanted.append(quoted)
        end = "" if star else r"\b"
        patterns.append(re.compile(r"\b" + r"[\W_]+".join(map(re.escape, _WORD.findall(said))) + end, re.IGNORECASE))
    if not wanted:
        return Query("", ())
    match = " AND ".join(wanted) + "".join(f" NOT {u}" for u in unwanted)
    return Query(match, tuple(patterns))


def _folded(word: str) -> str:
    """Without diacritics, as the index has it."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c)) or word


def excerpt(text: str, query: Query) -> Markup:
    """About 160 characters around the first match, with every match marked."""
    first = min((m.start() for p in query.patterns if (m := p.search(text))), default=0)
    start = max(0, first - AROUND // 3)
    part = text[start : start + AROUND].replace("\n", " ")
    marks = sorted((m.start(), m.end()) for p in query.patterns for m in p.finditer(part))
    kept: list[Range] = []
    for a, b in marks:
        if not kept or a >= kept[-1][1]:
            kept.append((a, b, "hit"))
    before, after = "…" if start else "", "…" if start + AROUND < len(text) else ""
    return Markup("{}{}{}").format(before, paint(part, [kept]), after)
