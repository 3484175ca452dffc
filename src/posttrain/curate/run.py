"""Steps over rows, one after the other; what each decided is written down, so that an interrupted run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.base import Decision, Tools
from posttrain.curate.rows import Rows
from posttrain.curate.selectors.choosing import SelectConfig
from posttrain.curate.steps import Step
from posttrain.errors import DataError
from posttrain.records import Verdict
from posttrain.store import write_atomic, write_json


@dataclass(frozen=True, eq=False)
class Taken:
    """A step that was taken. numbers: [n], the rows that reached it. seconds: what it took when it was taken."""

    step: Step
    numbers: NDArray[np.int64]
    decision: Decision
    seconds: float


class NoRowsError(DataError):
    """Every row was dropped. `taken` are the steps that did it, the last one the one that left none."""

    def __init__(self, message: str, taken: Sequence[Taken]) -> None:
        super().__init__(message)
        self.taken = list(taken)


def prepare(steps: Sequence[Step], tools: Tools, rows: int) -> None:
    """Asks every step whether it can be had here, before the first one works. rows: how many come in.

    DataError for a budget that not even all of them could fill; RecipeError for what a step needs and is not given.
    """
    for step in steps:
        entry = step.filter if step.verb == "filter" else step.selector
        entry.prepare(step.config, tools)
        asked = step.config
        if not isinstance(asked, SelectConfig) or step.budget is None:
            continue
        if rows < step.budget and asked.fewer == "refuse" and asked.tokens is None:
            raise DataError(
                f"{step}: only {rows:,} rows come in, fewer than budget: {step.budget:,}. Lower the budget, give more "
                "rows, or say fewer: take."
            )


def take_steps(rows: Rows, steps: Sequence[Step], tools: Tools) -> tuple[Rows, list[Taken]]:
    """(the rows that are left, what every step decided). NoRowsError where a step leaves none."""
    taken: list[Taken] = []
    for step in steps:
        done = _stored(tools.state, step, rows)
        if done is None:
            started = time.monotonic()
            decision = _decide(step, rows, tools)
            decision.check(len(rows), str(step))
            done = Taken(step, rows.numbers, decision, round(time.monotonic() - started, 3))
            _store(tools.state, done)
        taken.append(done)
        kept = int(done.decision.keep.sum())
        tools.note(f"{step.label}: {kept:,} of {len(rows):,} rows kept ({done.seconds:.1f} s)")
        if kept == 0:
            raise NoRowsError(_none_left(done, [t.step for t in taken[:-1]]), taken)
        changed = rows.updated(responses=done.decision.responses, verdicts=done.decision.verdicts)
        rows = changed.take(done.decision.keep)
    return rows, taken


def _decide(step: Step, rows: Rows, tools: Tools) -> Decision:
    if step.verb == "filter":
        return step.filter.function(rows, step.config, tools)
    assert step.budget is not None
    own = step.config.seed if isinstance(step.config, SelectConfig) else None
    seed = tools.derive("select", step.label) if own is None else own
    decision = step.selector.function(rows, step.budget, step.config, tools, seed)
    assert decision.keep.sum() <= step.budget, f"{step}: kept {decision.keep.sum()}, and the budget is {step.budget}"
    return decision


def _none_left(done: Taken, before: Sequence[Step]) -> str:
    """Which step dropped all, why the first rows went, and how near the scores came."""
    decision = done.decision
    went = next(why for why in decision.reason if why)
    known = decision.score[~np.isnan(decision.score)]
    scores = ""
    if len(known) and decision.threshold is not None:
        scores = (
            f" Their scores go from {known.min():.4g} to {known.max():.4g}, the threshold is {decision.threshold:.4g}."
        )
    after = f" that {before[-1].label} had left" if before else ""
    return (
        f"no row is left: {done.step} dropped all {len(decision.keep):,} rows{after}; row {done.numbers[0]} for one: "
        f"{went}.{scores} Loosen that step or leave it out; the stage's ledger has the reason of every row."
    )


def _store(folder: Path, done: Taken) -> None:
    """The arrays, then the rest as JSON: the JSON's presence says that the step is whole."""
    decision = done.decision
    with write_atomic(folder / f"{done.step.label}.npz") as file:
        np.savez(file, numbers=done.numbers, keep=decision.keep, score=decision.score)
    write_json(
        folder / f"{done.step.label}.json",
        {
            "threshold": decision.threshold,
            "reason": decision.reason,
            "columns": {name: _plain(column) for name, column in decision.columns.items()},
            "notes": decision.notes,
            "responses": {str(i): text for i, text in decision.responses.items()},
            "verdicts": {
                str(i): [v.correct, v.format_ok, v.extracted, v.reason, v.isolation]
                for i, v in decision.verdicts.items()
            },
            "seconds": done.seconds,
        },
    )


def _stored(folder: Path, step: Step, rows: Rows) -> Taken | None:
    """What an earlier attempt had decided at this step; None where it had not come so far."""
    path = folder / f"{step.label}.json"
    if not path.exists():
        return None
    with np.load(folder / f"{step.label}.npz", allow_pickle=False) as arrays:
        numbers, keep, score = arrays["numbers"], arrays["keep"], arrays["score"]
    assert np.array_equal(numbers, rows.numbers), f"{step}: other rows than in the attempt before"
    rest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    decision = Decision(
        keep=keep,
        score=score,
        threshold=rest["threshold"],
        reason=tuple(rest["reason"]),
        columns=rest["columns"],
        notes=rest["notes"],
        responses={int(i): text for i, text in rest["responses"].items()},
        verdicts={int(i): Verdict(*values) for i, values in rest["verdicts"].items()},
    )
    return Taken(step, numbers, decision, rest["seconds"])


def _plain(column: Sequence[Any]) -> list[Any]:
    """JSON-able values, numpy's among them; NaN is nothing."""
    values = [value.item() if isinstance(value, np.generic) else value for value in column]
    return [None if isinstance(value, float) and value != value else value for value in values]
