"""Multiple choice: the letter that a response chose."""

from __future__ import annotations

import re

from posttrain.grading.extract import Found, answer_tag, last_box

LETTERS = "ABCDEFGHIJ"
_ALONE = re.compile(
    rf"[\(\[]?\s*([{LETTERS}{LETTERS.lower()}])\s*(?:[\)\].:]*|[\)\].:]\s+\S.*|,\s+[\"'$\w]{{2}}.*)", re.DOTALL
)
_GOLD = re.compile(r"\(?([A-J])(?:\)?[.:]?|(?:\)|[.:])\s+\S.*| [A-Z][a-z]{2}.*)", re.DOTALL)
_SAID = re.compile(
    rf"(?:(?:answer|choice|option|choose|select)(?:\s+is|\s*:)?"
    rf"\s*(?:(?:for sure|clearly|definitely)\s+)?(?:option|choice)?"
    rf"|\bit(?:'s|\s+is))\s*[:\-]?[\s*$\"'\(\[]*"
    rf"(?:\\(?:text|mathrm|mathbf|boxed)\s*\{{\s*\(?)?([{LETTERS}])(?![a-zA-Z'’])",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"(?:not|n't|isn.t|never)\s+(?:\w+\s+)?$", re.IGNORECASE)
_CAPITAL = re.compile(rf"(?<![a-zA-Z'’])([{LETTERS}])(?![a-zA-Z'’])")
_FIRST = re.compile(rf"\s*(?!.*\bnot\b)(?:[a-z]+\s+){{0,3}}([{LETTERS}])(?=[.,:;)])")
_BRACKETED = re.compile(rf"[\(\[]([{LETTERS}])[\)\]]")


def letter(text: str) -> str | None:
    """The letter if the text is one choice: `C`, `(c)`, `D.`, `(D) Alina`, `\\text{B}`."""
    m = _ALONE.fullmatch(_undressed(text))
    return m[1].upper() if m else None


def is_choice(gold: str) -> bool:
    """Whether a gold is a choice and not a variable: `C`, `(C)`, `\\text{(C)}`, `(D) Alina`."""
    return _GOLD.fullmatch(_undressed(gold)) is not None


def _undressed(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}|[$*]", r"\1", text).strip()


def find_choice(text: str, truncated: bool) -> Found | None:
    """Tag, box, "answer is C", then a text that is one letter, the last `(C)`, the last lone capital."""
    for piece, how in ((answer_tag(text), "tag"), (last_box(text), "boxed")):
        if piece is not None:
            return Found(letter(piece) or piece, how)
    said = [m for m in _SAID.finditer(text) if not _NEGATED.search(text, max(0, m.start() - 20), m.start())]
    said = [
        m
        for m in said
        if m[1].isupper() or not text[m.end() :].lstrip(" ").startswith(tuple("abcdefghijklmnopqrstuvwxyz"))
    ]
    if said:
        return Found(said[-1][1].upper(), "phrase")
    if truncated:
        return None
    if (alone := letter(text)) is not None:
        return Found(alone, "alone")
    if (first := _FIRST.match(text)) is not None:
        return Found(first[1], "letter")
    for pattern in (_BRACKETED, _CAPITAL):
        named = [m[1] for m in pattern.finditer(text) if m[1] not in "AI" or pattern is _BRACKETED]
        if named and len(set(named)) == 1:
            return Found(named[0], "letter")
    return None


def same(gold: str, answer: str) -> bool:
    chosen = gold_letter(gold)
    return len(chosen) == 1 and chosen == letter(answer)


def gold_letter(gold: str) -> str:
    """The letter of a gold such as `C`, `(C)`, `(D) Alina`, `C. x = 42`; a gold that is none of these as it is."""
    m = _GOLD.fullmatch(_undressed(gold))
    return m[1] if m else letter(gold) or gold
