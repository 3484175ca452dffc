"""`get_benchmark`: a registered declaration becomes a Benchmark with its problems, from a mirror or the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from posttrain.benchmarks.benchmark import UNGRADED, Benchmark, first_by_hash, gold_check, validate
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.benchmarks.readers import checked_choices, plain
from posttrain.benchmarks.registry import BY_NAME
from posttrain.benchmarks.user import is_user_file, user_benchmark
from posttrain.data.config import DataConfig
from posttrain.data.load import load
from posttrain.data.rows import Row, read_rows
from posttrain.errors import DataError, RecipeError, did_you_mean
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
    """A registered benchmark, or the user's own in a YAML file, with its declaration's settings where None is given.

    RecipeError for an unknown name; DataError for a missing mirror, malformed rows (with the line), duplicate ids,
    golds that the grader can't read, or fewer examples than `shots`.
    """
    if is_user_file(name):
        return user_benchmark(name, template=template, grading=grading, system=system, shots=shots, limit=limit)
    declared = find(name)
    problems = read_problems(declared)
    fixed = declared.likelihood is not None or declared.grading == UNGRADED
    spec = declared.grading if fixed else grading or declared.grading
    usable = [p for p in problems if p.id not in declared.known_bad]
    validate(declared.name, usable, gold_check(spec))
    count = declared.shots if shots is None else shots
    if declared.likelihood is not None:
        template = None  # its prompt is part of what is measured
    return Benchmark(
        name=declared.name,
        version=declared.version,
        problems=first_by_hash(problems, limit),
        template=template or declared.template,
        sampling=declared.sampling,
        grading=spec,
        # Another template has its own words for what this one leaves to a system prompt.
        system=declared.system if system is None and template in (None, declared.template) else system,
        shots=_shots(declared, count),
        known_bad=frozenset(declared.known_bad),
        metrics=declared.metrics,
        likelihood=replace(declared.likelihood, shots=count) if declared.likelihood else None,
    )


def find(name: str) -> Declaration:
    """The declaration of a name or alias. RecipeError for an unknown one."""
    declared = BY_NAME.get(name)
    if declared is None:
        known = sorted({d.name for d in BY_NAME.values()})
        raise RecipeError(
            f"unknown benchmark {name!r}.{did_you_mean(name, BY_NAME)} Known: {', '.join(known)}, or the path of a "
            "YAML file."
        )
    return declared


def _shots(declared: Declaration, count: int) -> tuple[Problem, ...]:
    """The first `count` examples: the declaration's own, else solved training problems in file order."""
    if count == 0:
        return ()
    if declared.examples_file is not None:
        # All of them: each item shows those of its own subject.
        return tuple(checked_choices(p) for p in plain(_rows(declared, (declared.examples_file,)), declared.name))
    if declared.dataset is None and not declared.examples:
        raise RecipeError(f"benchmark {declared.name!r} has no training problems to show. Set shots: 0.")
    examples = declared.examples or tuple(p for p in _of_dataset(declared, "train") if p.solution)
    if len(examples) < count:
        raise RecipeError(f"benchmark {declared.name!r} has {len(examples)} examples to show, and shots is {count}.")
    return examples[:count]


def read_problems(declared: Declaration) -> list[Problem]:
    """The problems of a declaration: made, from its dataset, or from the mirror's files."""
    if declared.make is not None:
        return declared.make()
    if declared.dataset is not None:
        return _of_dataset(declared, declared.split)
    assert declared.read is not None, declared.name
    return declared.read(_rows(declared, declared.files), declared.name)


def _of_dataset(declared: Declaration, split: str) -> list[Problem]:
    assert declared.dataset is not None, declared.name
    return [p for p in load(DataConfig(dataset=declared.dataset)).problems if p.split == split]


def _rows(declared: Declaration, files: Sequence[MirrorFile]) -> list[Row]:
    names = " and ".join(file.name for file in files)
    how = f"{declared.obtain}, and put it there." if declared.obtain else f"They are from {declared.origin}."
    root = mirror_root()
    if root is None:
        raise DataError(
            f"benchmark {declared.name!r} is read from a local mirror, and POSTTRAIN_DATA is not set. Set it to the "
            f"folder that holds {names}. {how}"
        )
    rows = []
    for file in files:
        path = root / file.name
        if not path.is_file():
            raise DataError(f"benchmark {declared.name!r} is read from {path}, which does not exist. {how}")
        rows += read_rows(path)
    return rows
