"""The `traces` stage: responses that a student will learn from."""

from __future__ import annotations

import random
from typing import Any, Literal

from pydantic import Field

from posttrain.config import Config
from posttrain.errors import DataError
from posttrain.forecast import SOLUTION_TOKENS, question_tokens
from posttrain.prompts import tagged, worked
from posttrain.records import Problem, Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Problems, Samples
from posttrain.traces.flaws import flawed


class TracesConfig(Config):
    teacher: Literal["reference", "flawed"] = "reference"
    """``reference``: the problems' own solutions. ``flawed``: the same, of which a share gets a wrong answer."""
    split: str = "train"
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many problems of the split."""
    flaw_rate: float = Field(default=0.2, ge=0, le=1)
    """Share of wrong solutions; only the flawed teacher has any."""
    format: Literal["solution", "r1_zero"] = "solution"
    """``solution``: the chain of thought with ``The answer is N.``; ``r1_zero``: with think and answer tags."""


def traces(config: TracesConfig, problems: Problems, work: Workspace) -> Samples:
    """One trace per problem, not yet graded: ``samples.parquet``."""
    chosen = problems.read(config.split)[: config.limit]
    samples = [_trace(config, problem, work) for problem in chosen]
    wrong = sum(bool(s.extra.get("flawed")) for s in samples)
    generations, _ = samples_to_tables(samples)
    work.write_table("samples.parquet", generations)
    work.summarise(traces=len(samples), teacher=config.teacher, **({"flawed": wrong} if wrong else {}))
    return Samples(work.dir)


def _trace(config: TracesConfig, problem: Problem, work: Workspace) -> Sample:
    if problem.solution is None:
        raise DataError(
            f"problem {problem.id} has no solution, which teacher '{config.teacher}' copies. Map a column to "
            "'solution', or take a dataset whose problems have one (synthetic, gsm8k)."
        )
    response = tagged(problem) if config.format == "r1_zero" else worked(problem)
    extra: dict[str, bool] = {}
    if config.teacher == "flawed" and random.Random(work.derive("flaw", problem.id)).random() < config.flaw_rate:
        wrong = flawed(problem, response, work.derive("slip", problem.id))
        if wrong is not None:
            response, extra = wrong, {"flawed": True}
    return Sample(
        problem_id=problem.id,
        index=0,
        question=problem.question,
        response=response,
        source=f"teacher:{config.teacher}",
        gold=problem.answer,
        finish_reason="stop",
        split=problem.split,
        extra=extra,
    )


def _forecast(config: TracesConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Copying a solution takes about 50 µs; known where the number of problems is."""
    told = inputs["problems"].facts
    rows = told.get(config.split)
    if rows is None:
        return {"dollars": 0.0, "makes": {}}
    rows = min(rows, config.limit or rows)
    tokens = question_tokens(told) + told.get("solution_tokens", SOLUTION_TOKENS)
    return {
        "seconds": 0.1 + 5e-5 * rows,
        "memory_bytes": 1e8 + 4000 * rows,
        "disk_bytes": 1e4 + 2.5 * tokens * rows,
        "dollars": 0.0,
        "makes": {"rows": rows, "tokens": tokens},
    }


traces.forecast = _forecast  # type: ignore[attr-defined]
