"""From verdicts (and a user's function) to one reward per rollout, with every component kept apart.

An undecided verdict is no reward at all: the rollout leaves the loss, it is not wrong.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import inspect
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import RecipeError, TrainingError
from posttrain.records import Problem, Sample
from posttrain.rl.config import RewardConfig

UserFunction = Callable[..., Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Reward:
    """`total` None = undecided. `parts` are unweighted."""

    total: float | None
    parts: dict[str, float]


def load_function(target: str) -> UserFunction:
    """``file.py:name`` → the function. It is the user's own code and runs in the trainer's process."""
    file, sep, name = target.rpartition(":")
    path = Path(file)
    if not sep or not path.is_file():
        raise RecipeError(f"reward.function {target!r}: no such file. Write it as path/to/file.py:function.")
    spec = importlib.util.spec_from_file_location(f"_reward_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise RecipeError(f"reward.function {target!r}: {path} has no function {name!r}.")
    return function  # type: ignore[no-any-return]


def score(
    samples: Sequence[Sample],
    config: RewardConfig,
    function: UserFunction | None,
    more: Sequence[Mapping[str, float]] | None = None,
    problems: Mapping[str, Problem] | None = None,
) -> list[Reward]:
    """One Reward per sample, in order. `more`: further components of each, of weight 1 (overlong shaping, KL).
    `problems`, by id: their fields are columns for the user's function.

    TrainingError where the user's function raises, hangs or returns nonsense.
    """
    theirs: Sequence[float | None] = [0.0] * len(samples)
    if function:
        theirs = _call(function, _columns(samples, problems or {}), len(samples), config)
    rewards = []
    for i, (sample, extra) in enumerate(zip(samples, theirs, strict=True)):
        assert sample.verdict is not None, "rollouts are graded before they are rewarded"
        shaping = more[i] if more else {}
        parts = {"format": float(sample.verdict.format_ok), **shaping}
        if sample.verdict.correct is not None:
            parts["correct"] = float(sample.verdict.correct)
        if function and extra is not None:
            parts["function"] = float(extra)
        undecided = (config.correct != 0 and sample.verdict.correct is None) or extra is None
        total = (
            config.correct * parts.get("correct", 0.0)
            + config.format * parts["format"]
            + config.function_weight * parts.get("function", 0.0)
            + sum(shaping.values())
        )
        rewards.append(Reward(None if undecided else total, parts))
    return rewards


def _columns(samples: Sequence[Sample], problems: Mapping[str, Problem]) -> dict[str, list[Any]]:
    """What TRL's trainer hands to a reward function: prompts, completions, completion_ids, and each column of the data
    (of a problem: its fields, and whatever the source gave beside)."""
    columns: dict[str, list[Any]] = {
        "prompts": [s.question for s in samples],
        "completions": [s.response for s in samples],
        "completion_ids": [list(s.token_ids or ()) for s in samples],
        "answer": [s.gold for s in samples],
    }
    found = [problems.get(s.problem_id) for s in samples]
    for name in ("id", "solution", "choices", "subject", "level"):
        columns[name] = [getattr(p, name, None) for p in found]
    for name in sorted({key for p in found if p is not None for key in p.extra} - columns.keys()):
        columns[name] = [None if p is None else p.extra.get(name) for p in found]
    return columns


def _accepted(function: UserFunction, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns that the function names, or all of them where it takes any keyword."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return columns
    named = {p.name for p in parameters}
    return {name: values for name, values in columns.items() if name in named}


def _call(
    function: UserFunction, columns: dict[str, list[Any]], count: int, config: RewardConfig
) -> list[float | None]:
    """Calls f(prompts=…, completions=…, …) -> list of floats (TRL's signature), with a time limit."""
    result: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def work() -> None:
        try:
            result.set_result(function(**_accepted(function, columns)))
        except BaseException as error:
            result.set_exception(error)

    # A daemon thread: one that hangs doesn't keep the process from ending with the message below.
    threading.Thread(target=work, daemon=True, name="reward").start()
    name = getattr(function, "__name__", "the reward function")
    try:
        values = result.result(timeout=config.timeout)
    except concurrent.futures.TimeoutError:
        raise TrainingError(
            f"reward function {name!r} did not return within {config.timeout:g} s for {count} rollouts. No "
            "weight was touched. Make it faster or raise reward.timeout, and run again to continue."
        ) from None
    except Exception as error:
        raise TrainingError(
            f"reward function {name!r} raised {type(error).__name__}: {error}. No weight was touched. Fix it and run "
            "again to continue."
        ) from error
    return _checked(values, count, name)


def _checked(values: Any, expected: int, name: str) -> list[float | None]:
    try:
        found = [None if v is None else float(v) for v in values]
    except (TypeError, ValueError):
        raise TrainingError(
            f"reward function {name!r} returned {values!r}; it must return a list of numbers."
        ) from None
    if len(found) != expected:
        raise TrainingError(
            f"reward function {name!r} returned {len(found)} rewards for {expected} rollouts. Return one each."
        )
    for i, value in enumerate(found):
        if value is not None and not math.isfinite(value):
            raise TrainingError(
                f"reward function {name!r} returned {value} for rollout {i}. Return a finite number, or None to leave "
                "the rollout out."
            )
    return found
