"""The math spec's comparison: words, numbers, choices, then trees."""

from __future__ import annotations

import re
from functools import lru_cache

from posttrain.grading import choice, structures
from posttrain.grading.find_math import find_math
from posttrain.grading.normalize import latex, words
from posttrain.grading.numbers import exact
from posttrain.grading.parser import readings
from posttrain.grading.structures import contradicts

_WORDS = re.compile(r"[a-z][a-z' -]+")
_LITERAL = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\.\d+")
_CHOICE = re.compile(r"\s*(?:\(?[A-J]\)?[.:]?|\([A-J]\)\s+\S.*)\s*")
_TORN_BOX = re.compile(r"\\boxed\s*\{(.*)$", re.DOTALL)  # data sets hold golds that were cut inside their box


@lru_cache(maxsize=4_096)
def gold_text(gold: str) -> str:
    """The answer inside a gold, which may be a whole solution: the last box, else all of it if it parses."""
    found = find_math(gold, False)
    if found and found.how in ("boxed", "tag", "hashes"):
        return found.text
    if found and (torn := _TORN_BOX.search(gold)):
        return torn[1]
    if _CHOICE.fullmatch(gold) or readings(gold):
        return gold
    return found.text if found and found.how in ("phrase", "formula") else gold


def same(gold: str, answer: str) -> bool | None:
    """Whether an extracted answer is the gold's; None = undecided."""
    if _LITERAL.fullmatch(gold) and _LITERAL.fullmatch(answer):
        if exact(gold) == exact(answer):
            return True
        if "." not in gold + answer:
            return False
    if choice.letter(gold) and _CHOICE.fullmatch(gold) and choice.letter(answer):
        return choice.same(gold, answer)
    spelled, other = latex(gold), latex(answer)
    trees, others = readings(gold), readings(answer)
    if spelled.replace(" ", "") == other.replace(" ", "") and other:
        return not (others and contradicts(others[0]))
    said, named = words(answer), words(gold)
    if said == named and _WORDS.fullmatch(said):
        return True
    verdicts = [structures.same(g, a) for g in trees for a in others]
    if True in verdicts:
        return True
    return None if None in verdicts else False
