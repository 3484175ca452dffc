"""Edits that leave a text the same to a reader: planted duplicates and contamination, of which the truth is known."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

EVERY = 25  # words, of which one is exchanged
_FILLERS = "altogether then exactly also however total some other again finally today first".split()
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def retyped(text: str, draw: random.Random) -> str:
    """Other case and spacing."""
    kept = text.upper() if draw.random() < 0.3 else text.lower()
    return "  ".join(kept.split()) if draw.random() < 0.5 else kept.replace(". ", ".\n")


def reworded(text: str, draw: random.Random) -> str:
    """One word in EVERY exchanged, at least one; numbers stay."""
    words = text.split(" ")
    plain = [i for i, word in enumerate(words) if word.isalpha()]
    for i in draw.sample(plain, min(len(plain), max(1, len(words) // EVERY))):
        words[i] = draw.choice(_FILLERS)
    return " ".join(words)


def framed(text: str, draw: random.Random) -> str:
    """Words before and behind."""
    before = draw.choice(["Solve this problem.", "Question:", "Please answer carefully:"])
    return f"{before} {text} {draw.choice(['Show your work.', 'Think step by step.', ''])}".rstrip()


def renumbered(text: str, draw: random.Random) -> str:
    """Every number another one: the template's twin."""
    return _NUMBER.sub(lambda match: str(draw.randint(2, 98)), text)


SAME: tuple[Callable[[str, random.Random], str], ...] = (retyped, reworded, framed)
"""The same problem."""
LEAKED = (*SAME, renumbered)
"""A benchmark's question as it comes into training data."""
