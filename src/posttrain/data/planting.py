"""The `plant` stage: traces with known defects among them, so that what curation finds can be held against the truth.

What was planted stands in each row's `extra.planted`, which no filter and no selector looks at:

copy           the question and the answer of another row, word for word
near_copy      the same with other capitals, white space and punctuation, and a phrase in front
contaminated   a test problem with its solution
detour         checks and second ways between the steps of a correct trace, which its answer doesn't need
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from posttrain.config import Config
from posttrain.errors import DataError
from posttrain.prompts import worked
from posttrain.records import Problem, Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Problems, Samples

Defect = Literal["copy", "near_copy", "contaminated", "detour"]

_SUM = re.compile(r"^(\d+) ([+*]) (\d+) = (\d+)\.$")
_DIFFERENCE = re.compile(r"^(\d+) ([-/]) (\d+) = (\d+)\.$")
_BACK = {"+": "-", "*": "/", "-": "+", "/": "*"}
_BEFORE = ("Question: ", "Please solve this. ", "A problem: ")


class PlantConfig(Config):
    copies: float = Field(0.1, ge=0, le=1)
    """Exact copies, as a share of the rows that come in."""
    near_copies: float = Field(0.1, ge=0, le=1)
    contaminated: float = Field(0.05, ge=0, le=1)
    """Test problems, at most as many as there are."""
    detours: float = Field(0.0, ge=0, le=1)
    """Share of the rows whose traces get detours."""
    split: str = "test"
    """Which problems are planted as contamination."""


def plant(config: PlantConfig, traces: Samples, problems: Problems, work: Workspace) -> Samples:
    """The traces, some with detours, among copies of them and problems of the test split; in a random order."""
    rng = random.Random(work.derive("plant"))
    rows = [_wandering(row, rng) if rng.random() < config.detours else row for row in traces.read()]
    if not rows:
        raise DataError(f"{traces.label} has no rows to plant anything among.")
    tested = problems.read(config.split)
    copied = rng.sample(rows, round(config.copies * len(rows)))
    edited = rng.sample(rows, round(config.near_copies * len(rows)))
    leaked = rng.sample(tested, min(len(tested), round(config.contaminated * len(rows))))
    made = [
        *rows,
        *(_marked(row, "copy", f"copy-{i}") for i, row in enumerate(copied)),
        *(
            _marked(replace(row, question=edit(row.question, rng)), "near_copy", f"near-{i}")
            for i, row in enumerate(edited)
        ),
        *(_leak(problem) for problem in leaked),
    ]
    rng.shuffle(made)
    work.write_table("samples.parquet", samples_to_tables(made)[0])
    work.summarise(rows=len(made), planted=dict(Counter(str(s.extra.get("planted", "none")) for s in made)))
    return Samples(work.dir)


def edit(question: str, rng: random.Random) -> str:
    """The same question in other dress: its words and numbers stand in the same order."""
    text = question
    if rng.random() < 0.5:
        text = text.replace(". ", ".  ").replace(",", "")
    if rng.random() < 0.5:
        text = text[:1].lower() + text[1:]
    return rng.choice(_BEFORE) + text


def detours(lines: Sequence[str], rng: random.Random) -> list[str]:
    """The lines of a worked solution with a check behind each equation, right and needless."""
    found: list[str] = []
    for line in lines:
        found.append(line)
        equation = _SUM.match(line) or _DIFFERENCE.match(line)
        if equation is None:
            continue
        a, sign, b, c = equation.groups()
        back = f"{c} {_BACK[sign]} {b} = {a}."
        found.append(
            rng.choice([f"Wait, let me check: {back}", f"Alternatively, {back}", f"Let me double-check. {back}"])
        )
    return found


def _wandering(row: Sample, rng: random.Random) -> Sample:
    lines = row.response.split("\n")
    longer = detours(lines, rng)
    if len(longer) == len(lines):
        return row
    return replace(row, response="\n".join(longer), extra={**row.extra, "planted": "detour"})


def _marked(row: Sample, what: Defect, suffix: str) -> Sample:
    return replace(row, problem_id=f"{row.problem_id}/{suffix}", extra={**row.extra, "planted": what})


def _leak(problem: Problem) -> Sample:
    return Sample(
        problem_id=f"{problem.id}/leaked",
        index=0,
        question=problem.question,
        response=worked(problem),
        source="planted",
        gold=problem.answer,
        finish_reason="stop",
        split="train",
        extra={"planted": "contaminated"},
    )
