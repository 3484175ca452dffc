"""Traces by the reference and the flawed teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.config import parse
from posttrain.data.synthetic import problems
from posttrain.errors import DataError, RecipeError
from posttrain.grading import grade
from posttrain.records import Problem, Sample, problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Problems, write_table
from posttrain.traces.config import TracesConfig
from posttrain.traces.flaws import flawed
from posttrain.traces.stages import traces

SOLVED = problems(1, "train", 400, (1, 2, 3, 4, 5))


def make(folder: Path, given: list[Problem], seed: int = 1, **config: Any) -> list[Sample]:
    write_table(folder / "in/problems.parquet", problems_to_table(given))
    work = Workspace(folder / f"out-{seed}", seed=seed, quiet=True)
    made = list(traces(TracesConfig(**config), Problems(folder / "in"), work).read())
    assert work.summary["traces"] == len(made)
    return made


@pytest.mark.parametrize(("form", "spec"), [("solution", "gsm8k"), ("r1_zero", "gsm8k")])
def test_the_reference_teacher_is_always_right_in_the_form_asked_for(tmp_path: Path, form: str, spec: str) -> None:
    samples = make(tmp_path, SOLVED, format=form)
    by_id = {p.id: p for p in SOLVED}
    prompt_wrote = "<think>" if form == "r1_zero" else ""
    verdicts = [grade(by_id[s.problem_id], prompt_wrote + s.response, spec) for s in samples]
    assert len(samples) == 400
    assert all(v.correct for v in verdicts)
    assert {s.source for s in samples} == {"teacher:reference"}


@pytest.mark.parametrize(("form", "spec"), [("solution", "gsm8k"), ("r1_zero", "gsm8k")])
def test_the_flawed_teacher_is_wrong_in_the_share_asked_for_and_says_where(
    tmp_path: Path, form: str, spec: str
) -> None:
    samples = make(tmp_path, SOLVED, teacher="flawed", flaw_rate=0.3, format=form)
    by_id = {p.id: p for p in SOLVED}
    prompt_wrote = "<think>" if form == "r1_zero" else ""
    wrong = 0
    for sample in samples:
        verdict = grade(by_id[sample.problem_id], prompt_wrote + sample.response, spec)
        assert verdict.parsed
        assert verdict.correct is not sample.extra.get("flawed", False)
        wrong += not verdict.correct
    assert 0.3 - 0.09 < wrong / len(samples) < 0.3 + 0.09  # four standard deviations of 400 draws


def test_which_traces_are_flawed_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    first = make(tmp_path, SOLVED, teacher="flawed", seed=1)
    assert make(tmp_path, SOLVED, teacher="flawed", seed=1) == first
    assert make(tmp_path, SOLVED, teacher="flawed", seed=2) != first
    part = make(tmp_path, SOLVED[100:], teacher="flawed", seed=1)
    assert part == first[100:]


def test_a_flaw_changes_the_result_and_leaves_equal_numbers_in_the_working() -> None:
    problem = Problem("p", "?", "9", "9 + 9 = 18.\n18 - 9 = 9.")
    wrong = flawed(problem, "9 + 9 = 18.\n18 - 9 = 9.\nThe answer is 9.", seed=1)
    assert wrong is not None
    value = wrong.rpartition("is ")[2].rstrip(".")
    assert value != "9"
    assert wrong == f"9 + 9 = 18.\n18 - 9 = {value}.\nThe answer is {value}."


def test_an_answer_that_is_no_integer_is_left_right(tmp_path: Path) -> None:
    given = [Problem("p", "?", "\\frac{1}{2}", "Half.")]
    (sample,) = make(tmp_path, given, teacher="flawed", flaw_rate=1.0)
    assert "flawed" not in sample.extra
    assert sample.response == "Half.\nThe answer is \\frac{1}{2}."


def test_limit_takes_the_first_and_a_missing_split_is_named(tmp_path: Path) -> None:
    assert [s.problem_id for s in make(tmp_path, SOLVED, limit=3)] == [p.id for p in SOLVED[:3]]
    with pytest.raises(DataError, match="no problems in split 'test'; it has train"):
        make(tmp_path, SOLVED, split="test")


def test_a_problem_without_solution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"problem p has no solution, which teacher 'reference' copies\. Map a column"):
        make(tmp_path, [Problem("p", "?", "1")])


def test_an_unknown_teacher_is_refused() -> None:
    with pytest.raises(RecipeError, match="'teacher' is 'gpt'"):
        parse(TracesConfig, {"teacher": "gpt"}, "stage 'traces'")


def test_what_copying_teachers_read_is_what_their_fingerprint_holds() -> None:
    """Traces that were copied before there were teachers to ask are still reused."""
    was = {"teacher": "reference", "split": "train", "limit": None, "flaw_rate": 0.2, "format": "solution"}
    assert TracesConfig().fingerprint_values() == was
    flawed_one = TracesConfig(teacher="flawed", limit=3, flaw_rate=0.5, format="r1_zero")
    assert flawed_one.fingerprint_values() == {
        "teacher": "flawed",
        "split": "train",
        "limit": 3,
        "flaw_rate": 0.5,
        "format": "r1_zero",
    }


def test_a_copying_teacher_writes_its_samples_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, SOLVED[:3])
    assert sorted(p.name for p in (tmp_path / "out-1").iterdir()) == [".work", "samples.parquet"]
