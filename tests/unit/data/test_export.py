"""The `export` stage: what LLaMA-Factory gets, and that nothing is lost on the way there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import DataError, RecipeError
from posttrain.pipeline import run_stage
from posttrain.records import Sample, samples_to_tables
from posttrain.store import Samples, write_table

ROWS = [
    {"instruction": "One?", "input": "", "output": "<think>\nso\n</think>\n\n1", "system": "Count."},
    {"instruction": "Two?", "input": "", "output": "2"},
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {
        "instruction": "And 3?",
        "input": "",
        "output": "3",
        "system": "Count.",
        "history": [["One?", "1"], ["Two?", "2"]],
    },
]


def imported(folder: Path, source: Path, **config: Any) -> Samples:
    made = run_stage("examples", {"source": str(source), **config}, {}, folder, quiet=True)
    assert isinstance(made, Samples)
    return made


def exported(folder: Path, traces: Samples, **config: Any) -> Path:
    return run_stage("export", config, {"traces": traces}, folder, quiet=True).path


def test_what_was_imported_comes_out_as_it_came(tmp_path: Path) -> None:
    source = tmp_path / "mine.json"
    source.write_text(json.dumps(ROWS))
    folder = exported(tmp_path / "out", imported(tmp_path / "in", source), name="mine")
    assert json.loads((folder / "mine.json").read_text()) == ROWS
    assert json.loads((folder / "dataset_info.json").read_text()) == {
        "mine": {
            "file_name": "mine.json",
            "formatting": "alpaca",
            "columns": {
                "prompt": "instruction",
                "query": "input",
                "response": "output",
                "system": "system",
                "history": "history",
            },
        }
    }


def test_the_folder_reads_back_as_the_same_conversations(tmp_path: Path) -> None:
    source = tmp_path / "mine.json"
    source.write_text(json.dumps(ROWS))
    first = imported(tmp_path / "in", source)
    again = imported(tmp_path / "again", exported(tmp_path / "out", first), name="posttrain")
    for a, b in zip(first.read(), again.read(), strict=True):
        assert (a.question, a.response, a.extra) == (b.question, b.response, b.extra)
    kept = Samples(tmp_path / "out").read()
    assert [s.problem_id for s in kept] == [s.problem_id for s in first.read()], "a stage can follow"


def test_a_trace_without_turns_gets_the_system_prompt_that_is_asked_for(tmp_path: Path) -> None:
    write_table(tmp_path / "in/samples.parquet", samples_to_tables([Sample("a", 0, "1 + 1?", "2", "t")])[0])
    plain = exported(tmp_path / "plain", Samples(tmp_path / "in"))
    assert json.loads((plain / "posttrain.json").read_text()) == [{"instruction": "1 + 1?", "input": "", "output": "2"}]
    told = exported(tmp_path / "told", Samples(tmp_path / "in"), system="Be brief.", name="told")
    assert json.loads((told / "told.json").read_text())[0]["system"] == "Be brief."
    assert list(json.loads((plain / "dataset_info.json").read_text())["posttrain"]["columns"]) == [
        "prompt",
        "query",
        "response",
    ]


def test_rows_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    bad = Sample("a", 0, "1?", "2", "t", extra={"messages": [{"role": "user", "content": "1?"}]})
    write_table(tmp_path / "bad/samples.parquet", samples_to_tables([bad])[0])
    with pytest.raises(DataError, match="the turns are user"):
        exported(tmp_path / "x", Samples(tmp_path / "bad"))
    write_table(tmp_path / "none/samples.parquet", samples_to_tables([])[0])
    with pytest.raises(DataError, match="no rows to export"):
        exported(tmp_path / "y", Samples(tmp_path / "none"))
    with pytest.raises(RecipeError, match="it names a file"):
        exported(tmp_path / "z", Samples(tmp_path / "none"), name="../other")
