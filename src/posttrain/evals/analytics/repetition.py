"""How much of a text says again what it said."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+|[^\w\s]")
LONGEST_LOOP = 200  # words of a passage that a loop may be made of
SHORTEST_LOOP = 12  # words in all: three dots or "ha ha ha" are no loop


def repeated_share(text: str, n: int = 4) -> float:
    """The share of a text's n-grams of words that stood in it before: 1 − distinct / all; 0 for fewer than n + 1
    words."""
    words = _WORD.findall(text)
    total = len(words) - n + 1
    if total < 2:
        return 0.0
    return 1.0 - len(set(zip(*(words[i:] for i in range(n)), strict=False))) / total


def loop_length(text: str, times: int = 3) -> int:
    """Words at the end of a text that are one passage said at least `times` times over; 0 where it doesn't end in a
    loop.

    The passage has up to 200 words, and all rounds together at least 12. What a model that can't stop leaves behind
    ends like this, its last round perhaps cut short.
    """
    words = _WORD.findall(text)
    for period in range(1, min(LONGEST_LOOP, len(words) // times) + 1):
        run = period
        while run < len(words) and words[-1 - run] == words[-1 - run + period]:
            run += 1
        if run >= max(times * period, SHORTEST_LOOP):
            return run
    return 0
