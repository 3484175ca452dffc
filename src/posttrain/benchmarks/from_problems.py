"""The user's own problems, or the synthetic task's, as a benchmark."""

from __future__ import annotations

from posttrain.benchmarks.benchmark import Benchmark, first_by_hash, gold_check, validate
from posttrain.engines.base import Sampling
from posttrain.prompts import get_template
from posttrain.store import Problems

GREEDY = Sampling(temperature=0.0, max_tokens=256)


def from_problems(
    source: Problems,
    split: str = "test",
    *,
    template: str = "chat",
    sampling: Sampling = GREEDY,
    grading: str | None = None,
    system: str | None = None,
    shots: int = 0,
    limit: int | None = None,
) -> Benchmark:
    """One split of a Problems artifact as a benchmark named after both.

    grading: None = the template's. shots: the first `shots` solved problems of the train split.
    DataError for an empty split, duplicate ids or golds that the grader can't read.
    """
    problems = source.read(split)
    name = f"{source.label}/{split}"
    spec = grading or get_template(template).grading
    validate(name, problems, gold_check(spec))
    shown = [p for p in source.read("train") if p.solution][:shots] if shots else []
    return Benchmark(
        name=name,
        version=1,
        problems=first_by_hash(problems, limit),
        template=template,
        sampling=sampling,
        grading=spec,
        system=system,
        shots=tuple(shown),
    )
