"""How much each step of a trace matters to its answer, measured by a model (PIR, LIMOPro, arXiv 2505.19187).

PIR(step) = log( PPL(answer | question, trace without the step) / PPL(answer | question, trace) ). The perplexity of an
answer of T tokens is exp of their mean negative log-likelihood, so PIR is the difference of two such means, in nats per
token. A step that the answer leans on has a large one; near 0 the answer is as likely without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain.curate.selectors.reasoning import FUNCTIONAL, Kind, Parts
from posttrain.errors import DataError

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.prompts import Template


@dataclass(frozen=True, slots=True)
class Asked:
    """A row to be measured: its number, its question, its parts."""

    row: int
    question: str
    parts: Parts

    @property
    def functional(self) -> list[int]:
        """Numbers of the steps that may be cut."""
        return [i for i, step in enumerate(self.parts.steps) if step.functional]


@dataclass(frozen=True, slots=True)
class Scored:
    """PIR of the functional steps of a row, by step number."""

    row: int
    importance: dict[int, float]


def answer_nll(engine: Engine, contexts: Sequence[Sequence[int]], answer: Sequence[int]) -> list[float]:
    """Mean negative log-likelihood of `answer` after each context, in nats per token."""
    sequences = [[*context, *answer] for context in contexts]
    return [-sum(scores[-len(answer) :]) / len(answer) for scores in engine.score(sequences)]


def context_ids(asked: Asked, cut: frozenset[int], template: Template, tokenizer: Any) -> list[int]:
    """Ids of everything before the answer. Trace and answer are tokenised apart, so that every context is followed by
    the same answer tokens."""
    trace = template.response_ids(asked.parts.trace(cut), tokenizer)[:-1]
    return [*template.prompt_ids(asked.question, tokenizer), *trace]


def importance(engine: Engine, asked: Asked, template: Template, tokenizer: Any) -> Scored:
    """PIR of every functional step of one row. DataError where there is no answer to score, or the student
    gives it no finite likelihood."""
    answer = template.response_ids(asked.parts.answer, tokenizer)[:-1]
    if not answer:
        raise DataError(
            f"row {asked.row} of those that reach this step has no final answer to score. Drop rows without one in a "
            "step before."
        )
    cuts = [frozenset[int](), *(frozenset([i]) for i in asked.functional)]
    found = answer_nll(engine, [context_ids(asked, c, template, tokenizer) for c in cuts], answer)
    if not np.isfinite(found).all():
        raise DataError(
            f"the student gives the answer of row {asked.row} of those that reach this step no finite likelihood "
            "(NaN), so its steps have no score. The weights are damaged or overflow: take another checkpoint."
        )
    whole, *without = found
    return Scored(asked.row, {i: nll - whole for i, nll in zip(asked.functional, without, strict=True)})


def importances(
    engine: Engine, rows: Sequence[Asked], template: Template, tokenizer: Any, journal: Path
) -> Iterator[Scored]:
    """`importance` of each row, in order. Each is written to `journal` as it comes, and read from it after an
    interruption; a row without functional steps costs nothing."""
    known = _read(journal)
    with journal.open("a", encoding="utf-8") as file:
        for asked in rows:
            if asked.row in known:
                yield known[asked.row]
            elif not asked.functional:
                yield Scored(asked.row, {})
            else:
                found = importance(engine, asked, template, tokenizer)
                file.write(json.dumps([found.row, {str(i): v for i, v in found.importance.items()}]) + "\n")
                file.flush()
                yield found


def _read(journal: Path) -> dict[int, Scored]:
    """What an interrupted attempt had measured; its last line may be torn."""
    if not journal.exists():
        return {}
    text = journal.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1]
    if lines != text:
        journal.write_text(lines, encoding="utf-8")
    found = {}
    for line in lines.splitlines():
        row, values = json.loads(line)
        found[row] = Scored(row, {int(i): v for i, v in values.items()})
    return found


def thresholds(rows: Sequence[Asked], scored: Sequence[Scored], ratio: float) -> dict[Kind, float]:
    """For each class the importance at and below which `ratio` of its steps, over all rows, lie; -inf for none."""
    values: dict[Kind, list[float]] = {kind: [] for kind in FUNCTIONAL}
    for asked, found in zip(rows, scored, strict=True):
        for i, value in found.importance.items():
            values[asked.parts.steps[i].kind].append(value)
    limits: dict[Kind, float] = {}
    for kind, some in values.items():
        count = int(np.floor(ratio * len(some) + 1e-9))
        limits[kind] = sorted(some)[count - 1] if count else -np.inf
    return limits


def least_important(asked: Asked, scored: Scored, limits: dict[Kind, float]) -> frozenset[int]:
    """Numbers of the steps to cut: functional, and no more important than their class's limit."""
    steps = asked.parts.steps
    return frozenset(i for i, value in scored.importance.items() if value <= limits[steps[i].kind])


def by_lot(scored: Sequence[Scored], rng: np.random.Generator) -> list[Scored]:
    """The control: the same steps, with an importance that is drawn and not measured. `thresholds` then cuts as many
    of each class over all rows; which ones, and of which rows, is chance."""
    return [
        Scored(found.row, dict(zip(found.importance, rng.random(len(found.importance)).tolist(), strict=True)))
        for found in scored
    ]
