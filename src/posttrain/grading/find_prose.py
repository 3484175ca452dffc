r"""The answer in sentences: at the head of the line that announces it, or at the end of a response that doesn't.

Formulas before numbers, and of several parts that `and`, `or`, a comma join, all of them. Hedges are no answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from posttrain.grading.choice import find_choice
from posttrain.grading.extract import Found, sentence
from posttrain.grading.normalize import latex, strip_ends
from posttrain.grading.numbers import find_numbers, plain
from posttrain.grading.parser import parse
from posttrain.grading.vocabulary import ALIASES, CONSTANTS, FUNCTIONS, GREEK, PERCENT, SEPARATORS, is_unit

_SPANS = re.compile(
    r"(?<!\\)\$\$((?:[^$\\]|\\.)+?)\$\$|(?<!\\)\$((?:[^$\n\\]|\\.)+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_UNSURE = re.compile(r"\b(?:or|maybe|perhaps|either|possibly)\b", re.IGNORECASE)
_HEDGE = re.compile(r"\b(?:or|maybe|perhaps|either)\b[^.\n]{0,20}$", re.IGNORECASE)
_JOINT = re.compile(r"[\s\"'.*]*(?:,|;|and|or|, ?and|, ?or)[\s\"'*]*", re.IGNORECASE)
_LISTED = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?(?:\s*(?:,|and|or|, ?and|, ?or)\s+-?\d+(?:\.\d+)?)+)\W*$")
_COPULA = re.compile(r"\b(?:is|are|was|were|be|equals)\b|=", re.IGNORECASE)
_INDEX = re.compile(r"_(?:\{[^{}]*\}|\w)")
_CONCLUDING = re.compile(r"\b(?:therefore|thus|so|hence|answer|finally|in total)\b", re.IGNORECASE)
_CONFIDENCE = re.compile(r"\n\s*(?:confidence|certainty)\s*:[^\n]*\s*$", re.IGNORECASE)
_PERCENT = re.compile(r"\s*(?:%|\\%|percent|pct)", re.IGNORECASE)
_SMALL_WORDS = re.compile(
    r"(?<![a-zA-Z'])(?:is|it|the|not|are|was|has|we|this|that|[a-z]{1,6}'(?:s|t|re|ll|ve|m))(?![a-zA-Z'])",
    re.IGNORECASE,
)
_KNOWN = frozenset({*ALIASES, *CONSTANTS, *GREEK, *SEPARATORS, *PERCENT})
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])\d+,\d\d?(?![\d,.]*\d)")
_OTHER_SCRIPT = re.compile("[\u0590-\u0dff\u0e00-\u0fff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2}")
_EXCLAIMED = re.compile(r"\d!$")
_LAST_LINES = 2_000  # characters at the end where an answer is looked for


def is_prose(text: str) -> bool:
    """Whether a text is prose around its mathematics: a word of four letters, or three shorter ones."""
    if _OTHER_SCRIPT.search(text):
        return True
    bare = re.sub(r"\\(?:text[a-z]*|mbox|mathrm)\s*\{[^{}]*\}|\\[a-zA-Z]+|_\{[^{}]*\}", " ", text)
    found = [w for w in re.findall(r"[a-zA-Z]{3,}", bare) if w not in FUNCTIONS and w.lower() not in _KNOWN]
    return len(found) >= 3 or _SMALL_WORDS.search(bare) is not None or any(len(w) > 3 and not is_unit(w) for w in found)


def said_in(line: str) -> str | None:
    """The answer at the head of a line of prose: a formula, an expression, a number with its unit, a word."""
    line = strip_ends(line)
    if _EXCLAIMED.search(line) and line.count("!") == 1:  # whoever calls out the answer means no factorial
        line = line[:-1]
    span = _SPANS.match(line.lstrip('*_ (["')) if line else None
    if span:
        return _joined_spans(line, list(_SPANS.finditer(line)), first=True)
    if parse(line) is not None and not is_prose(line):
        return line
    head = strip_ends(sentence(line))
    if head and (not is_prose(head) or not find_numbers(plain(head))):
        return head
    if spans := list(_SPANS.finditer(head)):
        return _of_named(head, spans)
    bold = _BOLD.findall(line)
    numbers = find_numbers(plain(bold[-1] if bold else head))
    if len(set(numbers)) > 1 and _UNSURE.search(head):
        return head
    if _OTHER_SCRIPT.search(head):
        return numbers[-1] if numbers else None
    return numbers[0] if numbers else head or None


def _inside(span: re.Match[str]) -> str:
    return next(g for g in span.groups() if g is not None).strip()


def _joined_spans(text: str, spans: Sequence[re.Match[str]], *, first: bool) -> str:
    """The first (or last) formula, with those that `and`, `or`, a comma join to it, and its percent sign."""
    chosen = [spans[0]] if first else [spans[-1]]
    for span in spans[1:] if first else spans[-2::-1]:
        a, b = (chosen[-1], span) if first else (span, chosen[0])
        if not _JOINT.fullmatch(text[a.end() : b.start()]):
            break
        chosen.insert(len(chosen) if first else 0, span)
    said = ", ".join(_inside(span) for span in chosen)
    return said + "%" if _PERCENT.match(text, chosen[-1].end()) else said


def _of_named(text: str, spans: Sequence[re.Match[str]]) -> str:
    """`the volume of $ABC$ is 120`: the number that a sentence gives to what its last formula names."""
    rest = text[spans[-1].end() :]
    said = None if re.search(r"\d", _INDEX.sub("", _inside(spans[-1]))) else _COPULA.search(rest)
    numbers = find_numbers(plain(rest[said.end() :])) if said else []
    return numbers[0] if numbers else _joined_spans(text, spans, first=False)


def last_in(text: str) -> Found | None:
    """The whole text if it is an expression, else its last formula, bold word or number."""
    text = _CONFIDENCE.sub("", text)
    tail = text[-_LAST_LINES:]
    whole = strip_ends(text) if len(text) < 400 else ""
    spans, bold = list(_SPANS.finditer(tail)), _BOLD.findall(tail)
    around = _SPANS.sub("", whole)
    decorated = bool(spans) and (
        bool(re.search(r"[a-z]{2}", around)) or (len(spans) == 1 and not re.search(r"\w", around))
    )
    if whole and not decorated and not is_prose(whole) and parse(whole) is not None:
        return Found(whole, "whole")
    if spans:
        rest = tail[spans[-1].end() :]
        if not (_CONCLUDING.search(rest) and find_numbers(plain(rest))):
            return Found(_of_named(tail, spans), "formula")
        tail = rest
    if bold and find_numbers(plain(bold[-1])):
        return Found(bold[-1].strip(), "bold")
    return _last_number(plain(tail), whole)


def _last_number(tail: str, whole: str) -> Found | None:
    numbers = find_numbers(tail)
    if not numbers:
        if whole and len(whole) < 60:
            return Found(strip_ends(latex(whole)), "whole")
        return find_choice(tail, False)
    european = _DECIMAL_COMMA.findall(tail)
    if european and european[-1].endswith("," + numbers[-1]):
        numbers.append(european[-1])
    before, _, after = tail.rpartition(numbers[-1])
    listed = _LISTED.search(before + numbers[-1])
    # "In 2020, 15 people came" is no list
    if listed and (re.search("and|or", listed[1]) or listed[1].count(",") > 1 or not re.search(r"\w", after)):
        return Found(listed[1], "last_number")
    if _HEDGE.search(before):
        return None
    return Found(numbers[-1] + ("%" if _PERCENT.match(after) else ""), "last_number")
