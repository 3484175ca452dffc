"""Reward functions in TRL's form, for other trainers: `f(completions, **columns) -> list[float]`.

`completions` are texts, or chat messages `[{"role", "content"}]` of which the last one's content counts; every column
is a list of the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from posttrain.errors import GradingError
from posttrain.grading.api import grade_many
from posttrain.grading.formats import think_format
from posttrain.grading.specs import get_spec
from posttrain.records import Problem

RewardFunction = Callable[..., list[float | None]]


def content(completion: Any) -> str:
    """The text of a completion: itself, or the last message's content."""
    if isinstance(completion, str):
        return completion
    return str(completion[-1]["content"]) if completion else ""


def accuracy_reward(spec: str, gold: str = "answer") -> RewardFunction:
    """1.0 for correct, 0.0 for wrong, None for undecided (TRL leaves None out of the mean) by a grading spec.

    gold: the column that holds the gold answers.
    """
    get_spec(spec)

    def reward(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float | None]:
        if gold not in columns:
            raise GradingError(
                f"the reward needs the column {gold!r}; there are {', '.join(sorted(columns)) or 'none'}."
            )
        items = [
            (Problem(str(i), "", None if answer is None else str(answer)), content(c), False)
            for i, (c, answer) in enumerate(zip(completions, columns[gold], strict=True))
        ]
        return [None if v.correct is None else float(v.correct) for v in grade_many(items, spec)]

    reward.__name__ = f"{spec}_reward"
    return reward


def format_reward(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float | None]:
    """1.0 where one closed thought stands before the answer."""
    del columns  # part of the protocol; the format doesn't depend on them
    return [float(think_format(content(c))) for c in completions]
