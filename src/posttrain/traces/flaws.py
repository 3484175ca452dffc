"""Wrong solutions on purpose: a chain of thought whose last computation slips.

A teacher that is sometimes wrong is what curation and reinforcement learning have to cope with; this one is wrong in a
known share of cases, so that a test can tell what was noticed.
"""

from __future__ import annotations

import random
import re

from posttrain.records import Problem

_INTEGER = re.compile(r"-?\d+")


def flawed(problem: Problem, response: str, seed: int) -> str | None:
    """`response` with its answer changed wherever it stands; None where the answer is not an integer in the text."""
    answer = problem.answer
    if answer is None or not _INTEGER.fullmatch(answer):
        return None
    rng = random.Random(seed)
    slip = rng.choice([-10, -2, -1, 1, 2, 10])
    wrong = str(int(answer) + slip)
    pattern = re.compile(rf"(?<![\d.,]){re.escape(answer)}(?![\d]|[.,]\d)")
    last_line_start = response.rstrip().rfind("\n") + 1
    # Only where the answer is stated as a result, so that an equal number in the working stays what it was.
    changed = re.sub(rf"(?<== ){re.escape(answer)}(?!\d|[.,]\d)", wrong, response[:last_line_start])
    ending, count = pattern.subn(wrong, response[last_line_start:])
    return changed + ending if count else None
