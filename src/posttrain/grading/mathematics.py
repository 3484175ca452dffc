"""The math spec's comparison: words, numbers, choices, then trees."""

from __future__ import annotations

import re
import time
from functools import lru_cache

from posttrain.grading import choice, clock
from posttrain.grading.algebra import too_large
from posttrain.grading.find_math import find_math
from posttrain.grading.find_prose import is_prose, last_in
from posttrain.grading.normalize import latex, words
from posttrain.grading.numbers import exact
from posttrain.grading.parser import readings
from posttrain.grading.structures import Comparison, LastResort

INLINE_SECONDS = 0.5
_WORDS = re.compile(r"[a-z0-9 :'.-]*[a-z]{2}[a-z0-9 :'.-]*")
_LITERAL = re.compile(r"[+-]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\.\d+", re.ASCII)
_ADJACENT_BOXES = re.compile(r"\}\s*\\boxed\s*\{")
_TORN_BOX = re.compile(r"\\boxed\s*\{(.*)$", re.DOTALL)  # data sets hold golds that were cut inside their box


@lru_cache(maxsize=4_096)
def gold_text(gold: str) -> str:
    """The answer inside a gold, which may be a whole solution: the last box, else all of it if it parses."""
    if _ADJACENT_BOXES.search(gold):
        gold = _ADJACENT_BOXES.sub(r"}, \\boxed{", gold)
    found = find_math(gold, False, gold=True)
    if found and found.how in ("boxed", "tag", "hashes"):
        return found.text
    if found and (torn := _TORN_BOX.search(gold)):
        return torn[1]
    if choice.is_choice(gold) or (readings(gold) and not is_prose(gold)):
        return gold
    return found.text if found and found.how in ("phrase", "formula") else gold


def same(
    gold: str, answer: str, *, seconds: float = INLINE_SECONDS, last_resort: LastResort | None = None
) -> bool | None:
    """Whether an extracted answer is the gold's; None = undecided. OutOfTimeError after `seconds` of this thread."""
    verdict = _same(gold, answer, seconds, last_resort)
    if verdict is not True and is_prose(answer):
        if choice.is_choice(gold):
            found = choice.find_choice(answer, False)
            return found is not None and choice.same(gold, found.text)
        inner = last_in(answer)  # a sentence in the box
        read = inner is not None and inner.text != answer and not is_prose(inner.text)
        return _same(gold, inner.text, seconds, last_resort) if inner and read else False
    return verdict


def _same(gold: str, answer: str, seconds: float, last_resort: LastResort | None) -> bool | None:
    if _LITERAL.fullmatch(gold) and _LITERAL.fullmatch(answer):
        if exact(gold) == exact(answer):
            return True
        if "." not in gold + answer:
            return False
    if choice.is_choice(gold) and choice.letter(answer):
        return choice.same(gold, answer)
    if ":" in gold and ":" in answer and (at_once := clock.same(gold, answer)) is not None:
        return at_once
    comparison = Comparison(time.thread_time() + seconds, last_resort)
    spelled, other = latex(gold), latex(answer)
    trees, others = readings(gold), readings(answer)
    if spelled.replace(" ", "") == other.replace(" ", "") and other:
        return not (others and comparison.contradicts(others[0]))
    said, named = words(answer), words(gold)
    if said == named and _WORDS.fullmatch(said):
        return True
    verdicts = {comparison.same(g, a) for g in trees for a in others}
    if True in verdicts or None not in verdicts:
        return True in verdicts
    # A response that no arithmetic can hold is wrong, not undecided: in training, undecided would be a way out.
    return False if any(map(too_large, others)) and not any(map(too_large, trees)) else None
