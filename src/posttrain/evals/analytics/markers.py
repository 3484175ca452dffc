"""Words in which a text looks back at itself: where they stand, and how many.

The kinds are three of the behaviours that Gandhi et al. (arXiv 2503.01307) look for, told by words and not by a model:
`check` (verification), `correct` (backtracking) and `alternative` (another way). "Wait" is the word that DeepSeek-R1's
authors count (arXiv 2501.12948, 2.2.4). A word is evidence of a habit, never of good reasoning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PHRASES: dict[str, tuple[str, ...]] = {
    "check": (
        r"wait",
        r"hmm+",
        r"let(?:'s| me| us) (?:double[- ]?|re-?)?(?:check|verify|confirm|examine|think again)",
        r"double[- ]check(?:ing)?",
        r"re-?check(?:ing)?",
        r"re-?(?:examin|evaluat|consider)(?:e|ing)",
        r"to (?:verify|make sure|be sure)",
        r"does (?:this|that) make sense",
        r"is (?:this|that) (?:right|correct)\?",
    ),
    "correct": (
        r"actually",
        r"on second thought",
        r"scratch that",
        r"i (?:made|have made|see) (?:a|my|the) (?:mistake|error)",
        r"(?:that|this)(?:'s| is| was| can't be| cannot be) (?:not right|not correct|wrong|incorrect|right\? no)",
        r"my (?:mistake|bad)",
        r"oops",
        r"let me (?:redo|fix|correct|start over|try again)",
        r"i (?:misread|miscounted|miscalculated|misunderstood|forgot)",
    ),
    "alternative": (
        r"alternatively",
        r"another (?:way|approach|method)",
        r"(?:a )?different (?:way|approach|method)",
        r"let me try (?:another|a different)",
    ),
}
KINDS = tuple(_PHRASES)
_PATTERN = re.compile(
    r"(?<!\w)(?:" + "|".join(f"(?P<{kind}>{'|'.join(phrases)})" for kind, phrases in _PHRASES.items()) + r")(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters [start, end) of a text."""

    start: int
    end: int
    kind: str


def find_marks(text: str) -> list[Mark]:
    """The marks of a text in order; they don't overlap. Typographic apostrophes count as plain ones."""
    plain = text.replace("\u2019", "'")  # one character for one: places stay what they are
    return [Mark(*m.span(), str(m.lastgroup)) for m in _PATTERN.finditer(plain)]


def count_marks(text: str) -> dict[str, int]:
    """How many of each kind; every kind is a key."""
    counts = dict.fromkeys(KINDS, 0)
    for mark in find_marks(text):
        counts[mark.kind] += 1
    return counts
