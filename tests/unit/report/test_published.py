from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.fake_run import make_run

from posttrain.benchmarks import DECLARATIONS
from posttrain.errors import RecipeError
from posttrain.report.config import ReportConfig
from posttrain.report.contents import gather
from posttrain.report.lineage import Made
from posttrain.report.published import Table, is_same_benchmark, load_published
from posttrain.store import Manifest

ROWS = [(table, row) for table in load_published() for row in table.rows]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{t.model}-{r.method}"[:60] for t, r in ROWS])
def test_published_half_widths_are_those_of_a_proportion(table: Table, row: Any) -> None:
    p = row.value / 100
    assert row.half_width == pytest.approx(196 * math.sqrt(p * (1 - p) / table.n), abs=0.006)


def test_published_benchmarks_are_ours_by_name_and_size() -> None:
    sizes = {d.name: d.items for d in DECLARATIONS}
    for table in load_published():
        assert table.benchmarks or table.datasets
        for name in table.benchmarks:
            assert sizes[name] == table.n


def test_the_numbers_of_the_distillation_study_are_all_there() -> None:
    values = {row.value for table in load_published() if "distillation" in table.source for row in table.rows}
    assert values == {60.96, 67.17, 64.59, 62.32, 47.31}


def _data(dataset: str) -> Made:
    manifest = Manifest("data", "problems", "finished", "", {}, {"dataset": dataset}, {}, 0, "")
    return Made("problems", Path("problems"), manifest, "", ())


@pytest.mark.parametrize(
    ("benchmark", "dataset", "same"),
    [
        ("gsm8k", "anything", True),
        ("problems/test", "gsm8k", True),
        ("problems/test", "openai/gsm8k", True),
        ("problems/test", "hf://datasets/openai/gsm8k/main/test.parquet", True),
        ("problems/validation", "gsm8k", False),
        ("others/test", "gsm8k", False),
        ("problems/test", "synthetic", False),
        ("problems/test", "my/openai/gsm8k-hard", False),
        ("gsm8k_cot", "anything", False),
    ],
)
def test_published_numbers_stand_only_beside_the_same_problems(benchmark: str, dataset: str, same: bool) -> None:
    table = next(t for t in load_published() if t.benchmarks == ("gsm8k",))
    assert is_same_benchmark(table, benchmark, [_data(dataset)]) is same


OWN = """
tables:
  - source: A study
    datasets: [mine]
    model: org/model
    n: 500
    settings: {temperature: 0.7, template: chat}
    rows: [{method: as it is, value: 50, half_width: 4.38}]
"""


def test_what_was_asked_differently_is_named(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=30, n_problems=30, sampling={"temperature": 0.0, "n": 1})
    manifest = Manifest.read(tmp_path / "data")
    assert manifest is not None
    manifest.config = {"dataset": "mine"}
    manifest.write(tmp_path / "data")
    (tmp_path / "own.yaml").write_text(OWN)
    found = gather(ReportConfig(published=str(tmp_path / "own.yaml")), [scores], "run").published
    (entry,) = found
    assert entry["source"] == "A study"
    assert entry["differs"] == [
        "model org/model, ours no model of the hub",
        "500 problems, ours 30",
        "temperature 0.7, ours 0.0",
        "not said: n, grading",
    ]
    assert gather(ReportConfig(), [scores], "run").published == []
    assert gather(ReportConfig(published=False), [scores], "run").published == []


def test_a_broken_file_of_published_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.replace("value: 50", "value: 500"))
    with pytest.raises(RecipeError, match=r"tables.0.rows.0.value' is 500"):
        load_published(tmp_path / "own.yaml")
