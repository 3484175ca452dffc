"""One's own benchmark from YAML and a file of problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.benchmarks import get_benchmark
from posttrain.errors import DataError, RecipeError
from posttrain.evals import EvalConfig

Row = dict[str, object]
ROWS: list[Row] = [
    {"id": "fr", "question": "The capital of France?", "answer": "Paris", "solution": "Paris"},
    {"id": "it", "question": "The capital of Italy?", "answer": "Rome", "solution": "Rome"},
]
HEAD = "name: capitals\nproblems: capitals.jsonl\ngrading: exact\n"


def benchmark_file(folder: Path, text: str = HEAD, rows: list[Row] | None = None) -> str:
    lines = [json.dumps(row) for row in (ROWS if rows is None else rows)]
    (folder / "capitals.jsonl").write_text("\n".join(lines))
    (folder / "capitals.yaml").write_text(text)
    return str(folder / "capitals.yaml")


def test_a_yaml_file_and_problems_are_a_benchmark(tmp_path: Path) -> None:
    more = "system: One word.\nsampling: {max_tokens: 16, temperature: 0.5, n: 4}\nmetrics: [accuracy, pass@4]\n"
    benchmark = get_benchmark(benchmark_file(tmp_path, HEAD + more + "examples: capitals.jsonl\nshots: 1\n"))
    assert (benchmark.name, benchmark.grading, benchmark.system) == ("capitals", "exact", "One word.")
    assert (benchmark.sampling.max_tokens, benchmark.sampling.n) == (16, 4)
    assert [p.id for p in benchmark.problems] == ["fr", "it"]
    assert [p.id for p in benchmark.shots] == ["fr"]
    assert len(get_benchmark(str(tmp_path / "capitals.yaml"), limit=1).problems) == 1


def test_choices_of_ones_own_get_letters(tmp_path: Path) -> None:
    rows: list[Row] = [{"id": "fr", "question": "The capital?", "answer": "B", "choices": ["Rome", "Paris", "Bonn"]}]
    name = benchmark_file(tmp_path, HEAD.replace("exact", "choice"), rows)
    assert get_benchmark(name).problems[0].question.endswith("The capital?\n\nA) Rome\nB) Paris\nC) Bonn")


def test_its_files_count_in_the_fingerprint_of_an_evaluation(tmp_path: Path) -> None:
    name = benchmark_file(tmp_path)
    config = EvalConfig(benchmarks=("gsm8k", name))
    assert set(config.files().values()) == {tmp_path / "capitals.yaml", tmp_path / "capitals.jsonl"}


@pytest.mark.parametrize(
    ("text", "rows", "error", "complaint"),
    [
        (HEAD, [ROWS[0], ROWS[0]], DataError, "'fr' comes twice"),
        (HEAD, [ROWS[0] | {"answer": None}], DataError, "can't read 1 of 1 gold"),
        (HEAD, [ROWS[0] | {"answer": ""}], DataError, "can't read 1 of 1 gold"),
        (HEAD, [], DataError, "no rows"),
        (HEAD + "tempelate: chat\n", None, RecipeError, "Did you mean 'template'"),
        (HEAD + "metrics: [pass@8]\n", None, RecipeError, "pass@8 needs 8 samples of each problem, and n is 1"),
        (HEAD + "metrics: [bleu]\n", None, RecipeError, "unknown metric 'bleu'"),
        (HEAD + "sampling: {n: 4}\n", None, RecipeError, "asks for the same answer 4 times"),
        (HEAD + "shots: 2\n", None, RecipeError, "there are no examples"),
        (HEAD + "shots: 3\nexamples: capitals.jsonl\n", None, RecipeError, "only 2 examples"),
        (HEAD + "known_bad: {de: wrong}\n", None, RecipeError, "known_bad names 'de'"),
        (HEAD.replace("capitals.jsonl", "nowhere.jsonl"), None, DataError, "nowhere.jsonl does not exist"),
        (HEAD.replace("exact", "choice"), None, DataError, "fr: 0 choices"),
        ("name: [", None, RecipeError, "capitals.yaml"),
    ],
)
def test_a_wrong_benchmark_is_refused(
    tmp_path: Path, text: str, rows: list[Row] | None, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        get_benchmark(benchmark_file(tmp_path, text, rows))


def test_a_known_bad_gold_does_not_stop_the_others(tmp_path: Path) -> None:
    name = benchmark_file(tmp_path, HEAD + "known_bad: {fr: no gold}\n", [ROWS[0] | {"answer": ""}, ROWS[1]])
    benchmark = get_benchmark(name)
    assert len(benchmark.problems) == 2
    assert benchmark.known_bad == {"fr"}


def test_a_missing_yaml_file_is_named() -> None:
    with pytest.raises(RecipeError, match=r"no benchmark file nowhere.yaml"):
        get_benchmark("nowhere.yaml")
