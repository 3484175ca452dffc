"""Where a difference comes from: format, extraction, truncation, or reasoning.

Sample j of an item by model a is set beside sample j by model b. Where b is right and a was not, the gain is booked
under why a failed; where a is right and b is not, the loss is booked under why b failed. The four parts (and
`undecided`) add up to the difference exactly. A gain that is all format is not better reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence

from posttrain.evals.metrics import group_by_item, verdict_of
from posttrain.grading import check_gold, grade
from posttrain.records import Problem, Sample

LENIENT = "gsm8k"  # reads a number wherever it stands
PARTS = ("reasoning", "format", "extraction", "truncation", "undecided")


def why_wrong(sample: Sample, spec: str) -> str | None:
    """None for a correct sample, else the first that holds:

    truncation: it ran into the token limit. undecided: the grader could not tell. format: a lenient reading finds the
    right answer in it. extraction: no answer could be read. reasoning: it answers, and the answer is wrong.
    """
    verdict = verdict_of(sample)
    if verdict.correct:
        return None
    if verdict.correct is None:
        return "undecided"
    if sample.truncated or verdict.reason == "truncated":
        return "truncation"
    if spec != LENIENT and _right_when_read_leniently(sample):
        return "format"
    return "reasoning" if verdict.parsed else "extraction"


def _right_when_read_leniently(sample: Sample) -> bool:
    problem = Problem(sample.problem_id, sample.question, sample.gold)
    return check_gold(problem, LENIENT) is None and grade(problem, sample.response, LENIENT).correct is True


def decompose(a: Sequence[Sample], b: Sequence[Sample], spec: str) -> dict[str, float] | None:
    """Parts of accuracy(b) − accuracy(a), by name; None when the two have different numbers of samples per item."""
    first, second = group_by_item(a), group_by_item(b)
    if any(len(group) != len(second[item]) for item, group in first.items()):
        return None
    parts = dict.fromkeys(PARTS, 0)
    for item, group in first.items():
        for x, y in zip(group, second[item], strict=True):
            before, after = why_wrong(x, spec), why_wrong(y, spec)
            if before is not None and after is None:
                parts[before] += 1
            elif before is None and after is not None:
                parts[after] -= 1
    return {name: count / len(a) for name, count in parts.items()}
