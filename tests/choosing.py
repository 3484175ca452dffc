"""Rows and tools for tests of selectors: tokens are words, embeddings are given, nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.base import Decision, Reference
from posttrain.curate.rows import Rows
from posttrain.curate.steps import read_steps
from posttrain.engines.base import Engine
from posttrain.errors import RecipeError
from posttrain.grading import grade_many
from posttrain.records import Problem, Sample, Verdict, samples_to_tables
from posttrain.tracking import Progress

RIGHT, WRONG = Verdict(True, True, "1", "correct"), Verdict(False, True, "2", "wrong")


def row(
    id: str,
    question: str = "",
    response: str = "The answer is 1.",
    *,
    gold: str | None = "1",
    verdict: Verdict | None = None,
    cut: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> Sample:
    finish = "length" if cut else "stop"
    text = question or f"question {id}?"
    return Sample(id, 0, text, response, "teacher", gold, finish_reason=finish, verdict=verdict, extra=extra or {})


def rows_of(
    samples: Sequence[Sample],
    *,
    datasets: Sequence[str] | None = None,
    subjects: Sequence[str | None] | None = None,
) -> Rows:
    return Rows(
        kind="samples",
        numbers=np.arange(len(samples)),
        ids=[s.problem_id for s in samples],
        questions=[s.question for s in samples],
        responses=[s.response for s in samples],
        golds=[s.gold for s in samples],
        subjects=subjects or [None] * len(samples),
        levels=[None] * len(samples),
        splits=["train"] * len(samples),
        cut=[s.truncated for s in samples],
        datasets=datasets or ["traces"] * len(samples),
        extras=[s.extra for s in samples],
        verdicts=[s.verdict for s in samples],
        table=samples_to_tables(samples)[0],
    )


def many(n: int, **given: Any) -> Rows:
    """n rows that differ in their numbers only."""
    return rows_of([row(f"p{i}", **given) for i in range(n)])


def tries(problem: str, solved: int, of: int, response: str = "right") -> list[Sample]:
    """`of` graded attempts at a problem, so many of which are right."""
    made = row(problem, response=response)
    return [replace(made, index=i, verdict=RIGHT if i < solved else WRONG) for i in range(of)]


class Words:
    """Tools whose tokens are words, and that remember what was said."""

    def __init__(
        self,
        folder: Path,
        *,
        attempts: Sequence[Sample] | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
        parameters: int | None = None,
        engine: Engine | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.state = folder
        self.said: list[str] = []
        self._attempts, self._vectors, self._parameters = attempts, vectors, parameters
        self._engine, self._tokenizer = engine, tokenizer

    def embed(self, texts: Sequence[str], model: str) -> NDArray[np.float32]:
        assert self._vectors is not None
        found = np.array([self._vectors[text] for text in texts], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def tokenizer(self, asks: str) -> Any:
        return self._tokenizer

    def token_counts(self, texts: Sequence[str], asks: str) -> NDArray[np.int64]:
        if self._tokenizer is not None:
            return np.array([len(self._tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts], np.int64)
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def student_parameters(self) -> int | None:
        return self._parameters

    def attempts(self, asks: str) -> Sequence[Sample]:
        if self._attempts is None:
            raise RecipeError(f"{asks} needs 'attempts'. Add attempts: SAMPLES.")
        return self._attempts

    def engine(self, asks: str) -> Engine:
        assert self._engine is not None
        return self._engine

    def grade(self, items: Sequence[tuple[Problem, str, bool]], spec: str) -> list[Verdict]:
        return grade_many(items, spec)

    def references(self, names: Sequence[str], asks: str) -> list[Reference]:
        return []

    def derive(self, purpose: str, *index: int | str) -> int:
        return 0

    def progress(self, total: int | None, label: str, unit: str = "rows") -> Progress:
        return Progress(total, label, unit, quiet=True)

    def note(self, message: str) -> None:
        self.said.append(message)


def select(rows: Rows, tools: Words, *, seed: int = 0, **values: Any) -> Decision:
    """What a step ``{select: NAME, budget: N, …}`` decides, checked as the stage checks it."""
    (step,) = read_steps([values])
    assert step.budget is not None
    step.selector.prepare(step.config, tools)
    decision = step.selector.function(rows, step.budget, step.config, tools, seed)
    decision.check(len(rows), str(step))
    assert decision.keep.sum() <= step.budget
    return decision


def kept(rows: Rows, decision: Decision) -> list[str]:
    return [id for id, keep in zip(rows.ids, decision.keep, strict=True) if keep]
