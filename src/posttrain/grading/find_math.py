r"""Where a mathematical answer stands: tag, boxes, "the answer is", `####`, the last formula, the last number.

The explicit places come first; the fallbacks serve responses that never learnt a format. Hedges are no answers.
"""

from __future__ import annotations

import re

from posttrain.grading.extract import HASHES, Found, after_last, answer_tag, boxes, sentence
from posttrain.grading.normalize import latex, strip_ends
from posttrain.grading.numbers import find_numbers, plain
from posttrain.grading.parser import parse
from posttrain.grading.vocabulary import ALIASES, CONSTANTS, FUNCTIONS, GREEK, PERCENT, SEPARATORS, is_unit

_PHRASE = re.compile(
    r"(?:\banswer(?:\s+is|\s+are|\s*:|\s*=)|\b(?:result|solution)(?:\s+is|\s*:)|答案[是为：:]*)"
    r"\s*(?::|\*\*)*[ \t]*(?:\n\s*(?=\S))?",
    re.IGNORECASE,
)
_JOINT = re.compile(r"[\s$,;.\\]*(?:\\quad|\\qquad|\\text\{[^{}]*\}|and|or|[\s$,;*~\\])*", re.IGNORECASE)
_JOINING = re.compile(r",|;|\band\b|\bor\b|\{\s*(?:and|or)\s*\}", re.IGNORECASE)
_SPANS = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_UNSURE = re.compile(r"\b(?:or|maybe|perhaps|either|possibly)\b", re.IGNORECASE)
_HEDGE = re.compile(r"\b(?:or|maybe|perhaps|either)\b[^.\n]{0,20}$", re.IGNORECASE)
_KNOWN = frozenset({*ALIASES, *CONSTANTS, *GREEK, *SEPARATORS, *PERCENT})
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])\d+,\d\d?(?![\d,.]*\d)")
_OTHER_SCRIPT = re.compile("[\u0590-\u0dff\u0e00-\u0fff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2}")
_LAST_LINES = 2_000  # characters at the end where fallbacks look


def joined_boxes(text: str) -> str | None:
    """The last box; boxes joined only by a comma, `and`, `or` are one answer of several parts."""
    found = boxes(text)
    if not found:
        return None
    parts = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box[1] : parts[0][0]]
        if len(between) > 60 or not _JOINT.fullmatch(between) or not _JOINING.search(between):
            break
        parts.insert(0, box)
    return ", ".join(inside for _, _, inside in parts)


def find_math(text: str, truncated: bool) -> Found | None:
    """The raw text of the answer and the policy that found it."""
    if (inside := answer_tag(text)) is not None:
        return Found(joined_boxes(inside) or inside, "tag")
    if (boxed := joined_boxes(text)) is not None:
        return Found(boxed, "boxed")
    marks = [(after_last(mark, text), how) for mark, how in ((HASHES, "hashes"), (_PHRASE, "phrase"))]
    for (_, line), how in sorted(((mark, how) for mark, how in marks if mark), reverse=True):
        if (said := said_in(line)) and not (truncated and text.rstrip().endswith(line.strip())):
            return Found(said, how)
    if truncated:
        return None
    return _fallback(text)


def said_in(line: str) -> str | None:
    """The answer at the head of a line of prose: a formula, an expression, a number with its unit, a word."""
    line = strip_ends(line)
    span = _SPANS.match(line.lstrip("*_ ([")) if line else None
    if span:
        inner = next(g for g in span.groups() if g is not None)
        rest = line[line.find(inner) + len(inner) :].lstrip("$)]\\* ")
        return f"{inner}%" if rest.lower().startswith(("%", "percent", "pct")) else inner.strip()
    if parse(line) is not None and not is_prose(line):
        return line
    head = strip_ends(sentence(line))
    if head and (not is_prose(head) or not find_numbers(plain(head))):
        return head
    spans = _spans(head)
    if spans:
        return spans[-1]
    bold = _BOLD.findall(line)
    numbers = find_numbers(plain(bold[-1] if bold else head))
    if len(set(numbers)) > 1 and _UNSURE.search(head):
        return head
    if _OTHER_SCRIPT.search(head):
        return numbers[-1] if numbers else None
    return numbers[0] if numbers else head or None


def is_prose(text: str) -> bool:
    """Whether a text is prose around its mathematics: a word of four letters, or three shorter ones."""
    if _OTHER_SCRIPT.search(text):
        return True
    bare = re.sub(r"\\(?:text[a-z]*|mbox|mathrm)\s*\{[^{}]*\}|\\[a-zA-Z]+|_\{[^{}]*\}", " ", text)
    found = [w for w in re.findall(r"[a-zA-Z]{3,}", bare) if w not in FUNCTIONS and w.lower() not in _KNOWN]
    return len(found) >= 3 or any(len(w) > 3 and not is_unit(w) for w in found)


def _spans(text: str) -> list[str]:
    return [next(g for g in m.groups() if g is not None).strip() for m in _SPANS.finditer(text)]


def _fallback(text: str) -> Found | None:
    """The whole text if it is an expression, else its last formula, bold word or number."""
    tail = text[-_LAST_LINES:]
    whole = strip_ends(text) if len(text) < 400 else ""
    spans, bold = _spans(tail), _BOLD.findall(tail)
    around = _SPANS.sub("", whole)
    decorated = bool(spans) and (
        bool(re.search(r"[a-z]{2}", around)) or (len(spans) == 1 and not re.search(r"\w", around))
    )
    if whole and not decorated and not is_prose(whole) and parse(whole) is not None:
        return Found(whole, "whole")
    if spans:
        rest = tail[tail.rfind(spans[-1]) + len(spans[-1]) :].lstrip("$ ")
        percent = "%" if rest.lower().startswith(("%", "percent", "pct")) else ""
        return Found(spans[-1] + percent, "formula")
    if bold and find_numbers(plain(bold[-1])):
        return Found(bold[-1].strip(), "bold")
    tail = plain(tail)
    numbers = find_numbers(tail)
    if numbers:
        european = _DECIMAL_COMMA.findall(tail)
        if european and european[-1].endswith("," + numbers[-1]):
            numbers.append(european[-1])
        before, _, after = tail.rpartition(numbers[-1])
        if _HEDGE.search(before):
            return None
        suffix = re.match(r"\s*(?:%|percent|pct)", after, re.IGNORECASE)
        return Found(numbers[-1] + ("%" if suffix else ""), "last_number")
    return Found(strip_ends(latex(whole)), "whole") if whole and len(whole) < 60 else None
