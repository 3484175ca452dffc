"""grade(problem, response, spec) -> Verdict: the stages in their order.

cut at end of turn -> split thinking -> cap -> extract by the spec's policy -> compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from posttrain.errors import GradingError, did_you_mean
from posttrain.grading import choice, mathematics, numeric, text
from posttrain.grading.choice import find_choice
from posttrain.grading.extract import Found, find_numeric, find_strict_gsm8k
from posttrain.grading.find_math import find_math
from posttrain.records import Problem, Verdict

CACHE = 65_536  # verdicts kept on (gold, extracted, spec)


@dataclass(frozen=True)
class Spec:
    """How one kind of answer is found and compared.

    find: the policy; None where the response names no answer.
    gold: the answer inside a gold, which may be a whole solution.
    same: (gold, extracted) -> equal.
    explicit: the policies that count as keeping the format.
    """

    name: str
    find: Callable[[str, bool], Found | None]
    gold: Callable[[str], str]
    same: Callable[[str, str], bool | None]
    explicit: frozenset[str]


def _numeric_gold(gold: str) -> str:
    found = find_numeric(gold)
    return found.text if found else gold


def _exact_text(answer: str, truncated: bool) -> Found | None:
    answer = answer.strip()
    return Found(answer, "text") if answer and not truncated else None


SPECS: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec(
            "gsm8k",
            lambda answer, truncated: find_numeric(answer, truncated=truncated),
            _numeric_gold,
            numeric.same,
            frozenset({"tag", "boxed", "hashes", "phrase"}),
        ),
        Spec("gsm8k_strict", find_strict_gsm8k, _numeric_gold, numeric.same, frozenset({"hashes"})),
        Spec(
            "math",
            find_math,
            mathematics.gold_text,
            mathematics.same,
            frozenset({"tag", "boxed"}),
        ),
        Spec("choice", find_choice, str.strip, choice.same, frozenset({"tag", "boxed", "phrase", "alone"})),
        Spec("exact", _exact_text, str.strip, str.__eq__, frozenset({"text"})),
    )
}

_REASONS = {True: "correct", False: "wrong", None: "undecided"}


def get_spec(name: str) -> Spec:
    """The spec of a name. GradingError for an unknown one."""
    spec = SPECS.get(name)
    if spec is None:
        raise GradingError(
            f"unknown grading spec {name!r}.{did_you_mean(name, SPECS)} Known: {', '.join(sorted(SPECS))}."
        )
    return spec


@lru_cache(maxsize=CACHE)
def _same(gold: str, extracted: str, spec: str) -> bool | None:
    return SPECS[spec].same(gold, extracted)


def grade(problem: Problem, response: str, spec: str = "gsm8k", *, truncated: bool = False) -> Verdict:
    """Judges one response.

    truncated: generation stopped at the token limit. A thought that never closed is never correct; in a text that was
    cut off only an answer that was marked and finished counts.

    Reasons: correct, wrong, no_answer, truncated, no_gold. GradingError for an unknown spec.
    """
    rules = get_spec(spec)
    if not problem.answer or not problem.answer.strip():
        return Verdict(False, False, None, "no_gold")
    parts = text.split_thinking(text.cut_end_of_turn(response or ""))
    if not parts.closed:
        return Verdict(False, False, None, "truncated")
    found = rules.find(text.cap(parts.answer), truncated)
    if found is None or not found.text:
        return Verdict(False, False, None, "truncated" if truncated else "no_answer")
    correct = _same(rules.gold(problem.answer), found.text, spec)
    return Verdict(correct, found.how in rules.explicit, found.text, _REASONS[correct])


def grade_many(items: Sequence[tuple[Problem, str, bool]], spec: str = "gsm8k") -> list[Verdict]:
    """Verdicts of (problem, response, truncated) triples, in order."""
    return [grade(problem, response, spec, truncated=truncated) for problem, response, truncated in items]


def check_gold(problem: Problem, spec: str = "gsm8k") -> str | None:
    """None if the gold grades itself correct, else why it can't be used."""
    rules = get_spec(spec)
    if not problem.answer or not problem.answer.strip():
        return f"problem {problem.id!r} has an empty gold answer"
    gold = rules.gold(problem.answer)
    if not _same(gold, gold, spec):
        return f"problem {problem.id!r}: the gold {gold[:80]!r} doesn't grade itself correct under {spec!r}"
    return None
