"""Every benchmark of the mirror loads, says which golds it can't use, renders a prompt and grades its own golds."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.evals.fakes import CharTokenizer

from posttrain.benchmarks import DECLARATIONS, Benchmark, Declaration, get_benchmark
from posttrain.benchmarks.benchmark import UNGRADED, first_by_hash
from posttrain.benchmarks.listing import listing
from posttrain.data.rows import read_rows
from posttrain.errors import DataError, RecipeError
from posttrain.grading import check_gold, grade, grade_many
from posttrain.grading.specs import SPECS
from posttrain.prompts import get_template
from posttrain.records import Problem

IN_MIRROR = [d for d in DECLARATIONS if d.obtain is None]
SAMPLE = {"code": 16}  # programs run in a process each
ITEMS = {  # as published
    "gsm8k": 1319,
    "math500": 500,
    "math": 5000,
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "minerva": 272,
    "olympiadbench": 675,
    "svamp": 1000,
    "gsm_hard": 1319,
    "mmlu": 14042,
    "humaneval": 164,
    "mbpp": 500,
    "mmlu_likelihood": 14042,
    "cruxeval": 800,
    "ifeval": 541,
    "alpaca_eval": 805,
    "simple_safety_tests": 100,
    "mt_bench": 80,
}


def own_answer(benchmark: Benchmark, problem: Problem) -> str:
    """A response with the problem's gold, as a good model would write it."""
    if benchmark.grading == "code":
        begun = problem.question if problem.extra.get("entry_point") else ""
        return f"```python\n{begun}{problem.solution}\n```"
    if benchmark.likelihood is not None or benchmark.grading == "exact":
        return str(problem.answer)
    if benchmark.grading == "choice":
        return f"Both B and C look right, but only one is.\nAnswer: {problem.answer}"
    return f"Adding up gives 3, so the answer is $\\boxed{{{problem.answer}}}$."


def needs_grader(declared: Declaration) -> None:
    if declared.grading != UNGRADED and declared.grading not in SPECS:
        pytest.skip(f"there is no grading {declared.grading!r} yet")


def prompt(benchmark: Benchmark, problem: Problem) -> str:
    """What a model would be shown."""
    if benchmark.likelihood is not None:
        return benchmark.likelihood.context(problem, benchmark.shots)
    template = get_template("plain", shots=benchmark.shots, system=benchmark.system)
    return template.render(problem.question, CharTokenizer())  # type: ignore[arg-type]


@pytest.mark.parametrize("declared", IN_MIRROR, ids=lambda d: d.name)
def test_every_benchmark_of_the_mirror_loads_renders_and_grades_its_golds(mirror: Path, declared: Declaration) -> None:
    needs_grader(declared)
    benchmark = get_benchmark(declared.name)
    assert len(benchmark.problems) == declared.items
    for problem in benchmark.problems[:3]:
        assert problem.question.strip() in prompt(benchmark, problem)
    if not benchmark.graded:
        assert all(p.answer is None for p in benchmark.problems)
        return
    unreadable = {p.id: why for p in benchmark.problems if (why := check_gold(p, benchmark.grading))}
    assert set(unreadable) <= set(declared.known_bad), f"golds that the grader can't use: {unreadable}"
    if benchmark.grading == "ifeval":
        return  # what keeps to the instructions of an item can't be read off them
    chosen = first_by_hash(benchmark.problems, SAMPLE.get(benchmark.grading))
    verdicts = grade_many([(p, own_answer(benchmark, p), False) for p in chosen], benchmark.grading)
    failed = {p.id: v.reason for p, v in zip(chosen, verdicts, strict=True) if v.correct is not True}
    assert set(failed) <= set(declared.known_bad), f"golds that don't grade themselves correct: {failed}"


def test_the_numbers_of_items_are_the_published_ones() -> None:
    declared = {d.name: d.items for d in DECLARATIONS}
    assert {name: declared[name] for name in ITEMS} == ITEMS


def test_every_declaration_says_where_it_is_from_and_names_are_unique() -> None:
    names = [d.name for d in DECLARATIONS]
    assert len(set(names)) == len(names)
    for d in DECLARATIONS:
        assert d.licence
        assert d.origin
        assert (d.make is None) == bool(d.files)
        assert d.make or d.read or d.dataset
        assert all(f.sha256 is None or re.fullmatch("[0-9a-f]{64}", f.sha256) for f in d.files)
        assert all(f.sha256 for f in d.files) or d.obtain


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("hendrycks_math500", "math500"),
        ("math_500", "math500"),
        ("gpqa:diamond", "gpqa_diamond"),
        ("mmlu_redux_2", "mmlu_redux"),
        ("gsm8k", "gsm8k"),
    ],
)
def test_a_name_of_another_suite_is_an_alias(theirs: str, ours: str) -> None:
    from posttrain.benchmarks.load import find

    assert find(theirs).name == ours


def test_math_is_math500_and_4500_others(mirror: Path) -> None:
    whole, part = get_benchmark("math"), get_benchmark("math500")
    assert {p.id for p in part.problems} < {p.id for p in whole.problems}


def test_eight_shots_are_the_papers_and_fewer_are_the_first_of_them(mirror: Path) -> None:
    eight = get_benchmark("gsm8k_cot", limit=5)
    assert len(eight.shots) == 8
    assert eight.shots[0].question.startswith("There are 15 trees in the grove.")
    assert get_benchmark("gsm8k_cot", shots=3, limit=5).shots == eight.shots[:3]
    assert get_benchmark("gsm8k", limit=5).shots == ()
    with pytest.raises(RecipeError, match="has 8 examples to show, and shots is 9"):
        get_benchmark("gsm8k_cot", shots=9)


