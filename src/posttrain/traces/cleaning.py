"""What a teacher says about its instructions, cut out of what it says: spans of the raw text, each with its rule.

Cut are sentences about the form of the answer (``I will output ANSWER: …``, ``The user wants step-by-step reasoning``)
and echoes of the instructions themselves. The unit is a sentence, never a paragraph, and a sentence that computes stays
whatever else it says: one with a figure in it (beside the answer that it announces), an equals sign or a word of
arithmetic. Where such a sentence goes on to state the answer (``I will output ANSWER: 10.``), the answer stays.

Nothing is lost: `restore` makes the raw text again out of the cleaned one and its cuts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CLEANER = 1  # enters the fingerprint of traces: raise it when results change

_LEAD = (
    r"^[\"'“*_(\s]*(?:(?:okay|ok|alright|so|now|then|and|but|finally|therefore|thus|hence|first|next|also|wait|hmm|well"
    r"|great|sure|yes|right)\b[,.!]?\s+)*"
)
_FORM = (
    r"(?:ANSWER\b|final answer|final line|last line|boxed|\\boxed|<answer>|answer tags?"
    r"|(?:required|requested|specified|given|correct|right|following|answer|output|exact) format)"
)
_SAYS = r"(?:says?|said|wants?|asks?|asked|requires?|required|requests?|requested|specif\w+|instructs?|tells?|told)"
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "announcement",
            _LEAD + r"(?:i|we|let me|let us|let's|i'll|we'll|i'd|i'm)\b[^\n]{0,80}?\b(?:output|print|write|show|provide"
            r"|present|format|return|respond|reply|state|give|put|include|end|finish)\b[^\n]{0,80}?" + _FORM,
        ),
        (
            "instructions told again",
            _LEAD + r"(?:as\s+)?(?:the\s+|your\s+)?(?:user|prompt|instructions?|system(?: prompt| message)?)\s+"
            r"(?:\w+\s+){0,2}?"
            + _SAYS
            + r"\b[^\n]{0,120}?(?:"
            + _FORM
            + r"|format|step[- ]by[- ]step|reasoning|my work)",
        ),
        (
            "instructions told again",
            _LEAD
            + r"(?:the\s+)?(?:task|question|problem(?: statement)?)\s+"
            + _SAYS
            + r"\b[^\n]{0,80}?(?:ANSWER:|format"
            r"|step[- ]by[- ]step|boxed)",
        ),
        (
            "reminder",
            _LEAD + r"(?:please\s+)?(?:make sure|be sure|remember|don't forget|note)\b[^\n]{0,80}?" + _FORM,
        ),
        (
            "request for reasoning",
            _LEAD + r"(?:please\s+)?(?:show|explain)\s+(?:your|my|all|the)\s+(?:\w+\s+){0,2}?"
            r"(?:reasoning|work|working|steps|thinking)\b[^\n]{0,60}$",
        ),
        (
            "form of the answer",
            _LEAD + r"(?:the\s+)?(?:final|last)\s+line\s+(?:must|should|has to|needs to|is to|will)\b",
        ),
        ("form of the answer", r"^[\"'*_\s]*(?:output|answer|response)\s+format\s*:"),
        (
            "form of the answer",
            r"ANSWER\s*:\s*[<\[{(]\s*(?:the\s+)?(?:final\s+)?(?:number|integer|answer|value|result)",
        ),
        (
            "form of the answer",
            _LEAD + r"(?:there\s+(?:must|should)\s+be\s+)?(?:no|without)\s+(?:other|additional|extra|further)\s+"
            r"(?:text|words|commentary|explanations?)\b",
        ),
    )
)
# An answer as an announcement states it: kept when the words before it are cut.
_STATED = re.compile(
    r"[\"'`*]{0,4}(?:ANSWER\s*:\s*[\"'`*]*\$?-?\d[\d,./]*%?|####\s*\$?-?\d[\d,./]*|\\boxed\{[^{}\d]{0,40}\d[^{}]{0,80}\})"
    r"[\"'`*.!]*\s*$",
    re.IGNORECASE,
)
_COMPUTES = re.compile(
    r"\d|=|\b(?:plus|minus|times|divided|divide|multipl\w+|subtract\w*|adding|added|sum of|product of|half of|twice"
    r"|percent)\b",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(r"[.!?][\"'”)*_`\]]*(?=\s+[^\sa-z])")
_WORDS = re.compile(r"[^\W_]+")
_LEAST_ECHO = 4  # words; shorter sentences come about by themselves


@dataclass(frozen=True, slots=True)
class Cut:
    """`removed` stood at offset `start` of the raw text and was cut by `rule`."""

    start: int
    removed: str
    rule: str


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`text` is the raw text without its cuts, which are in order and don't overlap."""

    text: str
    cuts: tuple[Cut, ...]


