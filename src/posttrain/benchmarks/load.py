"""`get_benchmark`: a registered declaration becomes a Benchmark with its problems from the local mirror."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from posttrain.benchmarks.benchmark import Benchmark, first_by_hash, validate
from posttrain.benchmarks.declaration import Declaration
from posttrain.benchmarks.registry import BY_NAME
from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.grading import check_gold
from posttrain.records import Problem

MIRROR = "POSTTRAIN_DATA"


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
    problems = read_problems(declared.source, declared.split)
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
    if declared.shots_source is None:
        raise RecipeError(f"benchmark {declared.name!r} has no training problems to show. Set shots: 0.")
    solved = [p for p in read_problems(declared.shots_source, "train") if p.solution]
    return tuple(solved[:count])


def read_problems(source: str, split: str) -> list[Problem]:
    """The rows of ``<mirror>/<source>.jsonl`` as Problems of `split`."""
    path = mirror() / f"{source}.jsonl"
    if not path.exists():
        raise DataError(f"{path} is missing from the mirror. Fetch it with `posttrain fetch {source}`.")
    return [_problem(row, path, line, split) for line, row in _rows(path)]


def mirror() -> Path:
    """The folder of the local mirror: POSTTRAIN_DATA. DataError where it is unset or no folder."""
    given = os.environ.get(MIRROR)
    if not given:
        raise DataError(f"benchmarks are read from a local mirror, and {MIRROR} is not set. Set it to that folder.")
    folder = Path(given)
    if not folder.is_dir():
        raise DataError(f"{MIRROR} is {given}, which is no folder here. Make a mirror with `posttrain fetch`.")
    return folder


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number} is not JSON ({error}). Correct or delete that line.") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}: line {number} is not an object. Each line must be one JSON object.")
            yield number, row


def _problem(row: dict[str, Any], path: Path, line: int, split: str) -> Problem:
    for name in ("id", "problem"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{path}: line {line} has no text under {name!r}. Add it.")
    known = {"id", "problem", "answer", "solution", "choices", "subject", "level", "split"}
    return Problem(
        id=row["id"],
        question=row["problem"],
        answer=row.get("answer"),
        solution=row.get("solution"),
        choices=tuple(row["choices"]) if row.get("choices") else None,
        subject=row.get("subject"),
        level=row.get("level"),
        split=split,
        extra={k: v for k, v in row.items() if k not in known},
    )
