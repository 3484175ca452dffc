"""The `plant` stage: the defects that it says it planted are there, and nothing else changed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.contamination import tokens
from posttrain.data.planting import detours, edit
from posttrain.data.synthetic import problems
from posttrain.errors import DataError
from posttrain.grading import grade
from posttrain.pipeline import run_stage
from posttrain.records import Sample, samples_to_tables
from posttrain.store import Samples, write_table


def planted(folder: Path, **config: Any) -> tuple[list[Sample], list[Sample], list[str]]:
    """(rows that came in, rows that came out, test questions)."""
    asked = run_stage(
        "data",
        {"dataset": "synthetic", "train": 200, "validation": 0, "test": 30, "levels": [2]},
        {},
        folder / "problems",
        quiet=True,
    )
    traces = run_stage("traces", {}, {"problems": asked}, folder / "traces", quiet=True)
    made = run_stage("plant", config, {"traces": traces, "problems": asked}, folder / "planted", quiet=True, seed=3)
    assert isinstance(traces, Samples)
    assert isinstance(made, Samples)
    return list(traces.read()), list(made.read()), [p.question for p in asked.read("test")]  # type: ignore[attr-defined]


def test_each_defect_is_there_as_often_as_asked_and_marked(tmp_path: Path) -> None:
    before, after, tested = planted(tmp_path, copies=0.1, near_copies=0.05, contaminated=0.1, detours=0.5)
    by_id = {s.problem_id: s for s in after}
    assert len(by_id) == len(after) == 200 + 20 + 10 + 20
    kinds = Counter(s.extra.get("planted", "none") for s in after)
    assert (kinds["copy"], kinds["near_copy"], kinds["contaminated"]) == (20, 10, 20)
    assert 70 <= kinds["detour"] <= 130
    for sample in after:
        original = by_id.get(sample.problem_id.rpartition("/")[0])
        match sample.extra.get("planted"):
            case "copy":
                assert original is not None
                assert (sample.question, sample.response) == (original.question, original.response)
            case "near_copy":
                assert original is not None
                assert sample.question != original.question
                words = tokens(sample.question)
                inner = tokens(original.question)
                assert any(words[i : i + len(inner)] == inner for i in range(len(words)))
            case "contaminated":
                assert sample.question in tested
    unchanged = {s.problem_id: s for s in before}
    assert all(by_id[i].question == s.question for i, s in unchanged.items())
    assert [s.problem_id for s in after[:200]] != [s.problem_id for s in before], "in a random order"


def test_a_detour_is_right_and_leaves_the_answer_as_it_was() -> None:
    rng = random.Random(0)
    assert len(detours(["3 + 4 = 7.", "The answer is 7."], rng)) == 3
    for problem in problems(1, "train", 60, (2, 3, 4)):
        assert problem.solution is not None
        lines = detours(f"{problem.solution}\nThe answer is {problem.answer}.".split("\n"), rng)
        assert grade(problem, "\n".join(lines), "gsm8k").correct
        for line in lines:
            equation = line.rpartition(": ")[2].removeprefix("Alternatively, ").removeprefix("Let me double-check. ")
            if "=" in equation and equation != line:
                left, _, right = equation.rstrip(".").partition(" = ")
                a, sign, b = left.split()
                value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[sign]
                assert value == int(right)


def test_an_edit_keeps_words_and_numbers_in_their_order() -> None:
    question = "Mia has 1,200 cards. She gives away 2 cards, then 3. How many cards does Mia have?"
    for seed in range(30):
        words, inner = tokens(edit(question, random.Random(seed))), tokens(question)
        assert any(words[i : i + len(inner)] == inner for i in range(len(words)))


def test_nothing_can_be_planted_among_nothing(tmp_path: Path) -> None:
    asked = run_stage(
        "data", {"dataset": "synthetic", "train": 5, "validation": 0, "test": 5}, {}, tmp_path / "p", quiet=True
    )
    write_table(tmp_path / "none/samples.parquet", samples_to_tables([])[0])
    with pytest.raises(DataError, match="no rows to plant anything among"):
        run_stage("plant", {}, {"traces": Samples(tmp_path / "none"), "problems": asked}, tmp_path / "x", quiet=True)