def clean(text: str, instructions: Sequence[str] = ()) -> Cleaned:
    """Cuts sentences about the form of the answer, and sentences of the `instructions` that the text repeats."""
    known = {words for told in instructions for s, e in _sentences(told, 0, len(told)) if (words := _said(told[s:e]))}
    cuts: list[Cut] = []
    at = 0
    for line in text.splitlines(keepends=True):
        cuts += _cuts_of_line(text, at, at + len(line), known)
        at += len(line)
    kept, last = [], 0
    for cut in cuts:
        kept.append(text[last : cut.start])
        last = cut.start + len(cut.removed)
    return Cleaned("".join([*kept, text[last:]]), tuple(cuts))


def restore(text: str, cuts: Sequence[Cut]) -> str:
    """The raw text that `clean` was given."""
    raw = text
    for cut in cuts:
        raw = raw[: cut.start] + cut.removed + raw[cut.start :]
    return raw


def marked(text: str, cuts: Sequence[Cut], *, before: str = "[-", after: str = "-]") -> str:
    """The raw text with what was cut between `before` and `after`."""
    parts, last, raw = [], 0, restore(text, cuts)
    for cut in cuts:
        end = cut.start + len(cut.removed)
        parts += [raw[last : cut.start], before, raw[cut.start : end], after]
        last = end
    return "".join([*parts, raw[last:]])


def computes(sentence: str) -> bool:
    """Whether a sentence holds a computation, or may: a figure, an equals sign, a word of arithmetic."""
    return _COMPUTES.search(sentence) is not None


def _cuts_of_line(text: str, start: int, end: int, known: set[tuple[str, ...]]) -> list[Cut]:
    """The cuts in the line at [start, end), its newline included; a line that is left empty goes as a whole."""
    found: list[tuple[int, int, str]] = []
    content = start + len(text[start:end].rstrip())
    for s, e in _sentences(text, start, content):
        judged = _judge(text[s:e], known)
        if judged is not None:
            length, rule = judged
            found.append((s, s + length, rule))
    if not found:
        return []
    left, last = "", start
    for s, e, _ in found:
        left, last = left + text[last:s], e
    if not (left + text[last:end]).strip():
        return [Cut(start, text[start:end], found[0][2])]
    cuts: list[Cut] = []
    for s, e, rule in found:
        while e < content and text[e] in " \t":
            e += 1
        if e == content:  # at the end of its line: the space before it goes along
            while s > start and text[s - 1] in " \t" and (not cuts or s > cuts[-1].start + len(cuts[-1].removed)):
                s -= 1
        cuts.append(Cut(s, text[s:e], rule))
    return cuts


def _judge(sentence: str, known: set[tuple[str, ...]]) -> tuple[int, str] | None:
    """(how many of its first characters to cut, the rule), or None where a sentence stays."""
    stated = _STATED.search(sentence)
    words = sentence[: stated.start()] if stated else sentence
    if not words.strip() or computes(words):
        return None
    if not stated and _said(sentence) in known:
        return len(sentence), "echo of the instructions"
    # Where the answer is stated its mark is part of what the rules look for.
    probe = f"{words}ANSWER" if stated else sentence
    rule = next((name for name, pattern in _RULES if pattern.search(probe)), None)
    return None if rule is None else (len(words), rule)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences in text[start:end], without the white space between them."""
    at = start
    bounds = [m.end() for m in _BOUNDARY.finditer(text, start, end)]
    for bound in [*bounds, end]:
        while at < bound and text[at].isspace():
            at += 1
        stop = bound
        while stop > at and text[stop - 1].isspace():
            stop -= 1
        if stop > at:
            yield at, stop
        at = bound


def _said(sentence: str) -> tuple[str, ...]:
    """A sentence's words for comparison; () for one too short to be an echo."""
    words = tuple(w.casefold() for w in _WORDS.findall(sentence))
    return words if len(words) >= _LEAST_ECHO else ()
