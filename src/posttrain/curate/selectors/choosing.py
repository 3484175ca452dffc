"""What all selectors share: their budget, the student's tokens, and the Decision that an order makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.config import Config
from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.order import Positions, reach
from posttrain.errors import DataError


class SelectConfig(Config):
    """What every selector takes beside its budget of rows."""

    seed: int | None = Field(None, ge=0)
    """Of the draw. None = from the stage's seed and this step's place."""
    tokens: int | None = Field(None, ge=1)
    """At most so many of the student's tokens in all, questions and responses: what is reached first ends it."""
    fewer: Literal["refuse", "take"] = "refuse"
    """What to do where fewer rows can be taken than the budget asks for."""


def row_lengths(rows: Rows, tools: Tools, asks: str) -> NDArray[np.int64]:
    """Tokens of question and response, [n]."""
    return tools.token_counts(rows.questions, asks) + tools.token_counts(rows.responses, asks)


def choose(
    name: str,
    rows: Rows,
    order: Positions,
    budget: int,
    config: SelectConfig,
    tools: Tools,
    *,
    score: NDArray[np.float64] | None = None,
    unfit: Mapping[int, str] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    notes: Mapping[str, Any] | None = None,
    responses: Mapping[int, str] | None = None,
    lengths: NDArray[np.int64] | None = None,
) -> Decision:
    """The Decision that keeps as much of `order` as the budget allows.

    unfit: why a row is not in the order at all. lengths: tokens of the rows [n], where somebody has counted them.
    DataError where the order ends before the budget does, unless that is allowed, and where nothing is kept.
    """
    if config.tokens is not None and lengths is None:
        lengths = row_lengths(rows, tools, f"selector '{name}' has a budget of the student's tokens")
    refuse_too_few(name, rows, order, budget, config, lengths, unfit or {})
    taken = reach(order, budget, config.tokens, lengths)
    if len(taken) == 0:
        raise DataError(
            f"selector '{name}' keeps no row: the first alone has more than tokens: {config.tokens:,}. Raise it."
            if len(order)
            else f"selector '{name}' keeps no row of {len(rows):,}{_why(unfit or {})}. Loosen it, or add rows."
        )
    keep = np.zeros(len(rows), dtype=np.bool_)
    keep[taken] = True
    over = f"beyond the budget of {budget:,} rows"
    if config.tokens is not None and len(taken) < budget:
        over = f"beyond the budget of {config.tokens:,} tokens"
    reason = tuple("" if kept else (unfit or {}).get(i, over) for i, kept in enumerate(keep))
    spent_tokens = {} if lengths is None else {"tokens": int(lengths[taken].sum())}
    return Decision(
        keep=keep,
        score=np.full(len(rows), np.nan) if score is None else score,
        threshold=None,
        reason=reason,
        columns=columns or {},
        notes={**spent_tokens, **(notes or {})},
        responses={i: text for i, text in (responses or {}).items() if keep[i]},
    )


def refuse_too_few(
    name: str,
    rows: Rows,
    order: Positions,
    budget: int,
    config: SelectConfig,
    lengths: NDArray[np.int64] | None,
    unfit: Mapping[int, str],
) -> None:
    """DataError where all of `order` is less than the budget, of rows and of tokens, unless that is allowed."""
    if config.fewer == "take" or len(order) >= budget:
        return
    asked = f"budget: {budget:,} rows"
    if config.tokens is not None:
        assert lengths is not None
        spent = int(lengths[order].sum())
        if spent >= config.tokens:
            return
        asked += f" or tokens: {config.tokens:,} (they have {spent:,})"
    loosen = ", loosen the selector" if unfit else ""
    raise DataError(
        f"selector '{name}' can take {len(order):,} of the {len(rows):,} rows that reach it{_why(unfit)}, fewer than "
        f"{asked}. Lower the budget{loosen} or the steps before it, or say fewer: take."
    )


def _why(unfit: Mapping[int, str]) -> str:
    """The commonest reason why rows are out of the question, with its number."""
    if not unfit:
        return ""
    commonest, _ = Counter(unfit.values()).most_common(1)[0]
    return f" ({len(unfit):,} are unfit, e.g.: {commonest})"


def described(values: NDArray[np.float64]) -> dict[str, float]:
    """Least, quartiles and largest of what is a number, for notes."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    names = ("least", "quarter", "middle", "three_quarters", "largest")
    return {k: float(v) for k, v in zip(names, np.quantile(known, [0, 0.25, 0.5, 0.75, 1]), strict=True)}


def tokens_ready(name: str, config: SelectConfig, tools: Tools) -> None:
    """Raises before any work where a budget of tokens can't be counted."""
    if config.tokens is not None:
        tools.tokenizer(f"selector '{name}' has a budget of the student's tokens")
