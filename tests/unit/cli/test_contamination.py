"""``posttrain contamination``: leaked rows are found and shown, clean ones are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from posttrain.cli.contamination import contamination
from posttrain.errors import DataError

ITEM = (
    "A baker bakes 12 loaves in the morning and sells 5 of them before noon. How many loaves are left for the evening?"
)


@pytest.fixture
def benchmark(tmp_path: Path) -> str:
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "a", "question": ITEM, "answer": "7"}) + "\n")
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nproblems: items.jsonl\ngrading: gsm8k\n")
    return str(path)


def rows(tmp_path: Path, *texts: str) -> str:
    path = tmp_path / "training.jsonl"
    path.write_text("".join(json.dumps({"question": text, "answer": "1"}) + "\n" for text in texts))
    return str(path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(contamination, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_copy_a_twin_and_a_stranger_are_told_apart(benchmark: str, tmp_path: Path) -> None:
    twin = ITEM.replace("12", "30").replace("5", "9")
    training = rows(tmp_path, "What is 2 + 2?", ITEM.upper(), twin)
    (found,) = json.loads(run(training, "--against", benchmark, "--json"))
    assert {pair["row"]: pair["tier"] for pair in found["pairs"]} == {1: "drop", 2: "drop"}
    assert [pair["sign"] for pair in found["pairs"]] == ["equal", "masked 8-grams"]
    said = run(training, "--against", benchmark)
    assert "3 training rows against 1 questions" in said
    assert twin[:60] in said


def test_control_characters_of_the_data_stay_out_of_the_terminal(benchmark: str, tmp_path: Path) -> None:
    said = run(rows(tmp_path, ITEM + "\x1b[2J"), "--against", benchmark)
    assert "\x1b" not in said


def test_a_folder_without_rows_is_refused(benchmark: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither problems\.parquet nor samples\.parquet"):
        run(str(tmp_path), "--against", benchmark)
