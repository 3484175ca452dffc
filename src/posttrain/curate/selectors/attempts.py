"""What graded attempts of a model say of each row: how often it solved the problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.base import Rows
from posttrain.data.splits import same_text
from posttrain.errors import DataError
from posttrain.records import Sample


@dataclass(frozen=True, eq=False)
class PassRates:
    """Of n rows. rate: [n] in [0, 1], NaN where nobody tried the problem. tried: attempts with a verdict, [n].

    solved_texts: the responses that were correct, which say how long the model's own good answers are.
    """

    rate: NDArray[np.float64]
    tried: NDArray[np.int64]
    solved_texts: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the rows that were tried."""
        return float(np.nanmean(self.rate))

    @property
    def most_tried(self) -> int:
        return int(self.tried.max())


def pass_rates(rows: Rows, attempts: Iterable[Sample]) -> PassRates:
    """Attempts belong to a row by their problem's id, or else by its question's words; undecided ones don't count.

    DataError where no attempt has a verdict, or none is at any of these rows.
    """
    by_id: dict[str, list[bool]] = {}
    by_text: dict[str, list[bool]] = {}
    solved: list[str] = []
    seen = 0
    for attempt in attempts:
        seen += 1
        if attempt.verdict is None or attempt.verdict.correct is None:
            continue
        correct = attempt.verdict.correct
        by_id.setdefault(attempt.problem_id, []).append(correct)
        by_text.setdefault(same_text(attempt.question), []).append(correct)
        if correct:
            solved.append(attempt.response)
    if not by_id:
        raise DataError(f"none of the {seen:,} attempts has a verdict. Give graded ones, as the stage 'sample' makes.")
    rate = np.full(len(rows), np.nan)
    tried = np.zeros(len(rows), dtype=np.int64)
    for i in range(len(rows)):
        found = by_id.get(rows.ids[i]) or by_text.get(same_text(rows.question(i)), [])
        if found:
            rate[i], tried[i] = sum(found) / len(found), len(found)
    if not tried.any():
        raise DataError(
            f"the attempts are at {len(by_id):,} problems, and none of them is one of these {len(rows):,} rows. Sample "
            "the student on the rows' own problems."
        )
    return PassRates(rate, tried, tuple(solved))
