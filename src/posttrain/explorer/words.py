"""What changed between two texts, word by word: bounded work for any input.

Texts are first compared by sentence; only what differs there is compared by word, and only where that is cheap.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from posttrain.explorer.text import LONGEST, Range

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*")
WORD = re.compile(r"\s+|\d+(?:\.\d+)?|\w+|[^\w\s]")
MOST_SENTENCES = 1_500  # of one text: beyond it, everything in between counts as changed
MOST_PAIRS = 40_000  # words of the one times words of the other, within one changed stretch
ISLAND = 3  # characters of what two texts share between two changes: too little to tell them apart
Op = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Difference:
    """new: ranges of the second text that the first has not. gone: (position in the second, words of the first)."""

    new: tuple[Range, ...]
    gone: tuple[tuple[int, str], ...]


def difference(a: str, b: str) -> Difference:
    """How `b` differs from `a`, of the first 20,000 characters of each."""
    a, b = a[:LONGEST], b[:LONGEST]
    new: list[Range] = []
    gone: list[tuple[int, str]] = []
    for tag, a0, a1, b0, b1 in _changes(a, b):
        if tag != "insert":
            gone.append((b0, a[a0:a1]))
        if tag != "delete" and b[b0:b1].strip():
            new.append((b0, b1, "new"))
    return Difference(tuple(new), tuple((at, words) for at, words in gone if words.strip()))


def _changes(a: str, b: str) -> Iterator[Op]:
    """Differing stretches as (tag, a0, a1, b0, b1) in characters."""
    first, second = _sentences(a), _sentences(b)
    if max(len(first), len(second)) > MOST_SENTENCES:
        if a != b:
            yield ("replace", 0, len(a), 0, len(b))
        return
    for tag, i0, i1, j0, j1 in _opcodes([a[s:e] for s, e in first], [b[s:e] for s, e in second]):
        a0, a1, b0, b1 = *_span(first, i0, i1, len(a)), *_span(second, j0, j1, len(b))
        if tag == "replace":
            yield from _by_word(a, b, (a0, a1, b0, b1))
        else:
            yield (tag, a0, a1, b0, b1)


def _by_word(a: str, b: str, where: tuple[int, int, int, int]) -> Iterator[Op]:
    a0, a1, b0, b1 = where
    first, second = _pieces(WORD, a[a0:a1]), _pieces(WORD, b[b0:b1])
    if len(first) * len(second) > MOST_PAIRS:
        yield ("replace", *where)
        return
    ones = [a[a0 + s : a0 + e] for s, e in first]
    others = [b[b0 + s : b0 + e] for s, e in second]
    for tag, i0, i1, j0, j1 in _joined(_opcodes(ones, others), others):
        x0, x1 = _span(first, i0, i1, a1 - a0)
        y0, y1 = _span(second, j0, j1, b1 - b0)
        yield (tag, a0 + x0, a0 + x1, b0 + y0, b0 + y1)


def _joined(ops: list[Op], words: list[str]) -> list[Op]:
    """Changes with next to nothing in common between them are one: a blank or a "the" is no island of sameness."""
    joined: list[Op] = []
    for op in ops:
        if joined and len("".join(words[joined[-1][4] : op[3]]).strip()) <= ISLAND:
            _, i0, _, j0, _ = joined[-1]
            joined[-1] = ("replace", i0, op[2], j0, op[4])
        else:
            joined.append(op)
    return joined


def _opcodes(a: list[str], b: list[str]) -> list[Op]:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return [op for op in matcher.get_opcodes() if op[0] != "equal"]


def _sentences(text: str) -> list[tuple[int, int]]:
    """They tile the text."""
    ends = [m.end() for m in SENTENCE_END.finditer(text)]
    places = dict.fromkeys([0, *ends, len(text)])
    return list(itertools.pairwise(places))


def _pieces(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [m.span() for m in pattern.finditer(text) if m.end() > m.start()]


def _span(pieces: list[tuple[int, int]], start: int, end: int, length: int) -> tuple[int, int]:
    """Characters of pieces [start, end); an empty stretch stands where the next piece begins."""
    if start == end:
        at = pieces[start][0] if start < len(pieces) else length
        return at, at
    return pieces[start][0], pieces[end - 1][1]
