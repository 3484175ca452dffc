r"""Where a mathematical answer stands: tag, boxes, "the answer is", `####`, the last formula, the last number.

The explicit places come first; `find_prose` reads the sentences of responses that never learnt a format.
"""

from __future__ import annotations

import re

from posttrain.grading.extract import HASHES, Found, after_last, answer_tag, boxes
from posttrain.grading.find_prose import last_in, said_in

_PHRASE = re.compile(
    r"(?:\banswer(?:\s+is|\s+are|\s*:|\s*=)|\b(?:result|solution)(?:\s+is|\s*:)|答案[是为：:]*)"
    r"\s*(?::|\*\*)*[ \t]*(?:\n\s*(?=\S))?",
    re.IGNORECASE,
)
_FINAL = re.compile(r"\bfinal answer(?:\s+is|\s*:)\s*(?=[$\\\d(\[-])", re.IGNORECASE)
_JOINT = re.compile(
    r"(?:[\s$,;.*~\\]|\\[()\[\]]|\\q?quad|\\text\{[^{}]*\}|and|or)*"
    r"(?:[a-z](?:_\{?\w{1,3}\}?)?\s*=\s*)?",  # x = \boxed{1} and y = \boxed{2}
    re.IGNORECASE,
)
_GOLD_JOINT = re.compile(r"\s*(?:[a-z]+\s+)?(?:,|and|or)\s*", re.IGNORECASE)
_JOINING = re.compile(r",|;|\band\b|\bor\b|\{\s*(?:and|or)\s*\}", re.IGNORECASE)
MAX_JOINT = 60  # characters between two boxes of one answer


def joined_boxes(text: str, gold: bool = False) -> tuple[int, str] | None:
    r"""(where it ends, the last box that isn't empty); boxes joined only by a comma, `and`, `or` are one answer.

    gold: one word may stand before the joint: `\boxed{1} cat and \boxed{2} dogs`; in a response that could be a story.
    """
    found = boxes(text)
    while len(found) > 1 and not found[-1][2]:
        found.pop()
    if not found:
        return None
    parts = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box[1] : parts[0][0]]
        joint = _JOINT.fullmatch(between) or (gold and _GOLD_JOINT.fullmatch(between))
        if len(between) > MAX_JOINT or not joint or not _JOINING.search(between):
            break
        parts.insert(0, box)
    return parts[-1][1], ", ".join(inside for _, _, inside in parts)


def find_math(text: str, truncated: bool, gold: bool = False) -> Found | None:
    """The raw text of the answer and the policy that found it."""
    if (inside := answer_tag(text)) is not None:
        boxed = joined_boxes(inside)
        return Found(boxed[1] if boxed else inside, "tag")
    if (boxed := joined_boxes(text, gold)) is not None:
        return (not truncated and _said_finally(text[boxed[0] :])) or Found(boxed[1], "boxed")
    marks = [(after_last(mark, text), how) for mark, how in ((HASHES, "hashes"), (_PHRASE, "phrase"))]
    for (_, line), how in sorted(((mark, how) for mark, how in marks if mark), reverse=True):
        if (said := said_in(line)) and not (truncated and text.rstrip().endswith(line.strip())):
            return Found(said, how)
    return None if truncated else last_in(text)


def _said_finally(rest: str) -> Found | None:
    """A final answer that is given behind the last box, in so many words, corrects it."""
    mark = after_last(_FINAL, rest)
    said = said_in(mark[1]) if mark else None
    return Found(said, "phrase") if said else None
