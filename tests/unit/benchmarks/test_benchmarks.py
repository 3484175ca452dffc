from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from posttrain.benchmarks import Benchmark, from_problems, get_benchmark
from posttrain.benchmarks.benchmark import first_by_hash
from posttrain.engines.base import Sampling
from posttrain.errors import DataError, RecipeError
from posttrain.records import Problem, problems_to_table
from posttrain.store import Problems, write_table

PROBLEMS = tuple(Problem(f"p{i}", f"{i} + 1?", str(i + 1), solution=f"#### {i + 1}") for i in range(20))
BENCHMARK = Benchmark("sums", 1, PROBLEMS, "plain", Sampling(temperature=0.0), "gsm8k")


def test_shots_are_training_problems(mirror: Path) -> None:
    shown = get_benchmark("gsm8k", shots=8)
    assert len(shown.shots) == 8
    assert not {p.id for p in shown.shots} & {p.id for p in shown.problems}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"template": "chat"},
        {"grading": "exact"},
        {"system": "Think."},
        {"sampling": Sampling(temperature=0.5)},
        {"shots": PROBLEMS[:1]},
        {"problems": PROBLEMS[1:]},
        {"problems": (dataclasses.replace(PROBLEMS[0], answer="2"), *PROBLEMS[1:])},
    ],
    ids=lambda c: next(iter(c)),
)
def test_whatever_decides_a_score_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert dataclasses.replace(BENCHMARK, **change).fingerprint != BENCHMARK.fingerprint  # type: ignore[arg-type]


def test_the_order_of_problems_does_not_change_the_fingerprint() -> None:
    assert dataclasses.replace(BENCHMARK, problems=PROBLEMS[::-1]).fingerprint == BENCHMARK.fingerprint


def test_a_limited_choice_is_the_same_in_any_file_order_and_grows_by_adding() -> None:
    def chosen(problems: tuple[Problem, ...], limit: int) -> list[str]:
        return [p.id for p in first_by_hash(problems, limit)]

    assert set(chosen(PROBLEMS, 5)) == set(chosen(PROBLEMS[::-1], 5)) < set(chosen(PROBLEMS, 9))
    assert chosen(PROBLEMS, 5) != [p.id for p in PROBLEMS[:5]]


def test_problems_become_a_benchmark_with_the_templates_grading(tmp_path: Path) -> None:
    train = [Problem("t", "0 + 0?", "0", solution="#### 0", split="train")]
    test = [dataclasses.replace(p, split="test") for p in PROBLEMS]
    write_table(tmp_path / "problems.parquet", problems_to_table([*train, *test]))
    benchmark = from_problems(Problems(tmp_path, name="mine"), template="plain", shots=1, limit=4)
    assert (benchmark.name, len(benchmark.problems), benchmark.grading) == ("mine/test", 4, "gsm8k")
    assert [p.id for p in benchmark.shots] == ["t"]


def mirror_with(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    (folder / "svamp.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("POSTTRAIN_DATA", str(folder))


ROW = json.dumps({"id": "a", "problem": "?", "answer": "1"})


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([ROW, ROW], "'a' comes twice"),
        ([ROW, "{broken"], "line 2: not valid JSON"),
        ([ROW, '{"id": "b"}'], "line 2: has no 'problem'"),
        ([json.dumps({"id": "b", "problem": "?", "answer": ""})], "can't read 1 of 1 gold"),
        ([json.dumps({"id": "b", "problem": "?", "answer": None})], "can't read 1 of 1 gold"),
        ([], "no rows"),
    ],
)
def test_a_bad_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], complaint: str
) -> None:
    mirror_with(tmp_path, monkeypatch, lines)
    with pytest.raises(DataError, match=complaint):
        get_benchmark("svamp")


def test_a_missing_mirror_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTTRAIN_DATA", raising=False)
    with pytest.raises(DataError, match="POSTTRAIN_DATA is not set"):
        get_benchmark("svamp")
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"svamp.jsonl, which does not exist"):
        get_benchmark("svamp")


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'math500'"):
        get_benchmark("math50")
