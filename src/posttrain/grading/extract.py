"""Where a response says its answer: declared policies, first the explicit ones.

An extraction is the raw piece of text as the model wrote it; reading it is the business of the comparison.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from posttrain.grading.numbers import find_numbers, plain

_BOX = re.compile(r"\\(?:[a-z]*boxed|f?box)(?![a-zA-Z])\s*")
_ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
HASHES = re.compile(r"####[ \t]*:?[ \t]*")
_PHRASE = re.compile(r"\b(?:answer|result)(?:\s+is|\s+are|\s*:|\s*=)\s*(?::|\*\*)?[ \t]*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$|[*\"'])")
MAX_BOXES = 64  # braces are matched only for the last boxes of a response


class Found(NamedTuple):
    """One extraction: the raw text, and which policy found it."""

    text: str
    how: str


def answer_tag(text: str) -> str | None:
    """The inside of the last closed `<answer>` pair."""
    last = deque(_ANSWER_TAG.finditer(text), maxlen=1)
    return last[0][1].strip() if last else None


def closing_brace(text: str, opened: int) -> int:
    """Index of the brace that closes the one at `opened`, or -1."""
    depth = 0
    for i in range(opened, len(text)):
        c = text[i]
        if c == "{":
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0:
                return i
    return -1


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""(start, end, inside) of the outermost `\boxed{…}`, `\fbox{…}`, `\boxed 4` among the last MAX_BOXES, in order."""
    found: list[tuple[int, int, str]] = []
    for m in list(_BOX.finditer(text))[-MAX_BOXES:]:
        if found and m.start() < found[-1][1]:
            continue  # a box inside a box
        at = m.end()
        if at >= len(text):
            continue
        if text[at] == "{":
            end = closing_brace(text, at)
            if end >= 0:
                found.append((m.start(), end + 1, text[at + 1 : end].strip()))
        else:
            word = re.match(r"[^\s{}$\\]+", text[at:])
            if word:
                found.append((m.start(), at + word.end(), word[0].rstrip(".,;")))
    return found


def last_box(text: str) -> str | None:
    found = boxes(text)
    return found[-1][2] if found else None


def after_last(mark: re.Pattern[str], text: str) -> tuple[int, str] | None:
    """(where, the rest of the line) behind the last occurrence of a mark."""
    last = deque(mark.finditer(text), maxlen=1)
    if not last:
        return None
    start = last[0].end()
    end = text.find("\n", start)
    return last[0].start(), text[start : end if end >= 0 else len(text)]


def after_hashes(text: str) -> str | None:
    """The rest of the last `####` line."""
    mark = after_last(HASHES, text)
    return mark[1].strip() if mark else None


def sentence(text: str) -> str:
    """Up to the end of the first sentence."""
    end = _SENTENCE_END.search(text)
    return text[: end.start()] if end else text


def find_numeric(text: str, *, truncated: bool = False) -> Found | None:
    """Flexible numeric policy: tag, box, the later of `####` and "answer is", then the last number of the text.

    In a text that was cut off the last number may be half a number or a step: it is not taken for an answer.
    """
    if (inside := answer_tag(text)) is not None:
        return Found(last_box(inside) or inside, "tag")
    if (box := last_box(text)) is not None:
        return Found(box, "boxed")
    marks = [(mark, how) for mark, how in ((after_last(HASHES, text), "hashes"), (after_last(_PHRASE, text), "phrase"))]
    for (_, line), how in sorted(((mark, how) for mark, how in marks if mark), reverse=True):
        said = sentence(line)
        if truncated and text.endswith(said):
            continue
        if find_numbers(plain(said)):
            return Found(said.strip(), how)
    if truncated:
        return None
    numbers = find_numbers(plain(text[-4096:]))
    return Found(numbers[-1], "last_number") if numbers else None


def find_strict_gsm8k(text: str, truncated: bool) -> Found | None:
    """Only the `#### …` line counts."""
    mark = after_last(HASHES, text)
    if mark is None or (truncated and text.endswith(mark[1])):
        return None
    return Found(sentence(mark[1]).strip(), "hashes")
