"""Reward functions in TRL's form, offered and accepted: `f(completions, **columns) -> list[float]`.

`completions` are texts, or chat messages `[{"role", "content"}]` of which the last one's content counts; every column
is a list of the same length.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
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


def call_reward(function: RewardFunction, completions: Sequence[Any], **columns: Sequence[Any]) -> list[float | None]:
    """Calls a user's reward function and checks what it gives.

    GradingError for a wrong number of rewards or a value that is neither a finite number nor None.
    """
    name = getattr(function, "__name__", repr(function))
    rewards = list(function(completions=completions, **columns))
    if len(rewards) != len(completions):
        raise GradingError(f"reward {name!r} gave {len(rewards)} values for {len(completions)} completions.")
    for i, value in enumerate(rewards):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise GradingError(
                f"reward {name!r} gave {value!r} for completion {i}; it must be a finite number or None."
            )
    return [None if value is None else float(value) for value in rewards]


def load_reward(reference: str) -> RewardFunction:
    """The function behind "package.module:name" or "path/to/file.py:name": the user's own code, run as such."""
    where, _, name = reference.rpartition(":")
    if not where or not name.isidentifier():
        raise GradingError(f"reward {reference!r} is no reference; write package.module:function or file.py:function.")
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        if spec is None or spec.loader is None or not Path(where).is_file():
            raise GradingError(f"reward file {where!r} doesn't exist.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise GradingError(f"reward {reference!r}: {error}. Is its package installed?") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise GradingError(f"reward {reference!r}: {where} has no function {name!r}.")
    return function  # type: ignore[no-any-return]