def test_multiple_choice_lists_letters_in_the_order_of_the_file(mirror: Path) -> None:
    first = get_benchmark("mmlu").problems[0]
    assert first.question.endswith("over Q.\n\nA) 0\nB) 4\nC) 2\nD) 6")
    assert (first.choices, first.answer) == (("0", "4", "2", "6"), "B")
    assert grade(first, "It has degree 4.\nAnswer: B", "choice").correct is True
    assert grade(first, "Answer: A", "choice").correct is False


def test_redux_leaves_out_flagged_questions_or_takes_the_corrected_key(mirror: Path) -> None:
    raw = {row.values["id"]: row.values for row in read_rows(mirror / "mmlu_redux.jsonl")}
    sound = {p.id: p.answer for p in get_benchmark("mmlu_redux").problems}
    corrected = {p.id: p.answer for p in get_benchmark("mmlu_redux_corrected").problems}
    assert {raw[i]["error_type"] for i in sound} == {"ok"}
    assert sound.items() <= corrected.items()
    # The annotators wrote the index 2 where the published key is D.
    assert raw["mmlu_redux/abstract_algebra/1"]["answer"] == "D"
    assert corrected["mmlu_redux/abstract_algebra/1"] == "C"


def test_code_is_run_against_the_tests_and_a_wrong_program_fails(mirror: Path) -> None:
    for name in ("humaneval", "mbpp"):
        benchmark = get_benchmark(name, limit=2)
        for problem in benchmark.problems:
            assert grade(problem, own_answer(benchmark, problem), "code").reason == "correct"
            assert grade(problem, "```python\nx = 1\n```", "code").correct is False


def test_mbpp_shows_the_tests_that_name_the_function(mirror: Path) -> None:
    problem = get_benchmark("mbpp").problems[0]
    assert problem.extra["test_list"][0] in problem.question


def test_the_synthetic_benchmark_is_the_same_everywhere_and_needs_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTTRAIN_DATA", raising=False)
    benchmark = get_benchmark("synthetic")
    assert len(benchmark.problems) == 1000
    assert benchmark.fingerprint == get_benchmark("synthetic").fingerprint


@pytest.mark.parametrize("name", ["gpqa_diamond", "livecodebench", "svamp"])
def test_a_file_that_is_not_there_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = next(d for d in DECLARATIONS if d.name == name)
    wanted = re.escape(declared.obtain or declared.origin)
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=wanted):
        get_benchmark(name)
    monkeypatch.delenv("POSTTRAIN_DATA")
    with pytest.raises(DataError, match=wanted):
        get_benchmark(name)


GPQA = ("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def gpqa_file(folder: Path, rows: Sequence[tuple[str, ...]]) -> None:
    with (folder / "gpqa_diamond.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([GPQA, *rows])


def test_gpqa_pins_the_order_of_choices_by_item_whatever_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    rows = [(f"rec{i}", f"Which number is {i}?", str(i), "x", "y", "z") for i in range(40)]
    gpqa_file(tmp_path, rows)
    first = get_benchmark("gpqa_diamond")
    assert {p.answer for p in first.problems} == set("ABCD")  # the right one stands anywhere
    for i, problem in enumerate(first.problems):
        assert problem.choices is not None
        assert problem.choices["ABCD".index(problem.answer or "")] == str(i)
    gpqa_file(tmp_path, [(r[0], r[1], r[2], r[5], r[3], r[4]) for r in rows[::-1]])
    assert get_benchmark("gpqa_diamond").fingerprint == first.fingerprint
    gpqa_file(tmp_path, [("rec1", "?", "", "x", "y", "z")])
    with pytest.raises(DataError, match="line 2: no 'Correct Answer'"):
        get_benchmark("gpqa_diamond")


def test_livecodebench_reads_decoded_tests_and_opens_no_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    row = {"question_id": "q1", "question_content": "Double the number.", "private_test_cases": "gASV"}
    (tmp_path / "livecodebench.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="pickles, which are not opened"):
        get_benchmark("livecodebench")
    row["tests"] = [{"input": "2", "output": "4"}]  # type: ignore[assignment]
    (tmp_path / "livecodebench.jsonl").write_text(json.dumps(row))
    problem = get_benchmark("livecodebench").problems[0]
    assert grade(problem, "```python\nprint(2 * int(input()))\n```", "code").correct is True


def test_a_system_prompt_belongs_to_its_template(mirror: Path) -> None:
    assert "boxed" in (get_benchmark("amc23").system or "")
    assert get_benchmark("amc23", template="r1_zero").system is None
    assert get_benchmark("amc23", template="r1_zero", system="Think.").system == "Think."


def test_the_listing_tells_present_from_changed_and_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "svamp.jsonl").write_text('{"id": "a", "problem": "?", "answer": "1"}')
    (tmp_path / "gpqa_diamond.csv").write_text("Question\n")
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    here = {f["name"]: f["here"] for f in listing()}
    assert (here["svamp"], here["gpqa_diamond"]) == ("changed", "yours")
    assert (here["gsm8k"], here["synthetic"]) == ("no", "made")


def test_everything_declared_is_in_the_mirror_as_declared(mirror: Path) -> None:
    here = {f["name"]: f["here"] for f in listing()}
    assert {name for name, state in here.items() if state not in ("yes", "made")} <= {"gpqa_diamond", "livecodebench"}
