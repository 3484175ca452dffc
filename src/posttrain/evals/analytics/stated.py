"""The answers that a text states on its way: a text that states one and ends with another has corrected itself."""

from __future__ import annotations

import re

_MARKERS = re.compile(
    r"\\boxed\s*\{|<answer>|####|(?:the|final|my) answer (?:is|=|would be|must be)\s*:?|answer\s*:", re.IGNORECASE
)
_SHORT = re.compile(r"[^\n<]{1,80}")
_NOISE = re.compile(r"[\s$*_,]|\\[,;!]|\\left|\\right|\.(?!\d)")


def stated_answers(text: str) -> list[str]:
    r"""What is boxed, stands in <answer> tags, after #### or after "the answer is", in order, white space and dollars
    left out; one that is stated again without another between counts once. Up to 80 characters of each."""
    found: list[str] = []
    end = 0
    for marker in _MARKERS.finditer(text):
        if marker.start() < end:
            continue  # "the answer is \boxed{…}" states one answer
        said, end = _said(text, marker)
        if said and (not found or found[-1] != said):
            found.append(said)
    return found


def _said(text: str, marker: re.Match[str]) -> tuple[str, int]:
    """(the answer, where it ends) after a marker."""
    start = marker.end()
    if marker[0].endswith("{"):
        return _boxed(text, start)
    boxed = re.compile(r"[^\n]{0,20}?\\boxed\s*\{").match(text, start)
    if boxed:
        return _boxed(text, boxed.end())
    short = _SHORT.match(text, start)
    if short is None:
        return "", start
    first = re.split(r"(?<=\D)\.\s|(?<=\d)\.(?!\d)|[;!?]|\s(?:because|since|so|but|and)\s", short[0].strip())[0]
    return _NOISE.sub("", first), short.end() if marker[0].startswith("<") else start + len(first)


def _boxed(text: str, start: int) -> tuple[str, int]:
    """Up to the brace that closes the box; "" for a box that never closes."""
    depth = 1
    for place in range(start, min(len(text), start + 400)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return _NOISE.sub("", text[start:place])[:80], place + 1
    return "", start
