"""`difficulty`: rows that are neither too easy nor too hard, by a model's pass rate or by a proxy for it."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.attempts import pass_rates
from posttrain.curate.selectors.choosing import SelectConfig, choose, described, tokens_ready
from posttrain.curate.selectors.order import Positions
from posttrain.curate.selectors.small import warn_of_hard_and_long
from posttrain.errors import DataError

WINDOWS: dict[str, tuple[float, float]] = {"pass_rate": (0.1, 0.9)}
PROXY_WINDOW = (0.4, 0.95)  # quantiles: the middle to high range, without the longest

BY_RATE = "selector 'difficulty' goes by pass rates"
BY_LENGTH = "selector 'difficulty' by length counts the student's tokens"

# What a formula is written with: relations, operators, and the commands of LaTeX.
_FORMULA = re.compile(
    r"[=<>≤≥≈]|(?<=[\w)\]}]) [-+*/^] (?=[\w(\[{\\])|(?<=[\d)\]}])[-+*/^]|[-+*/^](?=[\d(\\])|\\[A-Za-z]+"
)


class DifficultyConfig(SelectConfig):
    """Which measure, which part of it, and what comes first inside."""

    by: str = "pass_rate"
    """pass_rate (of the input `attempts`), length (of the response, in the student's tokens), complexity (how much of a
    response is formulas: relations, operators and LaTeX commands in it), or a column of numbers (extra.KEY)."""
    window: tuple[float, float] | None = None
    """Least and largest pass rate, [0.1, 0.9] by default; for the other measures quantiles of the rows, [0.4, 0.95]."""
    prefer: Literal["random", "hardest", "easiest"] = "random"
    """What the budget takes first inside the window."""

    @field_validator("window")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1] <= 1:
            raise ValueError("write [least, largest], both between 0 and 1")
        return value


def difficulty(rows: Rows, budget: int, config: DifficultyConfig, tools: Tools, seed: int) -> Decision:
    """The score is the measure. A row that nobody tried is no more fit than one outside the window."""
    measure = measured(rows, config, tools)
    low, high = config.window or WINDOWS.get(config.by, PROXY_WINDOW)
    if config.by != "pass_rate":
        low, high = (float(x) for x in np.quantile(measure, [low, high]))
    unfit = {}
    for i, value in enumerate(measure):
        if np.isnan(value):
            unfit[i] = "nobody has tried this problem"
        elif not low <= value <= high:
            unfit[i] = f"{config.by} below {low:.4g}" if value < low else f"{config.by} above {high:.4g}"
    fit = np.array([i for i in range(len(rows)) if i not in unfit], dtype=np.int64)
    order = arranged(fit, measure, config, seed)
    notes: dict[str, Any] = {"by": config.by, "window": [low, high], "fit": len(fit)}
    notes["distribution"] = described(measure)
    if config.prefer == "hardest":
        notes["warnings"] = warn_of_hard_and_long(tools, budget, "difficulty with prefer: hardest")
    return choose("difficulty", rows, order, budget, config, tools, score=measure, unfit=unfit, notes=notes)


def difficulty_ready(config: DifficultyConfig, tools: Tools) -> None:
    tokens_ready("difficulty", config, tools)
    if config.by == "pass_rate":
        tools.attempts(BY_RATE)
    if config.by == "length":
        tools.tokenizer(BY_LENGTH)


def measured(rows: Rows, config: DifficultyConfig, tools: Tools) -> NDArray[np.float64]:
    """The measure of every row, [n]; NaN only for a pass rate that nobody has measured."""
    if config.by == "pass_rate":
        return pass_rates(rows, tools.attempts(BY_RATE)).rate
    if config.by == "length":
        return tools.token_counts(rows.responses, BY_LENGTH).astype(np.float64)
    if config.by == "complexity":
        return np.array([float(complexity(text)) for text in rows.responses])
    return numbers(rows, config.by, "difficulty")


def numbers(rows: Rows, column: str, name: str) -> NDArray[np.float64]:
    """A column as finite numbers, [n]. DataError for anything else: a row without a score can't be ranked."""
    values = rows.column(column)
    found = np.array([float(v) if isinstance(v, int | float) else np.nan for v in values], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        first = values[int(bad[0])]
        raise DataError(
            f"selector '{name}': {len(bad):,} of {len(rows):,} rows have no finite number in {column!r}, the first is "
            f"row {rows.numbers[bad[0]]} ({first!r}). Drop them in a step before, or give them a score."
        )
    return found


def complexity(response: str) -> int:
    """Relations, operators between terms, and LaTeX commands."""
    return len(_FORMULA.findall(response))


def arranged(fit: Positions, measure: NDArray[np.float64], config: DifficultyConfig, seed: int) -> Positions:
    """`fit` in the order of preference; what is equally hard stands in a random order."""
    tie = np.random.default_rng(seed).random(len(fit))
    if config.prefer == "random":
        return fit[np.argsort(tie)]
    hardness = -measure[fit] if config.by == "pass_rate" else measure[fit]
    return fit[np.lexsort((tie, -hardness if config.prefer == "hardest" else hardness))]
