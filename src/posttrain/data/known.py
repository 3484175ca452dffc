"""The datasets that have a name here: where they come from and what their rows mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from posttrain.data.columns import Columns, to_problems
from posttrain.data.rows import Row
from posttrain.errors import DataError
from posttrain.hub import NAMES, Named
from posttrain.records import Problem

# GSM8K's calculator annotations: 48/2 = <<48/2=24>>24
_CALCULATOR = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True, slots=True)
class Known:
    """hub: where it is on the Hub. files: split → flat file in a mirror. convert: rows of a split → problems, with the
    calculator's marks kept or not."""

    hub: Named
    files: dict[str, str]
    convert: Callable[[Sequence[Row], str, bool], list[Problem]]


def gsm8k(rows: Sequence[Row], split: str, keep_marks: bool) -> list[Problem]:
    """Grade-school math (Cobbe et al., arXiv:2110.14168): the answer stands after ``####`` behind the solution.

    Ids count the rows of the published order, so they are the same from the Hub and from a mirror.
    """
    problems = []
    for problem in to_problems(rows, Columns(), prefix=f"gsm8k/{split}", split=split):
        solution, mark, raw = (problem.answer or "").rpartition("####")
        if not mark:
            solution, raw = problem.solution or "", str(problem.extra.get("answer_raw", problem.answer))
        raw = raw.strip()
        answer = raw.replace(",", "").lstrip("$").strip()
        if not answer:
            raise DataError(
                f"{problem.id}: no answer after '####'. This is not GSM8K as published; map its columns instead."
            )
        if not keep_marks:
            solution = _CALCULATOR.sub("", solution)
        problems.append(replace(problem, answer=answer, solution=solution.strip() or None, extra={"answer_raw": raw}))
    return problems


def math(rows: Sequence[Row], split: str, keep_marks: bool) -> list[Problem]:
    """MATH (Hendrycks et al., arXiv:2103.03874) as split by Lightman et al. (arXiv:2305.20050): 12,000 problems to
    train on, MATH-500 to test on. It has no calculator marks to keep."""
    del keep_marks
    return to_problems(rows, Columns(), prefix=f"math/{split}", split=split)


KNOWN: dict[str, Known] = {
    "gsm8k": Known(
        hub=NAMES["gsm8k"],
        files={"train": "gsm8k_train.jsonl", "test": "gsm8k_test.jsonl"},
        convert=gsm8k,
    ),
    "math": Known(
        hub=NAMES["math"],
        files={"train": "math_train.jsonl", "test": "math500.jsonl"},
        convert=math,
    ),
}
