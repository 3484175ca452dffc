"""Rows and tools for tests of single steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.config import Config, parse
from posttrain.curate.artifacts import read_problems, read_samples
from posttrain.curate.base import Decision, Reference
from posttrain.curate.filters import FILTERS
from posttrain.curate.rows import Rows
from posttrain.curate.tools import Toolbox
from posttrain.records import Problem, Sample, problems_to_table, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Problems, Samples, write_table


def trace(i: int, response: str = "The answer is 1.", **changes: Any) -> Sample:
    values = {"question": f"Question number {i}?", "gold": "1", "source": "teacher:toy", "finish_reason": "stop"}
    return Sample(**{"problem_id": f"p{i}", "index": 0, "response": response, **values, **changes})


def samples_of(folder: Path, samples: Sequence[Sample], name: str = "traces") -> Samples:
    generations, verdicts = samples_to_tables(samples)
    write_table(folder / name / "samples.parquet", generations)
    if len(verdicts):
        write_table(folder / name / "verdicts.parquet", verdicts)
    return Samples(folder / name, name=name)


def problems_of(folder: Path, problems: Sequence[Problem], name: str = "problems") -> Problems:
    write_table(folder / name / "problems.parquet", problems_to_table(problems))
    return Problems(folder / name, name=name)


class Room:
    """A folder to work in: rows from records, and steps with real tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = Workspace(folder / "work", quiet=True, seed=1)
        self.tools = Toolbox(self.work, student=None, held_out=None, max_batch=4)
        self._made = 0

    def rows(self, records: Sequence[Sample] | Sequence[Problem]) -> Rows:
        self._made += 1
        name = f"rows-{self._made}"
        if isinstance(records[0], Problem):
            return read_problems([problems_of(self.folder, records, name)])  # type: ignore[arg-type]
        return read_samples([samples_of(self.folder, records, name)], {})  # type: ignore[arg-type]

    def responses(self, *texts: str) -> Rows:
        return self.rows([trace(i, text) for i, text in enumerate(texts)])

    def questions(self, *texts: str) -> Rows:
        return self.rows([Problem(f"q{i}", text, "1") for i, text in enumerate(texts)])

    def filter(self, name: str, rows: Rows, **config: Any) -> Decision:
        """The decision of a filter, checked as the stage checks it."""
        entry = FILTERS[name]
        values: Config = parse(entry.config, config, "test")
        decision = entry.function(rows, values, self.tools)
        decision.check(len(rows), name)
        return decision

    def kept(self, name: str, rows: Rows, **config: Any) -> list[int]:
        return np.flatnonzero(self.filter(name, rows, **config).keep).tolist()

    def refer(self, name: str, *questions: str) -> None:
        """A benchmark of these questions."""
        problems = [Problem(f"{name}/{i}", text, "1") for i, text in enumerate(questions)]
        self.tools._references[name] = Reference(name, problems)
