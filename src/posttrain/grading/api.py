"""grade(problem, response, spec) -> Verdict: the stages in their order.

cut at end of turn -> split thinking -> cap -> extract by the spec's policy -> compare in this process -> what is left
undecided goes to the symbolic workers, a whole batch side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from posttrain.grading import text
from posttrain.grading.cache import Cache, Decision, Key
from posttrain.grading.extract import Found
from posttrain.grading.pool import Result, compare_all
from posttrain.grading.specs import SPECS, Spec, get_spec
from posttrain.grading.structures import OutOfTimeError
from posttrain.records import Problem, Verdict

CACHE = Cache(65_536)
_DECISIONS: dict[Result, Decision] = {
    True: Decision(True, "correct"),
    False: Decision(False, "wrong"),
    None: Decision(None, "undecided"),
    "timeout": Decision(None, "timeout"),
    "error": Decision(None, "error"),
}


class _Read(NamedTuple):
    """A response as far as it can be judged without comparing: `verdict` if that settles it."""

    verdict: Verdict | None
    key: Key = ("", "", "")
    format_ok: bool = False


def grade(problem: Problem, response: str, spec: str = "gsm8k", *, truncated: bool = False) -> Verdict:
    """Judges one response.

    truncated: generation stopped at the token limit. A thought that never closed is never correct; in a text that was
    cut off only an answer that was marked and finished counts.

    Reasons: correct, wrong, no_answer, bad_format, truncated, no_gold; with `correct` None: undecided, timeout, error.
    GradingError for an unknown spec.
    """
    return grade_many([(problem, response, truncated)], spec)[0]


def grade_many(items: Sequence[tuple[Problem, str, bool]], spec: str = "gsm8k") -> list[Verdict]:
    """Verdicts of (problem, response, truncated) triples, in order. Works in any thread and process."""
    rules = get_spec(spec)
    if rules.judge is not None:
        return _judge_all(items, rules.judge)
    reads = [_read(problem, response, truncated, rules) for problem, response, truncated in items]
    decisions: dict[Key, Decision] = {}
    for key in {r.key for r in reads if r.verdict is None}:
        decisions[key] = CACHE.get(key) or _decide(key, rules)
    open_keys = [k for k, d in decisions.items() if d.reason == "undecided" and rules.symbolic and CACHE.get(k) is None]
    for key, result in zip(open_keys, compare_all([(gold, answer) for _, gold, answer in open_keys]), strict=True):
        decisions[key] = _DECISIONS[result]
    for key, decision in decisions.items():
        if decision.reason != "error":  # an accident of the machine says nothing about the next time
            CACHE.put(key, decision)
    return [r.verdict or _verdict(decisions[r.key], r.key[2], r.format_ok) for r in reads]


def _judge_all(
    items: Sequence[tuple[Problem, str, bool]], judge: Callable[[Problem, str, bool], Verdict]
) -> list[Verdict]:
    """Programs run in processes of their own, one per processor at a time."""

    def one(item: tuple[Problem, str, bool]) -> Verdict:
        problem, response, truncated = item
        parts = text.split_thinking(text.cut_end_of_turn(response or ""))
        return judge(problem, parts.answer, truncated) if parts.closed else Verdict(False, False, None, "truncated")

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:
        return list(threads.map(one, items))


def _read(problem: Problem, response: str, truncated: bool, rules: Spec) -> _Read:
    if not problem.answer or not problem.answer.strip():
        return _Read(Verdict(False, False, None, "no_gold"))
    turn = text.cut_end_of_turn(response or "")
    parts = text.split_thinking(turn)
    if not parts.closed:
        return _Read(Verdict(False, False, None, "truncated"))
    if rules.whole is not None and not rules.whole(turn):
        return _Read(Verdict(False, False, None, "truncated" if truncated else "bad_format"))
    found = rules.find(text.cap(parts.answer), truncated)
    if rules.symbolic and parts.answer.strip() == problem.answer.strip():
        found = Found(rules.gold(problem.answer), "whole")  # word for word, whatever it is
    if found is None or not found.text:
        return _Read(Verdict(False, False, None, "truncated" if truncated else "no_answer"))
    return _Read(None, (rules.name, rules.gold(problem.answer), found.text), found.how in rules.explicit)


def _decide(key: Key, rules: Spec) -> Decision:
    _, gold, answer = key
    try:
        return _DECISIONS[rules.same(gold, answer)]
    except OutOfTimeError:
        return _DECISIONS["timeout"]


def _verdict(decision: Decision, extracted: str, format_ok: bool) -> Verdict:
    return Verdict(decision.correct, format_ok, extracted, decision.reason)


def check_gold(problem: Problem, spec: str = "gsm8k") -> str | None:
    """None if the gold grades itself correct, else why it can't be used."""
    rules = get_spec(spec)
    if rules.usable is not None:
        return rules.usable(problem)
    if not problem.answer or not problem.answer.strip():
        return f"problem {problem.id!r} has an empty gold answer"
    gold = rules.gold(problem.answer)
    if not gold or _decide((spec, gold, gold), rules).correct is not True:
        return f"problem {problem.id!r}: the gold {gold[:80]!r} doesn't grade itself correct under {spec!r}"
    return None


def prepare(spec: str) -> None:
    """Asks, before any work is done, whether this machine can grade by a spec. GradingError where it can't.

    Programs need the sandbox, at the level of $POSTTRAIN_ISOLATION or better.
    """
    rules = get_spec(spec)
    if rules.prepare is not None:
        rules.prepare()


__all__ = ["CACHE", "SPECS", "check_gold", "grade", "grade_many", "prepare"]
