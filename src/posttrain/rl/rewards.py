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


def load_functions(config: RewardConfig) -> dict[str, UserFunction]:
    """Component → function. Errors as those of `load_function`."""
    return {name: load_function(target) for name, target, _ in config.functions}


def load_function(target: str) -> UserFunction:
    """``file.py:name`` → the function. It is the user's own code and runs in the trainer's process.

    RecipeError where there is no such file or function, or where the file can't be imported.
    """
    file, sep, name = target.rpartition(":")
    path = Path(file)
    if not sep or not path.is_file():
        raise RecipeError(f"reward.function {target!r}: no such file. Write it as path/to/file.py:function.")
    spec = importlib.util.spec_from_file_location(f"_reward_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"reward.function {target!r}: {path} is no Python file. Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code does, SystemExit too
        raise RecipeError(
            f"reward.function {target!r}: {path} can't be imported: {type(error).__name__}: {error}. Mend it."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise RecipeError(f"reward.function {target!r}: {path} has no function {name!r}.")
    return function  # type: ignore[no-any-return]


def score(
    samples: Sequence[Sample],
    config: RewardConfig,
    functions: Mapping[str, UserFunction],
    more: Sequence[Mapping[str, float]] | None = None,
    problems: Mapping[str, Problem] | None = None,
) -> list[Reward]:
    """One Reward per sample, in order. `functions`: the user's, by component. `more`: further components of each, of
    weight 1 (overlong shaping, KL). `problems`, by id: their fields are columns for the user's functions.

    TrainingError where one of them raises, hangs or returns nonsense.
    """
    theirs: dict[str, list[float | None]] = {}
    if functions:
        columns = _columns(samples, problems or {})
        theirs = {name: _call(function, columns, len(samples), config) for name, function in functions.items()}
    rewards = []
    for i, sample in enumerate(samples):
        assert sample.verdict is not None, "rollouts are graded before they are rewarded"
        shaping = more[i] if more else {}
        parts = {"format": float(sample.verdict.format_ok), **shaping}
        if sample.verdict.correct is not None:
            parts["correct"] = float(sample.verdict.correct)
        own = {name: values[i] for name, values in theirs.items()}
        parts |= {name: value for name, value in own.items() if value is not None}
        undecided = (config.correct != 0 and sample.verdict.correct is None) or None in own.values()
        total = (
            config.correct * parts.get("correct", 0.0)
            + config.format * parts["format"]
            + sum(weight * parts.get(name, 0.0) for name, _, weight in config.functions)
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code does, SystemExit too
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
