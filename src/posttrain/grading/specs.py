"""The grading specs: how one kind of answer is found and compared. A new kind is one row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from posttrain.errors import GradingError, did_you_mean
from posttrain.grading import choice, formats, instructions, mathematics, numeric, programs
from posttrain.grading.extract import Found, find_numeric, find_strict_gsm8k
from posttrain.grading.find_math import find_math
from posttrain.records import Problem, Verdict


@dataclass(frozen=True)
class Spec:
    """One kind of grading.

    find: (answer text, truncated) -> the extraction, None where the response names no answer.
    gold: the answer inside a gold, which may be a whole solution.
    same: (gold, extracted) -> equal; None = undecided.
    explicit: the places of an answer that count as keeping the format.
    whole: a further demand on the form of the whole response; without it no answer is read.
    symbolic: whether undecided comparisons go to the worker pool.
    judge: where comparing texts is not the way: (problem, answer text, truncated) -> verdict. The rest is unused then,
        but for `usable`, which says why a problem can't be judged (None: it can), and `prepare`, which raises where
        this machine can't judge.
    """

    name: str
    find: Callable[[str, bool], Found | None]
    gold: Callable[[str], str]
    same: Callable[[str, str], bool | None]
    explicit: frozenset[str]
    whole: Callable[[str], bool] | None = None
    symbolic: bool = False
    judge: Callable[[Problem, str, bool], Verdict] | None = None
    usable: Callable[[Problem], str | None] | None = None
    prepare: Callable[[], object] | None = None


def _numeric_gold(gold: str) -> str:
    found = find_numeric(gold)
    return found.text if found else gold


def _whole_text(answer: str, truncated: bool) -> Found | None:
    answer = answer.strip()
    return Found(answer, "text") if answer and not truncated else None


def _find_flexible(answer: str, truncated: bool) -> Found | None:
    return find_numeric(answer, truncated=truncated)


def _judged(
    name: str,
    judge: Callable[[Problem, str, bool], Verdict],
    usable: Callable[[Problem], str | None],
    prepare: Callable[[], object] | None = None,
) -> Spec:
    nothing: frozenset[str] = frozenset()
    return Spec(name, _whole_text, str.strip, str.__eq__, nothing, judge=judge, usable=usable, prepare=prepare)


_MARKED = frozenset({"tag", "boxed"})
_ROWS = (
    Spec("gsm8k", _find_flexible, _numeric_gold, numeric.same, _MARKED | {"hashes", "phrase"}),
    Spec("gsm8k_strict", find_strict_gsm8k, _numeric_gold, numeric.same, frozenset({"hashes"})),
    Spec("math", find_math, mathematics.gold_text, mathematics.same, _MARKED, symbolic=True),
    Spec(
        "r1_zero",
        find_math,
        mathematics.gold_text,
        mathematics.same,
        frozenset({"tag"}),
        whole=formats.r1_zero_format,
        symbolic=True,
    ),
    Spec("choice", choice.find_choice, choice.gold_letter, choice.same, _MARKED | {"phrase", "alone"}),
    Spec("exact", _whole_text, str.strip, str.__eq__, frozenset({"text"})),
    _judged("code", programs.judge, programs.check_tests, programs.check_sandbox),
    _judged("ifeval", instructions.judge, instructions.check_instructions),
    _judged("ifeval_loose", instructions.judge_loosely, instructions.check_instructions),
)
SPECS: dict[str, Spec] = {spec.name: spec for spec in _ROWS}


def get_spec(name: str) -> Spec:
    """The spec of a name. GradingError for an unknown one."""
    spec = SPECS.get(name)
    if spec is None:
        raise GradingError(
            f"unknown grading spec {name!r}.{did_you_mean(name, SPECS)} Known: {', '.join(sorted(SPECS))}."
        )
    return spec
