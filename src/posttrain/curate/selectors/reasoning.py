"""A trace as steps of reasoning, and what each step is for (LIMOPro, arXiv 2505.19187, section 3).

Steps hold three to four sentences where there are so many, and a sentence that changes the purpose begins a new one, so
that a check is not cut together with the step that it checks. Joined again, the parts are the text, character by
character. The class is told by rule, from the words that open such a step; what no rule knows is progression.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["progression", "verification", "multi_method", "error_correction"]
FUNCTIONAL: tuple[Kind, ...] = ("verification", "multi_method", "error_correction")
LONGEST = 4  # sentences of a step

# A sentence ends at a line break, or at a mark followed by white space: "3.5" has none inside.
_SENTENCE = re.compile(r"[^\n]*?(?:[.!?。！？]['\")\]]*(?=\s)|\n+|$)[ \t]*\n*", re.DOTALL)
_LEAD = r"^\W*(?:(?:hmm|ok|okay|oh|no|so|but|and|well|actually)\b\W*)*"
_RULES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "error_correction",
        re.compile(
            r"\bthis is wrong\b|\bthat(?:'s| is) (?:wrong|not right|incorrect)\b|\bthe mistake (?:was|is)\b"
            r"|\bi made (?:a|an) (?:mistake|error)\b|\bmy mistake\b|\blet me correct\b",
            re.IGNORECASE,
        ),
    ),
    (
        "multi_method",
        re.compile(
            _LEAD + r"alternatively\b|\banother (?:way|approach|method)\b|\ba different (?:way|approach|method)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "verification",
        re.compile(
            _LEAD
            + r"wait\b|\blet(?:'s| me| us) (?:double[- ]?check|check|verify|confirm)\b|\bdouble[- ]?check(?:ing)?\b",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a trace: its text, white space included, and what it is for."""

    text: str
    kind: Kind

    @property
    def functional(self) -> bool:
        """Whether it may be cut: progression never is."""
        return self.kind != "progression"


@dataclass(frozen=True, slots=True)
class Parts:
    """A response: `head` + the steps' texts + `tail` + `answer` is the whole.

    head: an opening tag. tail: what closes the thought. answer: the final answer, which is never touched.
    """

    head: str
    steps: tuple[Step, ...]
    tail: str
    answer: str

    def without(self, cut: frozenset[int]) -> str:
        """The response without the steps of these numbers."""
        return self.trace(cut) + self.answer

    def trace(self, cut: frozenset[int] = frozenset()) -> str:
        """Everything before the answer, without the steps of these numbers."""
        return self.head + "".join(s.text for i, s in enumerate(self.steps) if i not in cut) + self.tail


def split_response(response: str) -> Parts:
    """Where a response thinks and where it answers.

    With think tags the answer is what follows the last ``</think>``. Without, it is the last paragraph, or, where there
    is only one, the last sentence.
    """
    before, close, after = response.rpartition("</think>")
    if close and after.strip():
        opened = re.match(r"\s*<think>\s*", before)
        head = opened[0] if opened else ""
        return Parts(head, tuple(split_steps(before[len(head) :])), close, after)
    text = response.rstrip()
    for border in ("\n\n", "\n"):
        at = text.rfind(border)
        if at > 0:
            at += len(border)
            return Parts("", tuple(split_steps(response[:at])), "", response[at:])
    sentences = split_sentences(response)
    return Parts("", tuple(split_steps("".join(sentences[:-1]))), "", sentences[-1] if sentences else response)


def split_sentences(text: str) -> list[str]:
    """Sentences with the white space behind them; joined they are `text`."""
    return [m[0] for m in _SENTENCE.finditer(text) if m[0]]


def split_steps(trace: str) -> list[Step]:
    """Steps of a trace, each with its class; joined their texts are `trace`."""
    steps: list[Step] = []
    run: list[str] = []
    kind: Kind = "progression"
    for sentence in split_sentences(trace):
        found = classify(sentence)
        if found != "progression":
            steps += _cut(run, kind)
            run, kind = [], found
        run.append(sentence)
    return steps + _cut(run, kind)


def classify(sentence: str) -> Kind:
    """What a sentence opens: the first rule that knows it, or progression."""
    return next((kind for kind, rule in _RULES if rule.search(sentence)), "progression")


def _cut(sentences: list[str], kind: Kind) -> list[Step]:
    """A run of sentences as steps of equal length, at most four each. Only the first is of the kind that opened
    it: what goes on after it goes on with the problem."""
    if not sentences:
        return []
    count = -(-len(sentences) // LONGEST)
    borders = [round(i * len(sentences) / count) for i in range(count + 1)]
    texts = ["".join(sentences[a:b]) for a, b in itertools.pairwise(borders)]
    return [Step(text, kind if i == 0 else "progression") for i, text in enumerate(texts)]
