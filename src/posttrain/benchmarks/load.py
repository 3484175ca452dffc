"""`get_benchmark`: a registered declaration becomes a Benchmark with its problems, from a mirror or the Hub."""

from __future__ import annotations

from functools import partial

from posttrain.benchmarks.benchmark import Benchmark, first_by_hash, validate
from posttrain.benchmarks.declaration import Declaration
from posttrain.benchmarks.registry import BY_NAME
from posttrain.data.columns import Columns, to_problems
from posttrain.data.config import DataConfig
from posttrain.data.load import load
from posttrain.data.rows import read_rows
from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.grading import check_gold
from posttrain.hub import mirror_root
from posttrain.records import Problem


def get_benchmark(
    name: str,
    *,
    template: str | None = None,
    grading: str | None = None,
    system: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
) -> Benchmark:
    """A registered benchmark, with its declaration's settings where None is given.

    RecipeError for an unknown name; DataError for a missing mirror, malformed rows (with the line), duplicate ids or
    golds that the grader can't read.
    """
    declared = BY_NAME.get(name)
    if declared is None:
        raise RecipeError(
            f"unknown benchmark {name!r}.{did_you_mean(name, BY_NAME)} Known: {', '.join(sorted(BY_NAME))}."
        )
    problems = read_problems(declared, declared.split)
    spec = grading or declared.grading
    usable = [p for p in problems if p.id not in declared.known_bad]
    validate(declared.name, usable, partial(check_gold, spec=spec))
    wanted = declared.shots if shots is None else shots
    return Benchmark(
        name=declared.name,
        version=declared.version,
        problems=first_by_hash(problems, limit),
        template=template or declared.template,
        sampling=declared.sampling,
        grading=spec,
        system=system,
        shots=_shots(declared, wanted),
        known_bad=declared.known_bad,
    )


def _shots(declared: Declaration, count: int) -> tuple[Problem, ...]:
    """The first `count` solved training problems, in file order."""
    if count == 0:
        return ()
    if declared.dataset is None:
        raise RecipeError(f"benchmark {declared.name!r} has no training problems to show. Set shots: 0.")
    solved = [p for p in read_problems(declared, "train") if p.solution]
    return tuple(solved[:count])


def read_problems(declared: Declaration, split: str) -> list[Problem]:
    """One split of a declaration's dataset, or the mirror's file of it."""
    if declared.dataset is not None:
        problems = load(DataConfig(dataset=declared.dataset)).problems
        return [p for p in problems if p.split == split]
    root = mirror_root()
    if root is None:
        raise DataError(
            f"benchmark {declared.name!r} is read from a local mirror, and POSTTRAIN_DATA is not set. Set it to the "
            f"folder that holds {declared.source}.jsonl."
        )
    rows = read_rows(root / f"{declared.source}.jsonl")
    return to_problems(rows, Columns(), prefix=declared.name, split=split)
