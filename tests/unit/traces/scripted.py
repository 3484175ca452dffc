"""Problems, and teachers that a scripted provider plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.scripted_provider import ScriptedProvider

from posttrain.config import parse
from posttrain.records import Problem, Sample, problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Problems, write_table
from posttrain.traces.config import TracesConfig
from posttrain.traces.stages import traces

KEY = "planted-key-8d1f6c20"
PRICES = {"input": 1.0, "output": 2.0}


def problem(i: int, **changes: Any) -> Problem:
    """The provider answers with the question's length, so that is the gold."""
    question = f"How many eggs has hen {i}{'?' * (1 + i % 3)}"
    return Problem(f"p{i}", question, str(len(question)), split="train", **changes)


def some_problems(folder: Path, problems: list[Problem] | int) -> Problems:
    given = [problem(i) for i in range(problems)] if isinstance(problems, int) else problems
    write_table(folder / "problems" / "problems.parquet", problems_to_table(given))
    return Problems(folder / "problems")


def teacher(provider: ScriptedProvider, **changes: Any) -> dict[str, Any]:
    """For `define`."""
    return {"base_url": provider.url, "model": "scripted", "prices": PRICES, **changes}


def ask(folder: Path, given: Problems, name: str = "traces", *, quiet: bool = True, **config: Any) -> list[Sample]:
    """The traces of the stage in folder/name, made in this process."""
    work = Workspace(folder / name, quiet=quiet)
    with work.metrics, work.closing:
        return list(traces(parse(TracesConfig, config, "stage 'traces'"), given, work).read())
