"""Teachers that copy: the problems' own solutions, right or with a known share of wrong ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from posttrain.errors import DataError
from posttrain.prompts import tagged, worked
from posttrain.records import Problem, Sample, samples_to_tables
from posttrain.traces.flaws import flawed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from posttrain.stage import Workspace
    from posttrain.traces.config import TracesConfig


def copy_solutions(config: TracesConfig, teacher: str, chosen: Sequence[Problem], work: Workspace) -> None:
    """One trace per problem, not graded: ``samples.parquet``. DataError for a problem without a solution."""
    samples = [_trace(config, teacher, problem, work) for problem in chosen]
    wrong = sum(bool(s.extra.get("flawed")) for s in samples)
    generations, _ = samples_to_tables(samples)
    work.write_table("samples.parquet", generations)
    work.summarise(traces=len(samples), teacher=teacher, **({"flawed": wrong} if wrong else {}))


def _trace(config: TracesConfig, teacher: str, problem: Problem, work: Workspace) -> Sample:
    need_solution(problem, teacher)
    response = tagged(problem) if config.format == "r1_zero" else worked(problem)
    extra: dict[str, bool] = {}
    wrong = slipped(problem, response, config.flaw_rate, work) if teacher == "flawed" else None
    if wrong is not None:
        response, extra = wrong, {"flawed": True}
    return Sample(
        problem_id=problem.id,
        index=0,
        question=problem.question,
        response=response,
        source=f"teacher:{teacher}",
        gold=problem.answer,
        finish_reason="stop",
        split=problem.split,
        extra=extra,
    )


def slipped(problem: Problem, response: str, rate: float, work: Workspace, *sample: int) -> str | None:
    """`response` with a wrong answer, for a seeded share `rate` of the problems (and samples); None for the others."""
    if random.Random(work.derive("flaw", problem.id, *sample)).random() >= rate:
        return None
    return flawed(problem, response, work.derive("slip", problem.id, *sample))


def need_solution(problem: Problem, teacher: str) -> None:
    """DataError where a problem has no solution to copy."""
    if problem.solution is None:
        raise DataError(
            f"problem {problem.id} has no solution, which teacher '{teacher}' copies. Map a column to "
            "'solution', or take a dataset whose problems have one (synthetic, gsm8k)."
        )
