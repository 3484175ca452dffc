"""The user's own benchmark: a YAML file beside a file of problems.

name: capitals
problems: capitals.jsonl        # beside the YAML file: id, question, answer
grading: exact
system: Answer with one word.
sampling: {max_tokens: 16}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from posttrain.benchmarks.benchmark import Benchmark, first_by_hash, gold_check, validate
from posttrain.benchmarks.likelihood import Likelihood
from posttrain.benchmarks.readers import checked_choices, lettered
from posttrain.config import Config, load_yaml, parse
from posttrain.data.columns import Columns, to_problems
from posttrain.data.rows import read_rows
from posttrain.engines.base import Sampling
from posttrain.errors import RecipeError
from posttrain.prompts import get_template
from posttrain.records import Problem


class UserSampling(Config):
    """How answers are drawn; greedy where nothing is said."""

    n: int = Field(1, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    stop: tuple[str, ...] = ()


class UserBenchmark(Config):
    """What the YAML file may say."""

    name: str = Field(min_length=1)
    problems: Path
    """A jsonl, json, csv or parquet file; a relative path is read from the YAML file's folder."""
    columns: Columns = Columns()
    """Which column holds what, where the names are not the usual ones."""
    version: int = Field(1, ge=1)
    template: str = "chat"
    system: str | None = None
    grading: str | None = None
    """A grading spec; None = the template's. With `choice`, the choices are listed below the question by letter."""
    likelihood: Literal["letters", "texts"] | None = None
    """Score the choices by log-likelihood instead of asking for an answer: by their letters below the question, as
    MMLU does, or by their own texts, as ARC does."""
    intro: str = ""
    """With `likelihood`: stands before everything; {subject} is the item's."""
    examples: Path | None = None
    """A file of solved problems that `shots` are taken from, first ones first."""
    examples_by_subject: bool = False
    """With `likelihood`: show only examples of the item's own subject."""
    shots: int = Field(0, ge=0)
    sampling: UserSampling = UserSampling()
    metrics: tuple[str, ...] = ("accuracy",)
    known_bad: dict[str, str] = Field(default={})
    """id → why its gold is not to be trusted. They are scored like all others."""
    licence: str | None = None


def is_user_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def user_files(name: str) -> dict[str, Path]:
    """The files that a YAML file's benchmark is made of, itself included: their bytes count in an evaluation."""
    path = Path(name).expanduser()
    declared = _read(path)
    named = {"declaration": path, "problems": declared.problems, "examples": declared.examples}
    files = {key: path.parent / file if key != "declaration" else file for key, file in named.items() if file}
    return {key: file for key, file in files.items() if file.is_file()}


def user_benchmark(
    name: str,
    *,
    template: str | None,
    grading: str | None,
    system: str | None,
    shots: int | None,
    limit: int | None,
) -> Benchmark:
    """The benchmark of a YAML file, with its own settings where None is given.

    RecipeError for a wrong YAML file; DataError for wrong problems, as for registered benchmarks.
    """
    path = Path(name).expanduser()
    declared = _read(path)
    chosen = template or declared.template
    spec = grading or declared.grading or get_template(chosen).grading
    if declared.likelihood is not None:
        chosen, spec = "plain", "choice"
    problems = _problems(path.parent / declared.problems, declared)
    unknown = sorted(set(declared.known_bad) - {p.id for p in problems})
    if unknown:
        raise RecipeError(f"{path}: known_bad names {unknown[0]!r}, which is no problem's id. Correct or remove it.")
    if spec == "choice":
        problems = [lettered(p) if declared.likelihood is None else checked_choices(p) for p in problems]
    usable = [p for p in problems if p.id not in declared.known_bad]
    validate(declared.name, usable, gold_check(spec))
    count = declared.shots if shots is None else shots
    return Benchmark(
        name=declared.name,
        version=declared.version,
        problems=first_by_hash(problems, limit),
        template=chosen,
        sampling=Sampling(**declared.sampling.model_dump()),
        grading=spec,
        system=declared.system if system is None and template in (None, declared.template) else system,
        shots=_examples(path, declared, count),
        known_bad=frozenset(declared.known_bad),
        metrics=declared.metrics,
        likelihood=Likelihood(declared.likelihood, declared.intro, count, declared.examples_by_subject)
        if declared.likelihood
        else None,
    )


def _read(path: Path) -> UserBenchmark:
    if not path.is_file():
        raise RecipeError(f"there is no benchmark file {path} (looked from {Path.cwd()}). Check the path.")
    return parse(UserBenchmark, load_yaml(path), str(path))


def _problems(path: Path, declared: UserBenchmark) -> list[Problem]:
    return to_problems(read_rows(path), declared.columns, prefix=declared.name, split="test")


def _examples(path: Path, declared: UserBenchmark, count: int) -> tuple[Problem, ...]:
    if count == 0:
        return ()
    if declared.examples is None:
        raise RecipeError(f"{path}: shots is {count}, but there are no examples. Add examples: FILE with solutions.")
    if declared.likelihood is not None:
        solved = [checked_choices(p) for p in _problems(path.parent / declared.examples, declared)]
        return tuple(solved) if declared.examples_by_subject else tuple(solved[:count])
    solved = [p for p in _problems(path.parent / declared.examples, declared) if p.solution]
    if len(solved) < count:
        raise RecipeError(f"{path}: shots is {count}, but only {len(solved)} examples have a solution. Add more.")
    return tuple(solved[:count])
